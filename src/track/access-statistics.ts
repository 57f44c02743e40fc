/** Statistics of access intervals: how much memory a process needs, and how much is idle. */
import { hugePageSizeOf, PAGE_IS_HUGE, PAGE_IS_PRESENT, type Pagemap } from '../abi/internal.js';
import { type AddressRange, forEachRegion, RegionDealer } from '../query/internal.js';
import type { PageSample } from './sample.js';
import { WriteWorkingSet } from './working-set.js';

/**
 * Distinct pages that were accessed within windows of one length. With a sample, all numbers are estimates
 * for all pages.
 */
export interface AccessWindow {
  /** The length that was asked for, milliseconds; whole intervals. */
  readonly ms: number;
  readonly meanPages: number;
  /** 95 of 100 windows had no more. */
  readonly p95Pages: number;
  readonly maxPages: number;
  /**
   * The error of the mean: the true mean is no farther away in 95 of 100 cases. 0 when all pages were looked
   * at.
   */
  readonly errorPages: number;
}

/** Resident pages that were not accessed for at least a given time, as of the end. */
export interface IdlePages {
  /** Milliseconds. The last entry of a list is the whole time: its pages were never accessed. */
  readonly atLeastMs: number;
  readonly pages: number;
}

/** Accessed and idle pages of one mapping. */
export interface MappingIdleness {
  readonly start: number;
  readonly end: number;
  /** Chosen by the process: escape it before you show it. */
  readonly name: string;
  readonly residentPages: number;
  /** Resident pages that were accessed at least once. */
  readonly accessedPages: number;
  /** Resident pages that were not accessed. */
  readonly idlePages: number;
}

/** The whole report, as of the end. */
export interface AccessReport {
  readonly residentPages: number;
  readonly windows: readonly AccessWindow[];
  readonly idle: readonly IdlePages[];
  /** Mappings with resident pages, in address order. */
  readonly mappings: readonly MappingIdleness[];
}

/** The value that 95 of 100 do not exceed. */
function percentile95(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * 0.95) - 1)] ?? 0;
}

/**
 * Gathers intervals, of all pages or of a sample.
 *
 * @example
 * ```ts
 * import { AccessStatistics } from 'pagemap-scan/track';
 * const statistics = new AccessStatistics({ intervalMs: 1000, windowsMs: [1000, 2000] });
 * statistics.add(0x1000, 0x3000);
 * statistics.endInterval();
 * statistics.add(0x2000, 0x4000);
 * statistics.endInterval();
 * console.assert(statistics.windows()[1]?.maxPages === 3);
 * ```
 */
export class AccessStatistics {
  readonly #intervalMs: number;
  readonly #windowsMs: readonly number[];
  /** The same in intervals. */
  readonly #windows: readonly number[];
  readonly #sample: PageSample | undefined;
  readonly #set: WriteWorkingSet;
  /** By window: its size at each interval that completed one. */
  readonly #sizes: number[][];

  /** @param options.windowsMs lengths, multiples of the interval, ascending */
  constructor(options: {
    readonly intervalMs: number;
    readonly windowsMs: readonly number[];
    readonly sample?: PageSample | undefined;
  }) {
    this.#intervalMs = options.intervalMs;
    this.#windowsMs = options.windowsMs;
    this.#sample = options.sample;
    this.#windows = options.windowsMs.map((ms) => Math.max(1, Math.round(ms / options.intervalMs)));
    this.#set = new WriteWorkingSet(this.#windows);
    this.#sizes = options.windowsMs.map(() => []);
  }

  /** Intervals that have ended. */
  get intervals(): number {
    return this.#set.intervals;
  }

  /** Takes pages that were accessed in the current interval; bytes, page-aligned. */
  add(start: number, end: number): void {
    this.#set.add(start, end);
  }

  /** Ends the current interval. */
  endInterval(): void {
    this.#set.endInterval();
    this.#set.latest.forEach((pages, window) => {
      if (this.#set.intervals >= this.#windows[window]!) this.#sizes[window]!.push(pages);
    });
  }

  /** The windows that were complete at least once. */
  windows(unitPages = 1): AccessWindow[] {
    const share = this.#sample?.share ?? 1;
    const all = (pages: number) => Math.round(pages / share);
    return this.#windowsMs.flatMap((ms, window) => {
      const sizes = this.#sizes[window]!;
      if (sizes.length === 0) return [];
      const mean = sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
      return {
        ms,
        meanPages: all(mean),
        p95Pages: all(percentile95(sizes)),
        maxPages: all(sizes.reduce((most, size) => Math.max(most, size), 0)),
        errorPages: Math.round((1.96 * Math.sqrt(mean * unitPages * (1 - share))) / share),
      };
    });
  }

  /**
   * Looks which pages are resident, and reports how long each was idle.
   *
   * @param mappings those whose accesses were tracked, in address order
   */
  report(pagemap: Pagemap, mappings: readonly (AddressRange & { readonly name: string })[]): AccessReport {
    const share = this.#sample?.share ?? 1;
    const all = (pages: number) => Math.round(pages / share);
    /** Resident pages by the intervals since they were accessed: 0 is in the last one; at the end, those that never were. */
    const ages = new Float64Array(this.intervals + 1);
    const rows = mappings.map(() => ({ resident: 0, idle: 0 }));
    let pages = 0;
    let squares = 0;
    const step = pagemap.pageSize;
    const dealer = new RegionDealer(mappings, (index, start, end) => {
      if (index < 0) return;
      const row = rows[index]!;
      pages += (end - start) / step;
      squares += ((end - start) / step) ** 2;
      for (let at = start; at < end; at += step) {
        const last = this.#set.lastInterval(at);
        ages[last === 0 ? this.intervals : this.intervals - last]!++;
        row.resident++;
        if (last === 0) row.idle++;
      }
    });
    for (const { start, end } of mappings) {
      const query = { start, end, categoryMask: PAGE_IS_PRESENT, returnMask: PAGE_IS_HUGE };
      forEachRegion(pagemap, query, (from, to, categories) => {
        const take = (first: number, last: number) => dealer.add(first, last, categories);
        if (this.#sample !== undefined) this.#sample.visit(from, to, categories, take);
        else take(from, to);
      });
    }
    const elapsedMs = this.intervals * this.#intervalMs;
    const limits = [...this.#windowsMs.filter((ms) => ms < elapsedMs), elapsedMs];
    return {
      residentPages: all(pages),
      windows: this.windows(pages > 0 ? Math.min(squares / pages, hugePageSizeOf(step) / step) : 1),
      idle: limits.map((atLeastMs) => {
        const from = Math.round(atLeastMs / this.#intervalMs);
        return {
          atLeastMs,
          pages: all(ages.subarray(Math.min(from, this.intervals)).reduce((sum, n) => sum + n, 0)),
        };
      }),
      mappings: mappings.flatMap(({ start, end, name }, index) => {
        const { resident, idle } = rows[index]!;
        if (resident === 0) return [];
        return {
          start,
          end,
          name,
          residentPages: all(resident),
          accessedPages: all(resident - idle),
          idlePages: all(idle),
        };
      }),
    };
  }
}
