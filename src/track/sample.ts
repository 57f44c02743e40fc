/** A random share of all pages, to protect instead of all: each protected page costs its process a fault. */
import { hugePageSizeOf, PAGE_IS_HUGE } from '../abi/internal.js';
import { pageSize } from '../live/index.js';

/** 95 of 100 normally distributed values lie within so many standard deviations. */
const DEVIATIONS = 1.96;

/** Where three pages are expected in the sample, it has none of them in 5 of 100 cases (the rule of three). */
const LEAST_ERROR_PAGES = 3;

/** Mixes a 32-bit number so that its bits depend on all bits (the finalizer of MurmurHash3). */
function mix(number: number): number {
  let bits = number | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/**
 * Which pages are in a random sample. Only its address decides whether a page is in it, so the same pages are tracked
 * each time and no list of them is needed. A huge page is in it as a whole or not at all: protecting a part of one
 * would split it.
 *
 * @example
 * ```ts
 * import { pageSize } from 'pagemap-scan/live';
 * import { PageSample } from 'pagemap-scan/track';
 * const sample = new PageSample(0.1, 7);
 * let pages = 0;
 * sample.visit(0, 10_000 * pageSize(), 0, (start, end) => {
 *   pages += (end - start) / pageSize();
 * });
 * console.assert(pages > 850 && pages < 1150);
 * ```
 */
export class PageSample {
  /** From 0 to 1. */
  readonly share: number;
  readonly #limit: number;
  readonly #seed: number;
  readonly #pageSize: number;

  /**
   * @param share of all pages, above 0, at most 1
   * @param seed samples of different seeds are independent of each other
   * @param pageBytes the size of a page; this machine's by default
   * @throws RangeError for another share
   */
  constructor(share: number, seed = Math.floor(Math.random() * 2 ** 32), pageBytes: number = pageSize()) {
    if (!(share > 0 && share <= 1))
      throw new RangeError(`Cannot take a sample of ${share}: a share above 0, at most 1`);
    this.share = share;
    this.#limit = share * 2 ** 32;
    this.#seed = mix(seed);
    this.#pageSize = pageBytes;
  }

  #has(number: number): boolean {
    return mix(number ^ Math.imul(Math.floor(number / 2 ** 32), 0x9e3779b1) ^ this.#seed) < this.#limit;
  }

  /**
   * Calls `take` for each unit of [start, end) that is in the sample: a page, or the part of a huge page that lies in
   * the range.
   *
   * @param start bytes, page-aligned
   * @param categories of the whole range, with PAGE_IS_HUGE where it is mapped by huge pages
   */
  visit(start: number, end: number, categories: number, take: (start: number, end: number) => void): void {
    const isSmall = (categories & PAGE_IS_HUGE) === 0;
    const unit = isSmall ? this.#pageSize : hugePageSizeOf(this.#pageSize);
    // Of everything, whole ranges: to count them one by one would take long for nothing.
    if (this.share === 1 && isSmall) {
      if (start < end) take(start, end);
      return;
    }
    for (let number = Math.floor(start / unit); number * unit < end; number++) {
      if (this.#has(isSmall ? number : ~number))
        take(Math.max(start, number * unit), Math.min(end, (number + 1) * unit));
    }
  }
}

/**
 * Estimates the number of all pages from those in a sample.
 *
 * Each unit is in the sample independently of the others, so that the variance of the estimate follows from the units' sizes alone
 * (Horvitz and Thompson).
 *
 * @example
 * ```ts
 * import { pageSize } from 'pagemap-scan/live';
 * import { PageSample, SampledCount } from 'pagemap-scan/track';
 * const sample = new PageSample(0.1, 7);
 * const count = new SampledCount(sample.share);
 * sample.visit(0, 10_000 * pageSize(), 0, (start, end) => count.add((end - start) / pageSize()));
 * console.assert(Math.abs(count.pages - 10_000) <= count.errorPages && count.errorPages < 1000);
 * ```
 */
export class SampledCount {
  readonly #share: number;
  #pages = 0;
  #squares = 0;

  constructor(share: number) {
    this.#share = share;
  }

  /** Takes one unit of the sample, pages. */
  add(pages: number): void {
    this.#pages += pages;
    this.#squares += pages * pages;
  }

  /** The estimate, pages. */
  get pages(): number {
    return Math.round(this.#pages / this.#share);
  }

  /**
   * The error of the estimate, pages: the true number is no farther away in 95 of 100 samples. 0 for a sample of all
   * pages. It is never less than the error of three pages in the sample, because pages may exist even where the sample
   * found none.
   */
  get errorPages(): number {
    const found = Math.max(LEAST_ERROR_PAGES, DEVIATIONS * Math.sqrt(this.#squares + 1));
    return Math.round((found * Math.sqrt(1 - this.#share)) / this.#share);
  }
}
