import { describe, expect, test } from 'vitest';
import {
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_SIZE,
  type Pagemap,
} from '../abi/index.js';
import { PAGE_KINDS, pageKindIndex } from './kinds.js';
import { countPages } from './regions.js';
import { legRanges, MappingSummarizer, RegionDealer, summarizeMappings } from './summary.js';

const page = (n: number) => n * PAGE_SIZE;
const range = (from: number, to: number) => ({ start: page(from), end: page(to) });

describe('RegionDealer', () => {
  test('cuts at mapping borders and names what lies in none', () => {
    const dealt: number[][] = [];
    const dealer = new RegionDealer(
      [range(1, 3), range(3, 5), range(10, 12)],
      (index, start, end, categories) => dealt.push([index, start / PAGE_SIZE, end / PAGE_SIZE, categories]),
    );
    dealer.add(page(0), page(4), 8);
    dealer.add(page(4), page(11), 2);
    dealer.add(page(11), page(12), 1);
    dealer.add(page(20), page(21), 4);
    expect(dealt).toEqual([
      [-1, 0, 1, 8],
      [0, 1, 3, 8],
      [1, 3, 4, 8],
      [1, 4, 5, 2],
      [-1, 5, 10, 2],
      [2, 10, 11, 2],
      [2, 11, 12, 1],
      [-1, 20, 21, 4],
    ]);
  });
});

test('a summary counts each category, and what is unlisted apart', () => {
  const summarizer = new MappingSummarizer([range(0, 10), range(20, 30)], PAGE_SIZE);
  summarizer.add(page(2), page(5), PAGE_IS_PRESENT | PAGE_IS_FILE);
  summarizer.add(page(8), page(22), PAGE_IS_PRESENT);
  expect(summarizer.summaries).toMatchObject([
    { pages: 10, present: 5, file: 3, swapped: 0 },
    { pages: 10, present: 2, file: 0 },
  ]);
  expect(summarizer.unlisted).toMatchObject({ pages: 10, present: 10 });
  expect(summarizer.totals()).toMatchObject({ pages: 20, present: 7, file: 3 });
});

test('pages are of the size that the pagemap has', () => {
  const pagemap: Pagemap = {
    pageSize: 16384,
    scan(request, output) {
      if (request.start === request.end) return { regions: 0, walkEnd: 0 };
      output!.words.set([0x10000, 0, 0x20000, 0, PAGE_IS_PRESENT, 0]);
      output!.length = 1;
      output!.pageSize = 16384;
      return { regions: 1, walkEnd: Number(request.end) };
    },
  };
  const { summaries } = summarizeMappings(pagemap, [{ start: 0x10000, end: 0x30000 }]);
  expect(summaries).toMatchObject([{ pages: 8, present: 4 }]);
  expect(countPages(pagemap, { start: 0, end: 0x30000, categoryMask: PAGE_IS_PRESENT })).toBe(4);
});

test('markers in shared and in huge memory are not swapped pages', () => {
  const kinds: string[] = [];
  const summarizer = new MappingSummarizer(
    [
      { ...range(0, 10), perms: 'rw-p' },
      { ...range(10, 20), perms: 'rw-s' },
    ],
    PAGE_SIZE,
    (index, pages, categories) => kinds.push(`${index} ${pages} ${PAGE_KINDS[pageKindIndex(categories)]}`),
  );
  summarizer.add(page(8), page(12), PAGE_IS_SWAPPED);
  summarizer.add(page(12), page(13), PAGE_IS_SWAPPED | PAGE_IS_GUARD);
  summarizer.add(page(13), page(15), PAGE_IS_PRESENT | PAGE_IS_FILE);
  summarizer.add(page(15), page(16), PAGE_IS_SWAPPED | PAGE_IS_HUGE);
  expect(summarizer.summaries).toMatchObject([
    { swapped: 2, present: 0 },
    { swapped: 1, present: 2, guard: 1, huge: 1 },
  ]);
  expect(kinds).toEqual(['0 2 swapped', '1 1 guard', '1 2 file', '1 1 huge']);
});

describe('legRanges', () => {
  const GIB = 2 ** 30;

  test('covers every mapping once, in order, and cuts only at multiples of 1 GiB', () => {
    const mappings = [
      { start: 0x1000, end: 0x5000 },
      { start: 0x5000, end: 0x5000 + 5 * GIB },
      { start: 100 * GIB, end: 100 * GIB + 0x3000 },
      { start: 200 * GIB, end: 300 * GIB },
    ];
    const legs = [...legRanges(mappings, 2 * GIB)];
    expect(legs[0]!.start).toBe(0x1000);
    expect(legs.at(-1)!.end).toBe(300 * GIB);
    for (let index = 1; index < legs.length; index++) {
      expect(legs[index]!.start).toBeGreaterThanOrEqual(legs[index - 1]!.end);
    }
    const inside = (address: number) =>
      legs.filter(({ start, end }) => start <= address && address < end).length;
    for (const { start, end } of mappings) {
      for (const address of [start, end - PAGE_SIZE, Math.floor((start + end) / 2)])
        expect(inside(address)).toBe(1);
    }
    const borders = new Set(mappings.flatMap(({ start, end }) => [start, end]));
    for (const { start, end } of legs) {
      for (const cut of [start, end]) expect(borders.has(cut) || cut % GIB === 0).toBe(true);
    }
  });

  test('no leg is much longer than asked, wherever a mapping begins', () => {
    for (const start of [0x7e0000123000, 0, GIB - PAGE_SIZE, GIB, 3 * GIB + 0x1000]) {
      const legs = [...legRanges([{ start, end: start + 50 * GIB }], 2 * GIB)];
      expect(legs.length).toBeGreaterThanOrEqual(25);
      for (const leg of legs) expect(leg.end - leg.start).toBeLessThanOrEqual(3 * GIB);
      expect(legs.reduce((sum, leg) => sum + leg.end - leg.start, 0)).toBe(50 * GIB);
    }
  });

  test('many small mappings share a leg, none makes none', () => {
    const small = Array.from({ length: 1000 }, (_, index) => range(index * 2, index * 2 + 1));
    expect([...legRanges(small)]).toEqual([range(0, 1999)]);
    expect([...legRanges([])]).toEqual([]);
  });
});
