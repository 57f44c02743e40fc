/** Pages by category, mapping by mapping. */
import {
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  type Pagemap,
  PagemapError,
  RegionBuffer,
  UnknownCategoryError,
} from '../abi/index.js';
import { isShared } from '../proc/internal.js';
import { countedCategories } from './kinds.js';
import { type QueryOptions, scanLegs } from './regions.js';

/** Anything with an address range, bytes, `end` exclusive; mappings are. */
export interface AddressRange {
  readonly start: number;
  readonly end: number;
  /** As in /proc/PID/maps. In shared memory (`rw-s`), markers of write protection do not count as swapped. */
  readonly perms?: string | undefined;
}

/** Counts of pages. One page may count under several categories. */
export interface PageCounts {
  /** Pages of address space, populated or not. */
  pages: number;
  present: number;
  swapped: number;
  file: number;
  pfnzero: number;
  huge: number;
  guard: number;
}

/** A mapping and its pages. */
export interface MappingSummary<M extends AddressRange> extends PageCounts {
  readonly mapping: M;
}

/**
 * The categories that a summary needs. Anything that exists has one of `SUMMARY_ANYOF`, so that the untouched parts
 * of a mapping, which may be terabytes, are not reported at all.
 */
export const SUMMARY_ANYOF = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_HUGE;
export const SUMMARY_RETURN =
  PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_FILE | PAGE_IS_PFNZERO | PAGE_IS_HUGE | PAGE_IS_GUARD;

export function emptyCounts(): PageCounts {
  return { pages: 0, present: 0, swapped: 0, file: 0, pfnzero: 0, huge: 0, guard: 0 };
}

/** The counts of all of `members`, added up. */
export function sumCounts(members: readonly PageCounts[]): PageCounts {
  const sums = emptyCounts();
  const keys = Object.keys(sums) as (keyof PageCounts)[];
  for (const member of members) for (const key of keys) sums[key] += member[key];
  return sums;
}

/** Adds `pages` pages that all have `categories`; `counts.pages` is not touched. */
export function addToCounts(counts: PageCounts, pages: number, categories: number): void {
  if (categories & PAGE_IS_PRESENT) counts.present += pages;
  if (categories & PAGE_IS_SWAPPED) counts.swapped += pages;
  if (categories & PAGE_IS_FILE) counts.file += pages;
  if (categories & PAGE_IS_PFNZERO) counts.pfnzero += pages;
  if (categories & PAGE_IS_HUGE) counts.huge += pages;
  if (categories & PAGE_IS_GUARD) counts.guard += pages;
}

/**
 * Deals regions out to the mappings that they lie in. Both come in address order, so one cursor is enough.
 * Regions are cut at mapping borders, because the kernel joins them across.
 */
export class RegionDealer<M extends AddressRange> {
  readonly #mappings: readonly M[];
  readonly #deal: (mappingIndex: number, start: number, end: number, categories: number) => void;
  #cursor = 0;

  /**
   * @param deal gets -1 as `mappingIndex` for pages in no listed mapping: one that was made after the list
   * was taken
   */
  constructor(
    mappings: readonly M[],
    deal: (mappingIndex: number, start: number, end: number, categories: number) => void,
  ) {
    this.#mappings = mappings;
    this.#deal = deal;
  }

  add(start: number, end: number, categories: number): void {
    const mappings = this.#mappings;
    let at = start;
    while (at < end) {
      while (this.#cursor < mappings.length && mappings[this.#cursor]!.end <= at) this.#cursor++;
      const mapping = mappings[this.#cursor];
      if (mapping === undefined || mapping.start >= end) {
        this.#deal(-1, at, end, categories);
        return;
      }
      if (mapping.start > at) {
        this.#deal(-1, at, mapping.start, categories);
        at = mapping.start;
      }
      const cut = Math.min(end, mapping.end);
      this.#deal(this.#cursor, at, cut, categories);
      at = cut;
    }
  }
}

/**
 * Collects a summary from regions that come in address order.
 *
 * @example
 * ```ts
 * import { PAGE_IS_PRESENT, PAGE_IS_SWAPPED, PAGE_SIZE } from 'pagemap-scan';
 * import { MappingSummarizer } from 'pagemap-scan/query';
 * const summarizer = new MappingSummarizer([{ start: 0x10000, end: 0x20000, name: '[heap]' }], PAGE_SIZE);
 * summarizer.add(0x10000, 0x14000, PAGE_IS_PRESENT);
 * summarizer.add(0x14000, 0x15000, PAGE_IS_SWAPPED);
 * const [heap] = summarizer.summaries;
 * console.assert(heap?.mapping.name === '[heap]' && heap.present === 4 && heap.swapped === 1 && heap.pages === 16);
 * ```
 */
export class MappingSummarizer<M extends AddressRange> {
  readonly summaries: readonly MappingSummary<M>[];
  /** Pages in no listed mapping: theirs was made after the list was taken. */
  readonly unlisted: PageCounts = emptyCounts();
  readonly #dealer: RegionDealer<M>;

  /**
   * @param mappings in address order, not overlapping
   * @param pageSize that of the pagemap whose regions come, bytes
   * @param also gets the counted pages, for counts of the caller's own: pages from `start` on; none that lie
   * in no listed mapping
   */
  constructor(
    mappings: readonly M[],
    pageSize: number,
    also?: (mappingIndex: number, pages: number, categories: number, start: number) => void,
  ) {
    this.summaries = mappings.map((mapping) => ({
      mapping,
      ...emptyCounts(),
      pages: (mapping.end - mapping.start) / pageSize,
    }));
    this.#dealer = new RegionDealer(mappings, (index, start, end, reported) => {
      const categories = countedCategories(reported, index >= 0 && isShared(mappings[index]!));
      if (categories === 0) return;
      const pages = (end - start) / pageSize;
      if (index < 0) this.unlisted.pages += pages;
      addToCounts(index < 0 ? this.unlisted : this.summaries[index]!, pages, categories);
      if (index >= 0) also?.(index, pages, categories, start);
    });
  }

  add(start: number, end: number, categories: number): void {
    this.#dealer.add(start, end, categories);
  }

  /** Takes all ranges of an output buffer. */
  addAll(buffer: RegionBuffer): void {
    for (let index = 0; index < buffer.length; index++) {
      this.add(buffer.start(index), buffer.end(index), buffer.categories(index));
    }
  }

  totals(): PageCounts {
    return sumCounts(this.summaries);
  }
}

const GIB = 2 ** 30;

/**
 * Cuts an address space into ranges to scan one after the other, so that a caller can pause, show progress or
 * stop in between. Each holds about `mappedBytes` of mappings; gaps do not count. Cuts inside a mapping lie
 * at multiples of 1 GiB, so that no huge page is cut.
 *
 * @param mappings in address order
 */
export function* legRanges(
  mappings: readonly AddressRange[],
  mappedBytes = 2 * GIB,
): Generator<AddressRange, void, undefined> {
  let start = -1;
  let end = 0;
  let held = 0;
  for (const mapping of mappings) {
    let at = mapping.start;
    while (at < mapping.end) {
      if (start < 0) start = at;
      // The last border within reach, or else the next one: a leg may be a part of a GiB too long, never more.
      const reach = Math.floor((at + mappedBytes - held) / GIB) * GIB;
      const cut = reach > at ? reach : (Math.floor(at / GIB) + 1) * GIB;
      end = Math.min(cut, mapping.end);
      held += end - at;
      at = end;
      if (held >= mappedBytes) {
        yield { start, end };
        start = -1;
        held = 0;
      }
    }
  }
  if (start >= 0) yield { start, end };
}

function knowsGuard(pagemap: Pagemap, buffer: RegionBuffer): boolean {
  try {
    // An empty range: the categories are checked, and nothing is walked.
    pagemap.scan({ start: 0, end: 0, returnMask: PAGE_IS_GUARD }, buffer);
    return true;
  } catch (error) {
    if (error instanceof UnknownCategoryError) return false;
    if (error instanceof PagemapError && error.code === 'EINVAL') return false;
    throw error;
  }
}

/**
 * Counts the pages of each mapping by category. Memory does not grow with the number of regions. Categories
 * that cannot be told here are 0: guard pages before Linux 6.15, and huge or zero pages where the fallback
 * lacks the permission.
 *
 * @param mappings in address order, as `mappings()` of a live pagemap gives them
 * @example
 * ```ts
 * import { openPagemap, summarizeMappings } from 'pagemap-scan';
 * using pagemap = openPagemap('self');
 * const { summaries } = summarizeMappings(pagemap, pagemap.mappings());
 * const stack = summaries.find(({ mapping }) => mapping.name === '[stack]');
 * console.assert(stack !== undefined && stack.present > 0);
 * ```
 */
export function summarizeMappings<M extends AddressRange>(
  pagemap: Pagemap,
  mappings: readonly M[],
  options: QueryOptions = {},
): MappingSummarizer<M> {
  const buffer = options.buffer ?? new RegionBuffer(8192);
  let unknown = knowsGuard(pagemap, buffer) ? 0 : PAGE_IS_GUARD;
  for (;;) {
    try {
      return summarizeWithout(unknown, pagemap, mappings, buffer);
    } catch (error) {
      if (!(error instanceof UnknownCategoryError) || (error.categories & ~unknown) === 0) throw error;
      unknown |= error.categories;
    }
  }
}

function summarizeWithout<M extends AddressRange>(
  unknown: number,
  pagemap: Pagemap,
  mappings: readonly M[],
  buffer: RegionBuffer,
): MappingSummarizer<M> {
  const summarizer = new MappingSummarizer(mappings, pagemap.pageSize);
  const masks = { categoryAnyofMask: SUMMARY_ANYOF & ~unknown, returnMask: SUMMARY_RETURN & ~unknown };
  for (const range of legRanges(mappings)) {
    for (const found of scanLegs(pagemap, { ...range, ...masks }, { buffer })) summarizer.addAll(found);
  }
  return summarizer;
}
