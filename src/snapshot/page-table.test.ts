import { describe, expect, test } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import { ByteReader, ByteWriter } from './bytes.js';
import { ABSENT, decodeRanges, encodeRanges, PageTable, ZERO } from './page-table.js';

const SEED = 20;
const END = Number.MAX_SAFE_INTEGER;

function contents(table: PageTable): Map<number, number> {
  const found = new Map<number, number>();
  table.runs(0, END, (page, count, reference) => {
    for (let index = 0; index < count; index++)
      found.set(page + index, reference === ZERO ? ZERO : reference + index);
  });
  return found;
}

/** Sets runs of pages in both, near each other and far up. */
function change(table: PageTable, model: Map<number, number>, below: (below: number) => number): void {
  for (let runs = 0; runs < 40; runs++) {
    const page = below(2) * 2 ** 35 + below(3000);
    const count = 1 + below(40);
    const kind = below(4);
    const first = 2 ** 24 + below(2 ** 30) * 64;
    for (let index = 0; index < count; index++) {
      const reference = kind === 0 ? ABSENT : kind === 1 ? ZERO : first + index;
      table.set(page + index, reference);
      if (reference === ABSENT) model.delete(page + index);
      else model.set(page + index, reference);
    }
  }
}

const sorted = (map: Map<number, number>) => [...map].sort(([one], [other]) => one - other);

describe('page table', () => {
  test(`keeps what was set, and its changes lead from one to the next (seed ${SEED})`, () => {
    const below = randomBelow(SEED);
    const table = new PageTable();
    const model = new Map<number, number>();
    let replayed = new PageTable();
    for (let turn = 0; turn < 15; turn++) {
      const before = table.clone();
      const earlier = new Map(model);
      change(table, model, below);
      expect([...contents(table)]).toEqual(sorted(model));
      const seen: number[] = [];
      const bytes = turn % 7 === 6 ? table.encode(new PageTable()) : table.encode(before);
      if (turn % 7 === 6) replayed = new PageTable();
      replayed.apply(bytes, (page, then, now) => {
        seen.push(page);
        if (turn % 7 !== 6) expect(then).toBe(earlier.get(page) ?? ABSENT);
        expect(now).toBe(model.get(page) ?? ABSENT);
      });
      expect([...contents(replayed)]).toEqual(sorted(model));
      if (turn % 7 === 6) continue;
      const differing = [...new Set([...earlier.keys(), ...model.keys()])].filter(
        (page) => earlier.get(page) !== model.get(page),
      );
      expect(seen).toEqual(differing.sort((one, other) => one - other));
    }
  });

  test('forgets ranges, with and without an end', () => {
    const table = new PageTable();
    for (const page of [1, 511, 512, 513, 1500, 2 ** 35]) table.set(page, ZERO);
    table.delete(512, 1000);
    expect([...contents(table).keys()]).toEqual([1, 511, 1500, 2 ** 35]);
    table.delete(511, END);
    expect([...contents(table).keys()]).toEqual([1]);
  });

  test('copies a part, with something for what is not there', () => {
    const table = new PageTable();
    table.set(1000, 2 ** 24);
    const copy = new PageTable();
    copy.copy(table, 999, 1026, ZERO);
    expect(contents(copy).size).toBe(27);
    expect([copy.get(999), copy.get(1000), copy.get(1025), copy.get(1026)]).toEqual([
      ZERO,
      2 ** 24,
      ZERO,
      ABSENT,
    ]);
  });

  test('tells a run that is all in order in a few bytes', () => {
    const table = new PageTable();
    for (let page = 0; page < 100_000; page++) table.set(page, 2 ** 24 + page);
    expect(table.encode(new PageTable()).length).toBeLessThan(16);
    expect(table.encode(table.clone()).length).toBe(0);
  });
});

describe('numbers', () => {
  test('of up to 53 bits and of either sign come back', () => {
    const writer = new ByteWriter();
    const numbers = [0, 1, 127, 128, 2 ** 31, 2 ** 32 + 5, 2 ** 52, Number.MAX_SAFE_INTEGER];
    for (const number of numbers) writer.number(number);
    for (const number of numbers.slice(0, -1)) writer.signed(-number);
    const reader = new ByteReader(writer.bytes);
    for (const number of numbers) expect(reader.number()).toBe(number);
    for (const number of numbers.slice(0, -1)) expect(reader.signed()).toBe(number === 0 ? 0 : -number);
    expect(reader.isAtEnd).toBe(true);
  });

  test('that are cut off or too long are refused', () => {
    expect(() => new ByteReader(new Uint8Array([0x80])).number()).toThrow(RangeError);
    expect(() => new ByteReader(new Uint8Array(9).fill(0xff)).number()).toThrow(RangeError);
  });

  test('ranges come back', () => {
    const ranges: [number, number, number][] = [
      [5, 1, 0],
      [6, 3, 9],
      [2 ** 36, 2 ** 20, 1],
    ];
    expect(decodeRanges(encodeRanges(ranges))).toEqual(ranges);
  });
});
