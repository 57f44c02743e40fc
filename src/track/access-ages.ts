/** How long each page was left alone. */
import { pageSize } from '../live/index.js';
import type { PageSample } from './sample.js';
import { WriteWorkingSet } from './working-set.js';

/**
 * Ages of pages: the time since the interval ended in which a page was last accessed. A page that was not accessed at all is as old as the
 * whole time; it may be older.
 *
 * @example
 * ```ts
 * import { AccessAges } from 'pagemap-scan/track';
 * const ages = new AccessAges();
 * ages.add(0x1000, 0x2000);
 * ages.endInterval(1000);
 * ages.endInterval(2000);
 * console.assert(ages.ageMs(0x1000) === 1000 && ages.ageMs(0x2000) === 2000);
 * ```
 */
export class AccessAges {
  /** The sample that is looked at; undefined when all pages are. */
  readonly sample: PageSample | undefined;
  readonly #pageSize: number;
  readonly #set: WriteWorkingSet;
  /** By interval: when it ended. The first is the beginning. */
  readonly #ends: number[] = [0];

  /** @param pageBytes how large the pages are; as this machine's by default */
  constructor(sample?: PageSample, pageBytes: number = pageSize()) {
    this.sample = sample;
    this.#pageSize = pageBytes;
    this.#set = new WriteWorkingSet([], pageBytes);
  }

  /** From the beginning to the end of the last interval, milliseconds. */
  get elapsedMs(): number {
    return this.#ends[this.#ends.length - 1]!;
  }

  /** Takes pages that were accessed in the current interval; bytes, page-aligned. */
  add(start: number, end: number): void {
    this.#set.add(start, end);
  }

  /** Ends the current interval. @param elapsedMs since the beginning, milliseconds */
  endInterval(elapsedMs: number): void {
    this.#set.endInterval();
    this.#ends.push(elapsedMs);
  }

  /** How long the page at an address was left alone, as of the end of the last interval; milliseconds. */
  ageMs(address: number): number {
    return this.elapsedMs - this.#ends[this.#set.lastInterval(address)]!;
  }

  /**
   * Calls `take` for runs of pages of one class, each page once, in address order; of a sample, for the pages in it.
   *
   * @param limitsMs ascending; a page is in class n when its age is below the n-th of them, and below no earlier one
   * @param categories of the whole range
   */
  visit(
    start: number,
    end: number,
    categories: number,
    limitsMs: readonly number[],
    take: (start: number, end: number, index: number) => void,
  ): void {
    const step = this.#pageSize;
    const walk = (from: number, to: number) => {
      let runStart = from;
      let runClass = -1;
      for (let at = from; at < to; at += step) {
        const age = this.ageMs(at);
        let index = 0;
        while (index < limitsMs.length && age >= limitsMs[index]!) index++;
        if (index === runClass) continue;
        if (runClass >= 0) take(runStart, at, runClass);
        runStart = at;
        runClass = index;
      }
      if (runClass >= 0) take(runStart, to, runClass);
    };
    if (this.sample === undefined) walk(start, end);
    else this.sample.visit(start, end, categories, walk);
  }
}
