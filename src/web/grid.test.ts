import { describe, expect, test } from 'vitest';
import { random } from '../../test/support/random.mjs';
import { PAGE_IS_FILE, PAGE_IS_PRESENT, PAGE_IS_SWAPPED, PAGE_SIZE } from '../abi/index.js';
import { cellCategories, cellKind, cellShare, packCell, UNTOUCHED } from '../model/index.js';
import { PAGE_KINDS } from '../query/internal.js';
import { ALL_KINDS, LayoutGrid, RangeCells } from './grid.js';

const ANONYMOUS = PAGE_KINDS.indexOf('anonymous');
const FILE = PAGE_KINDS.indexOf('file');
const SWAPPED = PAGE_KINDS.indexOf('swapped');

describe('cells', () => {
  test('what is packed can be read', () => {
    const pages = PAGE_KINDS.map(() => 0);
    expect(cellKind(packCell(pages, 16, 0))).toBe(UNTOUCHED);
    pages[FILE] = 3;
    pages[SWAPPED] = 1;
    const cell = packCell(pages, 16, PAGE_IS_FILE | PAGE_IS_PRESENT | PAGE_IS_SWAPPED);
    expect(cellKind(cell)).toBe(FILE);
    expect(cellShare(cell)).toBeCloseTo(4 / 16, 1);
    expect(cellCategories(cell)).toBe(PAGE_IS_FILE | PAGE_IS_PRESENT | PAGE_IS_SWAPPED);
    // A single page in a million shows.
    expect(cellShare(packCell([0, 1, 0, 0, 0, 0, 0], 2 ** 20, 0))).toBeGreaterThan(0);
  });
});

/** Categories by page, as pages one by one would tell. */
function countPages(pages: readonly number[], from: number, to: number): number[] {
  const counts = PAGE_KINDS.map(() => 0);
  for (let page = from; page < to; page++) {
    const categories = pages[page]!;
    if (categories === 0) counts[UNTOUCHED]!++;
    else if (categories & PAGE_IS_SWAPPED) counts[SWAPPED]!++;
    else counts[categories & PAGE_IS_FILE ? FILE : ANONYMOUS]!++;
  }
  return counts;
}

describe('the grid', () => {
  test('counts as pages one by one would, whatever the cells', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const next = random(seed);
      const ranges: { start: number; end: number }[] = [];
      let at = 0x7000_0000_0000;
      for (let count = 0; count < 5; count++) {
        at += Math.floor(next() * 4) * PAGE_SIZE;
        const end = at + (1 + Math.floor(next() ** 3 * 300)) * PAGE_SIZE;
        ranges.push({ start: at, end });
        at = end;
      }
      const base = ranges[0]!.start;
      const all = (at - base) / PAGE_SIZE;
      const choices = [0, 0, PAGE_IS_PRESENT, PAGE_IS_PRESENT | PAGE_IS_FILE, PAGE_IS_SWAPPED];
      const pages: number[] = [];
      while (pages.length < all) {
        const categories = choices[Math.floor(next() * choices.length)]!;
        for (let run = Math.floor(next() * 30); run >= 0; run--) pages.push(categories);
      }
      const budget = 2 ** Math.floor(next() * 9);
      const grid = new LayoutGrid(ranges, budget);
      const whole = ranges.map((range) => new RangeCells(range, PAGE_SIZE * 4));
      for (let page = 0; page < all; ) {
        let end = page + 1;
        while (end < all && pages[end] === pages[page]) end++;
        if (pages[page] !== 0) {
          const [from, to] = [base + page * PAGE_SIZE, base + end * PAGE_SIZE];
          grid.add(from, to, pages[page]!);
          for (const cells of whole) cells.add(from, to, pages[page]!);
        }
        page = end;
      }
      ranges.forEach(({ start, end }, index) => {
        const first = (start - base) / PAGE_SIZE;
        const last = (end - base) / PAGE_SIZE;
        expect([seed, grid.pages(index)]).toEqual([seed, countPages(pages, first, last)]);
        const cellBytes = grid.cellBytes(start)!;
        for (const size of [cellBytes, cellBytes * 2, cellBytes * 8]) {
          const count = Math.ceil((end - start) / size);
          const expected = Array.from({ length: count }, (_, cell) => {
            const from = first + (cell * size) / PAGE_SIZE;
            const to = Math.min(last, from + size / PAGE_SIZE);
            const categories = pages.slice(from, to).reduce((set, value) => set | value, 0);
            return packCell(countPages(pages, from, to), to - from, categories);
          });
          expect([seed, size, [...grid.cells(start, size, 0, count + 5)]]).toEqual([seed, size, expected]);
        }
        if (cellBytes <= PAGE_SIZE * 4) {
          const finer = grid.cells(start, PAGE_SIZE * 4, 0, 1000);
          expect([...whole[index]!.pack(ALL_KINDS)]).toEqual([...finer]);
        }
      });
    }
  });

  test('what lies outside of all mappings is left out', () => {
    const grid = new LayoutGrid([{ start: 0x10000, end: 0x12000 }], 16);
    grid.add(0x8000, 0x11000, PAGE_IS_PRESENT);
    grid.add(0x11000, 0x20000, PAGE_IS_PRESENT);
    expect(grid.pages(0)[ANONYMOUS]).toBe(2);
  });
});
