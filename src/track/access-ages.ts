/** How long each page was left alone. */
import { pageSize } from '../live/index.js';
import type { PageSample } from './sample.js';
import { WriteWorkingSet } from './working-set.js';

/**
 * Ages of pages. The age of a page is the time since the end of the interval in which it was last accessed. A
 * page that was never accessed is as old as the whole time; it may be older.
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
  /** The end of each interval; the first is the beginning. */
  readonly #ends: number[] = [0];

  /** @param pageBytes the size of a page; this machine's by default */
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

  /** The age of the page at an address at the end of the last interval, milliseconds. */
  ageMs(address: number): number {
    return this.elapsedMs - this.#ends[this.#set.lastInterval(address)]!;
  }

  /**
   * Calls `take` for runs of pages of one class, each page once, in address order. With a sample, only for
   * pages in it.
   *
   * @param limitsMs ascending; a page is in class n when the n-th limit is the first above its age
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
