import { describe, expect, test } from 'vitest';
import { PAGE_SIZE, type Pagemap, RegionBuffer, type ScanRequest, type ScanResult } from '../abi/index.js';
import { countPages, forEachRegion, regions, scanLegs } from './regions.js';

/**
 * An address space as a list of categories, one a page, with the ioctl's ways: it stops where the next range would not
 * fit or max_pages is spent, does not join across its bounce buffer, and may leave a stale walk_end.
 */
class FakePagemap implements Pagemap {
  readonly pageSize = PAGE_SIZE;
  calls = 0;
  readonly #pages: readonly number[];
  readonly #bounce: number;
  readonly #stale: boolean;

  constructor(pages: readonly number[], bounce = 512, stale = true) {
    this.#pages = pages;
    this.#bounce = bounce;
    this.#stale = stale;
  }

  scan(request: ScanRequest, output: RegionBuffer | null): ScanResult {
    this.calls++;
    const vec = output!;
    const mask = Number(request.categoryMask ?? 0);
    const maxPages = Number(request.maxPages ?? 0) || Number.POSITIVE_INFINITY;
    const end = Number(request.end) / PAGE_SIZE;
    let walkEnd = 0;
    let count = 0;
    let pages = 0;
    let inBounce = 0;
    for (let page = Number(request.start) / PAGE_SIZE; page < end; page++) {
      const categories = this.#pages[page] ?? 0;
      if ((categories & mask) !== mask || categories === 0) continue;
      if (pages === maxPages) return { regions: count, walkEnd: page * PAGE_SIZE };
      const at = page * PAGE_SIZE;
      if (inBounce > 0 && vec.end(count - 1) === at && vec.categories(count - 1) === categories) {
        vec.words[(count - 1) * 6 + 2] = at + PAGE_SIZE;
      } else {
        if (count === vec.capacity) return { regions: count, walkEnd: at };
        if (inBounce === this.#bounce) {
          inBounce = 0;
          walkEnd = at;
        }
        vec.words.set([at, 0, at + PAGE_SIZE, 0, categories, 0], count * 6);
        count++;
        inBounce++;
      }
      vec.length = count;
      pages++;
    }
    vec.length = count;
    return { regions: count, walkEnd: this.#stale && walkEnd > 0 ? walkEnd : end * PAGE_SIZE };
  }
}

function expand(list: Iterable<{ start: number; end: number; categories: number }>): number[] {
  const pages: number[] = [];
  for (const { start, end, categories } of list) {
    for (let page = start / PAGE_SIZE; page < end / PAGE_SIZE; page++) {
      if (pages[page] !== undefined) throw new Error(`page ${page} comes twice`);
      pages[page] = categories;
    }
  }
  return Array.from({ length: 3000 }, (_, page) => pages[page] ?? 0);
}

const patterns: Record<string, (page: number) => number> = {
  'every second page': (page) => (page % 2 === 0 ? 2 : 0),
  'all alike': () => 8,
  'each unlike its neighbour': (page) => (page % 3) + 1,
  'runs of 7': (page) => (Math.floor(page / 7) % 2) * 2,
  nothing: () => 0,
};

describe.each(Object.entries(patterns))('%s', (_, pattern) => {
  const pages = Array.from({ length: 3000 }, (_, page) => pattern(page));
  const all = { start: 0, end: 3000 * PAGE_SIZE };

  test.each([1, 2, 7, 511, 512, 513, 1024, 5000])(
    'capacity %i: every page once, ranges joined',
    (capacity) => {
      const buffer = new RegionBuffer(capacity);
      const list = [...regions(new FakePagemap(pages), all, { buffer })];
      // As text, which is compared at once.
      expect(expand(list).join()).toBe(pages.join());
      for (let index = 1; index < list.length; index++) {
        const [before, after] = [list[index - 1]!, list[index]!];
        if (before.end >= after.start && before.categories === after.categories)
          throw new Error(`ranges ${index - 1} and ${index} could be one`);
      }
      const visited: string[] = [];
      forEachRegion(
        new FakePagemap(pages),
        all,
        (start, end, categories) => visited.push(`${start}-${end} ${categories}`),
        { buffer },
      );
      const listed = list.map(({ start, end, categories }) => `${start}-${end} ${categories}`);
      expect(visited.join('\n')).toBe(listed.join('\n'));
      expect(countPages(new FakePagemap(pages), all, { buffer })).toBe(pages.filter(Boolean).length);
    },
  );

  test.each([1, 100, 1499, 1500, 2999, 3000, 10_000])('max_pages %i holds over all calls', (maxPages) => {
    const buffer = new RegionBuffer(10);
    const list = [...regions(new FakePagemap(pages), { ...all, maxPages }, { buffer })];
    const found = list.reduce((sum, { start, end }) => sum + (end - start) / PAGE_SIZE, 0);
    expect(found).toBe(Math.min(maxPages, pages.filter(Boolean).length));
  });
});

test('a stale walk_end is not followed: what is done is not asked for again', () => {
  const pages = Array.from({ length: 3000 }, (_, page) => (page % 2 === 0 ? 2 : 0));
  const pagemap = new FakePagemap(pages);
  const { walkEnd } = pagemap.scan({ start: 0, end: 3000 * PAGE_SIZE }, new RegionBuffer(5000));
  expect(walkEnd).toBeLessThan(2999 * PAGE_SIZE);
  pagemap.calls = 0;
  expect(countPages(pagemap, { start: 0, end: 3000 * PAGE_SIZE }, { buffer: new RegionBuffer(5000) })).toBe(
    1500,
  );
  expect(pagemap.calls).toBe(1);
});

test('an output that is filled by the very last range', () => {
  const pages = Array.from({ length: 3000 }, (_, page) => (page === 5 || page === 9 ? 2 : 0));
  const list = [
    ...regions(new FakePagemap(pages), { start: 0, end: 3000 * PAGE_SIZE }, { buffer: new RegionBuffer(2) }),
  ];
  expect(list).toHaveLength(2);
});

test('what was found before an error stands', () => {
  let calls = 0;
  const pagemap: Pagemap = {
    pageSize: PAGE_SIZE,
    scan(request, output) {
      calls++;
      if (calls === 2) throw new Error('EPERM');
      output!.words.set([Number(request.start), 0, Number(request.start) + PAGE_SIZE, 0, 2, 0]);
      output!.length = 1;
      return { regions: 1, walkEnd: Number(request.start) + PAGE_SIZE };
    },
  };
  const seen: number[] = [];
  expect(() => {
    for (const buffer of scanLegs(
      pagemap,
      { start: 0, end: 10 * PAGE_SIZE },
      { buffer: new RegionBuffer(1) },
    )) {
      seen.push(buffer.start(0));
    }
  }).toThrow('EPERM');
  expect(seen).toEqual([0]);
});
