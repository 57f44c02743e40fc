/** What a watch has seen from its beginning to its end. */
import { pageSize } from '../../live/index.js';
import type { Owner } from '../../owners/index.js';
import { type Subject, WriteWorkingSet } from '../../track/internal.js';
import { hex, humanBytes, humanCount, plural } from '../text.js';
import type { CostMeter } from './cost.js';
import { totalsByOwner } from './owned.js';
import { type Collected, WORDS } from './tracker.js';

/** A share of less time is not told, milliseconds. */
const LEAST_SHARED_MS = 1000;
const MOST_OWNERS = 5;
/** Of so many mappings at most is kept account; a process that maps and unmaps all the time would fill our memory. */
const MOST_KEPT = 20_000;

/** Adds up intervals, in memory that does not grow with their number (but with the pages that are written). */
export class WatchSummary {
  readonly workingSet: WriteWorkingSet;
  intervals = 0;
  lateIntervals = 0;
  /** Whether the last interval was. */
  isLate = false;
  writtenPages = 0;
  elapsedMs = 0;
  peakRate = 0;
  /** Time that the tool itself took, milliseconds. */
  ownMs = 0;
  peakStopMs = 0;
  #stopMs = 0;
  readonly #words: (typeof WORDS)[Subject];
  readonly #pageSize: number;
  readonly #mappings = new Map<
    string,
    { start: number; name: string; owner: Owner | undefined; pages: number }
  >();

  /** The share of all pages that is looked at. */
  readonly sampled: number;

  /** What the watch costs the process; undefined where that cannot be told. */
  readonly cost: CostMeter | undefined;

  /**
   * @param windows of the working set, in intervals
   * @param cost measures what the watch costs the process, and is given each interval
   * @param pageBytes how large the pages are; as this machine's by default
   */
  constructor(
    windows: readonly number[] = [1, 10, 100],
    subject: Subject = 'writes',
    sampled = 1,
    cost?: CostMeter,
    pageBytes: number = pageSize(),
  ) {
    this.#pageSize = pageBytes;
    this.#words = WORDS[subject];
    this.sampled = sampled;
    this.cost = cost;
    this.workingSet = new WriteWorkingSet(windows, pageBytes);
  }

  /** Takes an interval; its regions went to `workingSet.add`. */
  add(collected: Collected, late = false): void {
    this.intervals++;
    this.isLate = late;
    if (late) this.lateIntervals++;
    this.writtenPages += collected.writtenPages;
    this.elapsedMs += collected.intervalMs;
    this.#stopMs += collected.stopMs ?? 0;
    this.cost?.add(collected);
    this.peakStopMs = Math.max(this.peakStopMs, collected.stopMs ?? 0);
    if (collected.intervalMs > 0) {
      this.peakRate = Math.max(this.peakRate, (collected.writtenPages / collected.intervalMs) * 1000);
    }
    for (const mapping of collected.mappings) {
      const { start, name, writtenPages } = mapping;
      if (writtenPages === 0) continue;
      const owner = collected.ownerOf?.(mapping);
      // V8 gives a chunk to another space now and then: each gets what was written while it had it.
      const key = `${start} ${name} ${owner?.name}`;
      const known = this.#mappings.get(key);
      if (known === undefined) this.#mappings.set(key, { start, name, owner, pages: writtenPages });
      else known.pages += writtenPages;
    }
    this.workingSet.endInterval();
    if (this.#mappings.size > MOST_KEPT) this.#forget();
  }

  /** Drops the half of the mappings that was written least. */
  #forget(): void {
    const sorted = [...this.#mappings].sort(([, a], [, b]) => a.pages - b.pages);
    for (const [key] of sorted.slice(0, sorted.length / 2)) this.#mappings.delete(key);
  }

  get meanStopMs(): number {
    return this.intervals === 0 ? 0 : this.#stopMs / this.intervals;
  }

  /** Distinct pages since the beginning; of a sample, the estimate for all. */
  get distinctPages(): number {
    return Math.round(this.workingSet.distinctPages / this.sampled);
  }

  /** As lines for people. */
  lines(): string[] {
    return [...this.sums(), ...this.#most()];
  }

  /** Those of `lines` that are not about single mappings. */
  sums(): string[] {
    const bytes = (pages: number) => humanBytes(pages * this.#pageSize);
    const seconds = this.elapsedMs / 1000;
    const late = this.lateIntervals === 0 ? 'none' : humanCount(this.lateIntervals);
    const mean = seconds > 0 ? this.writtenPages / seconds : 0;
    const lines = [
      `${plural(this.intervals, 'interval')} in ${seconds.toFixed(1)} s, ${late} late` +
        // Of less time, what it takes to begin would count as what it takes to look.
        (this.elapsedMs < LEAST_SHARED_MS
          ? ''
          : `; the tool itself took ${((this.ownMs / this.elapsedMs) * 100).toFixed(1)} % of the time`),
      ...(this.cost?.lines() ?? []),
      `${this.#words.done} ${bytes(this.writtenPages)}: ${bytes(mean)}/s on average, ${bytes(this.peakRate)}/s at most`,
      `distinct pages ${humanCount(this.distinctPages)} (${bytes(this.distinctPages)})`,
    ];
    for (const { intervals, meanPages, peakPages } of this.workingSet.sizes()) {
      if (intervals > 1 && intervals > this.intervals) continue;
      lines.push(
        `${this.#words.workingSet} of ${plural(intervals, 'interval')}: ${bytes(meanPages / this.sampled)} on average, ${bytes(peakPages / this.sampled)} at most`,
      );
    }
    return lines;
  }

  #most(): string[] {
    const most = totalsByOwner(this.#mappings.values()).slice(0, MOST_OWNERS);
    if (most.length === 0) return [];
    const list = most.map(({ label, start, pages, mappings }) => {
      const text = `${label} ${humanBytes(pages * this.#pageSize)}`;
      return mappings === 1 ? text : `${text} (${plural(mappings, 'mapping')}, most at ${hex(start)})`;
    });
    return [`most ${this.#words.done}: ${list.join(', ')}`];
  }
}
