/**
 * The engine against a naive reference, over all masks there are for three pages in all states: the filter, what
 * is output, and what a scan with write protection leaves behind.
 */
import { expect, test } from 'vitest';
import {
  mman,
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  PM_SCAN_WP_MATCHING,
  RegionBuffer,
} from '../src/abi/index.js';
import { AddressSpace } from '../src/sim/index.js';

const START = 0x200000000000;
const A = PAGE_IS_WPALLOWED;

/** How a page comes into a state, and the categories that it has then, WPALLOWED aside. */
const STATES: readonly { make: (space: AddressSpace, at: number) => void; categories: number }[] = [
  { make: () => {}, categories: PAGE_IS_WRITTEN },
  {
    make: (space, at) => space.read(at, PAGE_SIZE),
    categories: PAGE_IS_WRITTEN | PAGE_IS_PRESENT | PAGE_IS_PFNZERO,
  },
  { make: (space, at) => space.write(at, PAGE_SIZE), categories: PAGE_IS_WRITTEN | PAGE_IS_PRESENT },
  {
    make: (space, at) => {
      space.write(at, PAGE_SIZE);
      space.madvise(at, PAGE_SIZE, mman.MADV_PAGEOUT);
    },
    categories: PAGE_IS_WRITTEN | PAGE_IS_SWAPPED,
  },
  {
    make: (space, at) => space.madvise(at, PAGE_SIZE, mman.MADV_GUARD_INSTALL),
    categories: PAGE_IS_WRITTEN | PAGE_IS_SWAPPED | PAGE_IS_GUARD,
  },
];
const PAGES = 3;
const LENGTH = PAGES * PAGE_SIZE;

interface Page {
  categories: number;
}

/** An address space whose pages are in the given states; the last ones of `protectedBits` are protected. */
function build(states: readonly number[], protectedBits: number): { space: AddressSpace; pages: Page[] } {
  const space = new AddressSpace();
  // A neighbour in the same last-level table, so that an empty page is an empty entry and no hole.
  space.mmap({ address: START - PAGE_SIZE + 0x200000, length: PAGE_SIZE });
  space.mmap({ address: START, length: LENGTH });
  space.write(START + 0x200000 - PAGE_SIZE, 1);
  const uffd = space.userfaultfd();
  uffd.register(START, LENGTH);
  const pages = states.map((state, index) => {
    const { make, categories } = STATES[state]!;
    const at = START + index * PAGE_SIZE;
    make(space, at);
    const isGuard = (categories & PAGE_IS_GUARD) !== 0;
    if ((protectedBits & (1 << index)) === 0) return { categories: categories | A };
    uffd.writeProtect(at, PAGE_SIZE, true);
    // A guard page keeps out of this; an empty page becomes a marker, which counts as SWAPPED.
    if (isGuard) return { categories: categories | A };
    const marker = state === 0 ? PAGE_IS_SWAPPED : 0;
    return { categories: (categories & ~PAGE_IS_WRITTEN) | A | marker };
  });
  return { space, pages };
}

/** Sections 3 and 6 of the interface's description, one page at a time, without any cleverness. */
function reference(
  pages: readonly Page[],
  request: { inverted: number; mask: number; anyof: number; returned: number; protect: boolean },
  capacity: number,
  maxPages: number,
) {
  const regions: [start: number, end: number, categories: number][] = [];
  let found = 0;
  let walkEnd = PAGES;
  for (const [index, page] of pages.entries()) {
    const judged = page.categories ^ request.inverted;
    if ((judged & request.mask) !== request.mask) continue;
    if (request.anyof !== 0 && (judged & request.anyof) === 0) continue;
    const reported = page.categories & request.returned;
    const last = regions[regions.length - 1];
    const extends_ = last !== undefined && last[1] === index && last[2] === reported;
    if (found === maxPages || (!extends_ && regions.length === capacity)) {
      walkEnd = index;
      break;
    }
    found++;
    if (extends_) last[1] = index + 1;
    else regions.push([index, index + 1, reported]);
    if (request.protect && (page.categories & PAGE_IS_WRITTEN) !== 0) {
      page.categories &= ~PAGE_IS_WRITTEN;
      const present = (page.categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED)) !== 0;
      if (!present) page.categories |= PAGE_IS_SWAPPED;
    }
  }
  return { regions, walkEnd };
}

/** The categories that differ between these pages; the others change nothing about which page matches. */
const CATEGORIES = [
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_IS_FILE,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_PFNZERO,
  PAGE_IS_GUARD,
];

const SETS = Array.from({ length: 2 ** CATEGORIES.length }, (_, bits) =>
  CATEGORIES.reduce((set, category, index) => ((bits >> index) & 1 ? set | category : set), 0),
);

function expand(bits: number): number {
  return SETS[bits]!;
}

function compare(
  space: AddressSpace,
  pages: Page[],
  request: { inverted: number; mask: number; anyof: number; returned: number; protect: boolean },
  output: RegionBuffer,
  maxPages: number,
): void {
  const expected = reference(pages, request, output.capacity, maxPages || Number.POSITIVE_INFINITY);
  const { regions, walkEnd } = space.pagemap.scan(
    {
      start: START,
      end: START + LENGTH,
      flags: request.protect ? PM_SCAN_WP_MATCHING : 0,
      categoryInverted: request.inverted,
      categoryMask: request.mask,
      categoryAnyofMask: request.anyof,
      returnMask: request.returned,
      maxPages,
    },
    output,
  );
  let same = regions === expected.regions.length && walkEnd === START + expected.walkEnd * PAGE_SIZE;
  for (const [index, [start, end, categories]] of expected.regions.entries()) {
    same &&=
      output.start(index) === START + start * PAGE_SIZE &&
      output.end(index) === START + end * PAGE_SIZE &&
      output.categories(index) === categories;
  }
  if (!same) {
    expect({ regions: [...output], walkEnd, ...request, maxPages }).toEqual({ ...expected, pages });
  }
}

test('every mask and inversion, for three pages in every combination of states', () => {
  const output = new RegionBuffer(PAGES);
  let scans = 0;
  for (let states = 0; states < STATES.length ** PAGES; states++) {
    const combination = [states % 5, Math.floor(states / 5) % 5, Math.floor(states / 25)];
    const { space, pages } = build(combination, (states * 3) % 8);
    for (let mask = 0; mask < 128; mask++) {
      for (let inverted = 0; inverted < 128; inverted++) {
        // WRITTEN alone as the mask and as what is returned takes a path of its own.
        const returned = mask === 2 ? PAGE_IS_WRITTEN : 0x1ff;
        const request = {
          inverted: expand(inverted),
          mask: expand(mask),
          anyof: 0,
          returned,
          protect: false,
        };
        compare(space, pages, request, output, 0);
        scans++;
      }
    }
  }
  expect(scans).toBe(STATES.length ** PAGES * 128 * 128);
});

test('every any-of set, return set, small output and page limit', () => {
  for (let states = 0; states < STATES.length ** PAGES; states++) {
    const combination = [states % 5, Math.floor(states / 5) % 5, Math.floor(states / 25)];
    const { space, pages } = build(combination, (states * 5) % 8);
    for (let anyof = 0; anyof < 128; anyof++) {
      for (let capacity = 1; capacity <= PAGES; capacity++) {
        const output = new RegionBuffer(capacity);
        for (let maxPages = 0; maxPages <= PAGES; maxPages++) {
          const returned = expand((anyof * 37 + capacity * 11 + maxPages) % 128);
          const inverted = expand((anyof * 5 + maxPages) % 128);
          compare(
            space,
            pages,
            { inverted, mask: 0, anyof: expand(anyof), returned, protect: false },
            output,
            maxPages,
          );
        }
      }
    }
  }
});

test('what a protecting scan leaves, for every mask', () => {
  const output = new RegionBuffer(PAGES);
  for (let states = 0; states < STATES.length ** PAGES; states++) {
    const combination = [states % 5, Math.floor(states / 5) % 5, Math.floor(states / 25)];
    for (let mask = 0; mask < 128; mask += 1 + (states % 5)) {
      const { space, pages } = build(combination, (states + mask) % 8);
      const maxPages = mask % 4;
      const returned = mask === 2 ? PAGE_IS_WRITTEN : 0x1ff;
      const request = { inverted: 0, mask: expand(mask), anyof: 0, returned, protect: true };
      compare(space, pages, request, output, maxPages);
      // Scanned again without protection, the pages are what the reference made of them.
      compare(space, pages, { ...request, mask: 0, returned: 0x1ff, protect: false }, output, 0);
    }
  }
});
