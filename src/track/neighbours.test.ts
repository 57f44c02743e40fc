import { expect, test } from 'vitest';
import { parseMaps } from '../proc/index.js';
import { newNeighbours } from './neighbours.js';

const maps = (...lines: string[]) => parseMaps(new TextEncoder().encode(`${lines.join('\n')}\n`));
const anonymous = (range: string, perms = 'rw-p') => `${range} ${perms} 00000000 00:00 0 `;
const range = (start: number, end: number, inode = 0) => ({ start, end, inode });
const found = (lines: string[], tracked: ReturnType<typeof range>[]) =>
  newNeighbours(maps(...lines), tracked).map(({ start, end }) => [start, end]);

test('what has grown, before and behind, and what has come next to it', () => {
  expect(found([anonymous('1000-9000')], [range(0x3000, 0x5000)])).toEqual([
    [0x1000, 0x3000],
    [0x5000, 0x9000],
  ]);
  const beside = [anonymous('1000-3000'), anonymous('3000-5000', 'r--p'), anonymous('5000-6000')];
  expect(found(beside, [range(0x3000, 0x5000)])).toEqual([
    [0x1000, 0x3000],
    [0x5000, 0x6000],
  ]);
});

test('a hole in what is tracked', () => {
  expect(found([anonymous('1000-9000')], [range(0x1000, 0x3000), range(0x4000, 0x9000)])).toEqual([
    [0x3000, 0x4000],
  ]);
});

test('not what lies apart, is a file’s, or is tracked', () => {
  const file = '7000-8000 rw-p 00000000 fe:00 5 /x';
  expect(found([anonymous('1000-3000'), anonymous('4000-5000')], [range(0x4000, 0x5000)])).toEqual([]);
  expect(found([anonymous('6000-7000'), file], [range(0x7000, 0x8000, 5)])).toEqual([]);
  expect(found([file, anonymous('8000-9000')], [range(0x7000, 0x8000, 5)])).toEqual([]);
  expect(found([anonymous('1000-3000'), anonymous('3000-4000')], [range(0x1000, 0x4000)])).toEqual([]);
  expect(found([anonymous('1000-3000')], [])).toEqual([]);
});
