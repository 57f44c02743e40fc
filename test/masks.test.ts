/**
 * The engine against a naive reference, over all masks there are for pages in all states, under write protection and under
 * read-write protection: the filter, what is output, and what a scan with write protection leaves behind.
 */
import { describe, expect, test } from 'vitest';
import {
  mman,
  PAGE_IS_ACCESSED,
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
  uffd as uffdAbi,
} from '../src/abi/index.js';
import { AddressSpace } from '../src/sim/index.js';

const START = 0x200000000000;

/** What the pages are registered for. */
type Mode = 'wp' | 'rwp';
const MODES: readonly Mode[] = ['wp', 'rwp'];
const RWP_FEATURES = uffdAbi.UFFD_FEATURE_RWP | uffdAbi.UFFD_FEATURE_RWP_ASYNC;
/** The categories of every page that is registered so. */
const ALWAYS = { wp: PAGE_IS_WPALLOWED, rwp: 0 } as const;
/** What a page is that is not protected. */
const UNPROTECTED = { wp: PAGE_IS_WRITTEN, rwp: PAGE_IS_ACCESSED } as const;

/** How a page comes into a state, and the categories that it has then, but for those that protection decides. */
const STATES: readonly { make: (space: AddressSpace, at: number) => void; categories: number }[] = [
  { make: () => {}, categories: 0 },
  {
    make: (space, at) => space.read(at, PAGE_SIZE),
    categories: PAGE_IS_PRESENT | PAGE_IS_PFNZERO,
  },
  { make: (space, at) => space.write(at, PAGE_SIZE), categories: PAGE_IS_PRESENT },
  {
    make: (space, at) => {
      space.write(at, PAGE_SIZE);
      space.madvise(at, PAGE_SIZE, mman.MADV_PAGEOUT);
    },
    categories: PAGE_IS_SWAPPED,
  },
  {
    make: (space, at) => space.madvise(at, PAGE_SIZE, mman.MADV_GUARD_INSTALL),
    categories: PAGE_IS_SWAPPED | PAGE_IS_GUARD,
  },
];
const PAGES = 3;
const LENGTH = PAGES * PAGE_SIZE;

interface Page {
  categories: number;
}

/** An address space whose pages are in the given states; those of `protectedBits` are protected. */
function build(
  mode: Mode,
  states: readonly number[],
  protectedBits: number,
): { space: AddressSpace; pages: Page[] } {
  const space = new AddressSpace({ profile: mode === 'wp' ? '6.18' : '7.3' });
  // A neighbour in the same last-level table, so that an empty page is an empty entry and no hole.
  space.mmap({ address: START - PAGE_SIZE + 0x200000, lengthBytes: PAGE_SIZE });
  space.mmap({ address: START, lengthBytes: LENGTH });
  space.write(START + 0x200000 - PAGE_SIZE, 1);
  const faults = mode === 'wp' ? space.userfaultfd() : space.userfaultfd(RWP_FEATURES);
  if (mode === 'wp') faults.register(START, LENGTH);
  else faults.register(START, LENGTH, uffdAbi.UFFDIO_REGISTER_MODE_RWP);
  const pages = states.map((state, index) => {
    const { make, categories } = STATES[state]!;
    const at = START + index * PAGE_SIZE;
    make(space, at);
    const isProtected = (protectedBits & (1 << index)) !== 0;
    if (isProtected && mode === 'wp') faults.writeProtect(at, PAGE_SIZE, true);
    else if (isProtected) faults.rwProtect(at, PAGE_SIZE, true);
    const isEmpty = state === 0;
    const isGuard = (categories & PAGE_IS_GUARD) !== 0;
    const base = categories | ALWAYS[mode];
    // Nobody accesses what is not there; a guard page keeps out of all this.
    if (mode === 'rwp' && isEmpty) return { categories: base };
    if (!isProtected || isGuard) return { categories: base | UNPROTECTED[mode] };
    // An empty page becomes a marker, which counts as SWAPPED.
    return { categories: base | (isEmpty ? PAGE_IS_SWAPPED : 0) };
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
  // Start, end and categories of each; millions of times, so that they are numbers in one list.
  const regions: number[] = [];
  let found = 0;
  let walkEnd = PAGES;
  for (let index = 0; index < pages.length; index++) {
    const page = pages[index]!;
    // What cannot be protected from writes is not looked at by a scan that would.
    if (request.protect && (page.categories & PAGE_IS_WPALLOWED) === 0) continue;
    const judged = page.categories ^ request.inverted;
    if ((judged & request.mask) !== request.mask) continue;
    if (request.anyof !== 0 && (judged & request.anyof) === 0) continue;
    const reported = page.categories & request.returned;
    const last = regions.length - 3;
    const isLonger = last >= 0 && regions[last + 1] === index && regions[last + 2] === reported;
    if (found === maxPages || (!isLonger && regions.length === 3 * capacity)) {
      walkEnd = index;
      break;
    }
    found++;
    if (isLonger) regions[last + 1] = index + 1;
    else regions.push(index, index + 1, reported);
    if (request.protect && (page.categories & PAGE_IS_WRITTEN) !== 0) {
      page.categories &= ~PAGE_IS_WRITTEN;
      const present = (page.categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED)) !== 0;
      if (!present) page.categories |= PAGE_IS_SWAPPED;
    }
  }
  return { regions, walkEnd };
}

/** The categories that differ between these pages; the others change nothing about which page matches. */
const CATEGORIES = {
  wp: [
    PAGE_IS_WPALLOWED,
    PAGE_IS_WRITTEN,
    PAGE_IS_FILE,
    PAGE_IS_PRESENT,
    PAGE_IS_SWAPPED,
    PAGE_IS_PFNZERO,
    PAGE_IS_GUARD,
  ],
  rwp: [
    PAGE_IS_WPALLOWED,
    PAGE_IS_WRITTEN,
    PAGE_IS_ACCESSED,
    PAGE_IS_PRESENT,
    PAGE_IS_SWAPPED,
    PAGE_IS_PFNZERO,
    PAGE_IS_GUARD,
  ],
} as const;

/** All sets of these. */
function setsOf(categories: readonly number[]): readonly number[] {
  return Array.from({ length: 2 ** categories.length }, (_, bits) =>
    categories.reduce((set, category, index) => ((bits >> index) & 1 ? set | category : set), 0),
  );
}
const SETS = { wp: setsOf(CATEGORIES.wp), rwp: setsOf(CATEGORIES.rwp) } as const;
/** All that the kernel profile of a mode knows; without SOFT_DIRTY, which new pages have where there are such bits. */
const KNOWN = { wp: 0x17f, rwp: 0x37f } as const;

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
  let same = 3 * regions === expected.regions.length && walkEnd === START + expected.walkEnd * PAGE_SIZE;
  for (let index = 0; same && index < regions; index++) {
    same =
      output.start(index) === START + expected.regions[3 * index]! * PAGE_SIZE &&
      output.end(index) === START + expected.regions[3 * index + 1]! * PAGE_SIZE &&
      output.categories(index) === expected.regions[3 * index + 2];
  }
  if (!same) {
    expect({ regions: [...output], walkEnd, ...request, maxPages }).toEqual({ ...expected, pages });
  }
}

describe.each(MODES)('registered in mode %s', (mode) => {
  const sets = SETS[mode];
  const known = KNOWN[mode];

  // What joins regions is whether neighbours are alike. All combinations of three have their turn with fewer masks, below.
  test('every mask and inversion, for every two states side by side', () => {
    const output = new RegionBuffer(PAGES);
    let scans = 0;
    for (let states = 0; states < STATES.length ** 2; states++) {
      const combination = [states % 5, Math.floor(states / 5), (states * 2) % 5];
      const { space, pages } = build(mode, combination, (states * 3) % 8);
      for (let mask = 0; mask < 128; mask++) {
        for (let inverted = 0; inverted < 128; inverted++) {
          // WRITTEN alone as the mask and as what is returned takes a path of its own.
          const returned = mask === 2 ? PAGE_IS_WRITTEN : known;
          const request = {
            inverted: sets[inverted]!,
            mask: sets[mask]!,
            anyof: 0,
            returned,
            protect: false,
          };
          compare(space, pages, request, output, 0);
          scans++;
        }
      }
    }
    expect(scans).toBe(STATES.length ** 2 * 128 * 128);
  });

  test('every state of protection, with every mask', () => {
    const output = new RegionBuffer(PAGES);
    for (let states = 0; states < STATES.length ** PAGES; states++) {
      const combination = [states % 5, Math.floor(states / 5) % 5, Math.floor(states / 25)];
      for (let protectedBits = 0; protectedBits < 8; protectedBits++) {
        const { space, pages } = build(mode, combination, protectedBits);
        for (let mask = 0; mask < 128; mask++) {
          const inverted = sets[(mask * 3 + states) % 128]!;
          const request = { inverted, mask: sets[mask]!, anyof: 0, returned: known, protect: false };
          compare(space, pages, request, output, 0);
          compare(space, pages, { ...request, inverted: 0, mask: 0, anyof: sets[mask]! }, output, 0);
        }
      }
    }
  });

  test('every any-of set, return set, small output and page limit', () => {
    for (let states = 0; states < STATES.length ** PAGES; states++) {
      const combination = [states % 5, Math.floor(states / 5) % 5, Math.floor(states / 25)];
      const { space, pages } = build(mode, combination, (states * 5) % 8);
      for (let anyof = 0; anyof < 128; anyof++) {
        for (let capacity = 1; capacity <= PAGES; capacity++) {
          const output = new RegionBuffer(capacity);
          for (let maxPages = 0; maxPages <= PAGES; maxPages++) {
            const returned = sets[(anyof * 37 + capacity * 11 + maxPages) % 128]!;
            const inverted = sets[(anyof * 5 + maxPages) % 128]!;
            const request = { inverted, mask: 0, anyof: sets[anyof]!, returned, protect: false };
            compare(space, pages, request, output, maxPages);
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
        const { space, pages } = build(mode, combination, (states + mask) % 8);
        const maxPages = mask % 4;
        const returned = mask === 2 ? PAGE_IS_WRITTEN : known;
        const request = { inverted: 0, mask: sets[mask]!, anyof: 0, returned, protect: true };
        compare(space, pages, request, output, maxPages);
        // Scanned again without protection, the pages are what the reference made of them.
        compare(space, pages, { ...request, mask: 0, returned: known, protect: false }, output, 0);
      }
    }
  });
});
