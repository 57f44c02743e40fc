import { describe, expect, test } from 'vitest';
import {
  cellKind,
  cellShare,
  type LayoutModel,
  type MappingModel,
  type MomentModel,
  UNTOUCHED,
} from '../../model/index.js';
import { changedPages, Moments, pagesBetween } from './moments.js';
import { BY_CHANGE, FileTiles } from './tiles.js';

const PAGE = 4096;
const A = 0x1000_0000;
const B = 0x2000_0000;

const wordsText = (...words: number[]) =>
  btoa(String.fromCharCode(...new Uint8Array(new Uint16Array(words).buffer)));

function mapping(start: number, pages: number, more: Partial<MappingModel> = {}): MappingModel {
  return { start, end: start + pages * PAGE, perms: 'rw-p', name: '', kind: 'anonymous', ...more };
}

const first: LayoutModel = {
  atMs: 0,
  mappings: [mapping(A, 7, { grid: { cellBytes: 2 * PAGE, cells: wordsText(10, 11, 12, 13) } })],
};
const nothing = { changedPages: 0, changed: [], gone: [], cells: [], heat: [] };
const list: MomentModel[] = [
  { ...nothing, number: 5, atMs: 0 },
  {
    ...nothing,
    number: 6,
    atMs: 1000,
    changedPages: 4,
    changed: [mapping(B, 2, { grid: { cellBytes: PAGE, cells: wordsText(1, 2) } })],
    cells: [[A, 1, 21, 3, 23]],
    heat: [
      [A, 0, 2, 3, 1],
      [B, 1, 1],
    ],
  },
  // Something of A that is none of its cells; B is another one, of other cells.
  {
    ...nothing,
    number: 9,
    atMs: 2500,
    changed: [
      mapping(A, 7, { perms: 'r--p' }),
      mapping(B, 4, { grid: { cellBytes: PAGE, cells: wordsText(5, 6, 7, 8) } }),
    ],
    cells: [[A, 0, 30]],
  },
  { ...nothing, number: 10, atMs: 3000, gone: [B] },
];

/** All that is shown. */
const shown = (moments: Moments) =>
  [...moments.mappings]
    .sort((one, other) => one.start - other.start)
    .map(({ start, end, perms }) => {
      const { words, changed } = moments.at(start)!;
      return { start, pages: (end - start) / PAGE, perms, words: [...words], changed: [...changed] };
    });

const expected = [
  [{ start: A, pages: 7, perms: 'rw-p', words: [10, 11, 12, 13], changed: [] }],
  [
    {
      start: A,
      pages: 7,
      perms: 'rw-p',
      words: [10, 21, 12, 23],
      changed: [
        [0, 2],
        [3, 1],
      ],
    },
    { start: B, pages: 2, perms: 'rw-p', words: [1, 2], changed: [[1, 1]] },
  ],
  [
    { start: A, pages: 7, perms: 'r--p', words: [30, 21, 12, 23], changed: [] },
    { start: B, pages: 4, perms: 'rw-p', words: [5, 6, 7, 8], changed: [] },
  ],
  [{ start: A, pages: 7, perms: 'r--p', words: [30, 21, 12, 23], changed: [] }],
];

describe('moments', () => {
  test('are what they were, wherever one comes from', () => {
    const moments = new Moments(first, list);
    expect([moments.index, moments.current.number]).toEqual([3, 10]);
    for (const index of [3, 0, 1, 2, 3, 1, 2, 0, 3, 2]) {
      moments.go(index);
      expect([moments.index, shown(moments)]).toEqual([index, expected[index]]);
    }
    moments.go(-1);
    expect(moments.index).toBe(0);
    moments.go(17);
    expect(moments.index).toBe(3);
  });

  test('tell changed pages in larger cells, and in smaller ones their share', () => {
    const moments = new Moments(first, list);
    moments.go(1);
    const at = moments.at(A)!;
    const inCells = (cellBytes: number) =>
      Array.from({ length: Math.ceil((7 * PAGE) / cellBytes) }, (_, cell) =>
        changedPages(at, cell, cell + 1, cellBytes),
      );
    expect(inCells(2 * PAGE)).toEqual([2, 0, 0, 1]);
    expect(inCells(4 * PAGE)).toEqual([2, 1]);
    expect(inCells(8 * PAGE)).toEqual([3]);
    expect(inCells(PAGE)).toEqual([1, 1, 0, 0, 0, 0, 0.5]);
    expect([0, 3].map((cell) => pagesBetween(at.mapping, cell, cell + 1, 2 * PAGE))).toEqual([2, 1]);
  });

  test('are in the tiles of the one that is shown', () => {
    const store = { moments: new Moments(first, list), generation: 0 };
    const tiles = new FileTiles(store);
    const go = (index: number) => {
      store.moments.go(index);
      store.generation++;
    };
    const tileOf = (kinds: number) => [...tiles.tile(store.moments.at(A)!.mapping, 2 * PAGE, 0, kinds)!];
    go(1);
    expect(tiles.finest(store.moments.at(A)!.mapping)).toBe(2 * PAGE);
    const changed = tileOf(BY_CHANGE);
    // All pages of the first cell, none of the two next ones, the one page that the last one has.
    expect(changed.map(cellKind)).toEqual([0, UNTOUCHED, UNTOUCHED, 0]);
    expect(changed.map(cellShare)).toEqual([1, 0, 0, 1]);
    go(2);
    expect(tileOf(BY_CHANGE).map(cellKind)).toEqual([UNTOUCHED, UNTOUCHED, UNTOUCHED, UNTOUCHED]);
    const ofKinds = tileOf(0xff);
    go(0);
    expect(tileOf(0xff)).not.toEqual(ofKinds);
  });
});
