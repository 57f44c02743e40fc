import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../abi/index.js';
import { Buckets, MOST_BUCKETS } from './buckets.js';

const PART = 16 * PAGE_SIZE;
const mapping = (start: number, pages: number) => ({ start, end: start + pages * PAGE_SIZE });

/** Rows of [mapping, offset, bytes, pages]. */
function deal(mappings: { start: number; end: number }[], runs: [number, number][]): number[][] {
  const buckets = new Buckets();
  for (const [start, end] of runs) buckets.add(start, end);
  const rows: number[][] = [];
  buckets.deal(mappings, (...row) => rows.push(row));
  return rows;
}

describe('buckets', () => {
  test('runs are cut at parts and mappings', () => {
    const first = mapping(0x100000, 40);
    const second = mapping(first.end, 4);
    const rows = deal([first, second], [[first.start + 15 * PAGE_SIZE, second.start + PAGE_SIZE]]);
    expect(rows).toEqual([
      [0, 0, PART, 1],
      [0, PART, PART, 16],
      [0, 2 * PART, PART, 8],
      [1, 0, PART, 1],
    ]);
  });

  test('what lies in no mapping is left out, in any order', () => {
    const only = mapping(0x1000000, 32);
    const page = (address: number): [number, number] => [address, address + PAGE_SIZE];
    const rows = deal([only], [page(only.end), page(only.start + PART), page(only.start), page(0x1000)]);
    expect(rows).toEqual([
      [0, 0, PART, 1],
      [0, PART, PART, 1],
    ]);
  });

  test.each([1, 16, 17, 2047, 2048, 2049, 1 << 20, (1 << 20) + 1, 2 ** 35])(
    '%i pages: all are counted',
    (pages) => {
      const whole = mapping(0x10000, pages);
      const rows = deal([whole], [[whole.start, whole.end]]);
      expect(rows.length).toBeLessThanOrEqual(MOST_BUCKETS);
      expect(rows.reduce((sum, row) => sum + row[3]!, 0)).toBe(pages);
      const size = rows[0]![2]!;
      expect(Math.log2(size / PART) % 1).toBe(0);
      expect(rows.map((row) => row[1])).toEqual(rows.map((_, index) => index * size));
    },
  );

  test('too many rows: parts are joined, mappings are not', () => {
    const many = Array.from({ length: 3000 }, (_, index) => mapping(0x100000000 + index * 0x1000000, 64));
    const rows = deal(
      many,
      many.map(({ start, end }) => [start, end]),
    );
    expect(rows).toHaveLength(3000);
    expect(new Set(rows.map((row) => row[3]))).toEqual(new Set([64]));
  });

  test('nothing stays behind', () => {
    const buckets = new Buckets();
    const only = mapping(0x1000, 1);
    const rows: number[][] = [];
    buckets.add(only.start, only.end);
    buckets.deal([only], (...row) => rows.push(row));
    buckets.deal([only], (...row) => rows.push(row));
    expect(rows).toHaveLength(1);
  });
});
