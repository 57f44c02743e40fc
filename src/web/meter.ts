/** A session's findings as metrics: the same ones that `pmscan record --metrics` gives. */
import type { Metrics } from '../metrics/index.js';
import { idlePages, type MappingModel } from '../model/index.js';
import { RecentWrites, WORKING_SET_WINDOWS_MS } from '../record/internal.js';
import type { Interval } from '../track/index.js';

export class Meter {
  readonly #metrics: Metrics;
  #elapsedMs = 0;
  /** The page's own working set has other windows, and forgets. */
  readonly #recent = new RecentWrites(WORKING_SET_WINDOWS_MS, { forgets: false });

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  /** A run of pages written in the interval that is going on: bytes. */
  region(start: number, end: number): void {
    this.#recent.add(start, end);
  }

  interval(
    interval: Interval,
    times: { startMs: number; endMs: number; late: boolean },
    untracked: number,
    targetCostMs: number | undefined,
  ): void {
    this.#elapsedMs = interval.elapsedMs;
    const pages = this.#recent.endColumn(times.startMs, times.endMs);
    this.#metrics.interval(interval, {
      late: times.late,
      distinctPages: this.#recent.distinctPages,
      workingSet: WORKING_SET_WINDOWS_MS.map((windowMs, index) => ({ windowMs, pages: pages[index]! })),
      untracked,
      targetCostMs,
    });
  }

  layout(mappings: readonly MappingModel[]): void {
    this.#metrics.layout(
      mappings.map((mapping) => ({
        mapping,
        kinds: mapping.pages ?? [],
        ownerKind: mapping.ownerKind,
        idle: mapping.ages && idlePages(mapping.ages, this.#elapsedMs),
      })),
    );
  }

  /** The process has ended, or nobody asks any more: its series end, too. */
  end(): Promise<void> {
    return this.#metrics[Symbol.asyncDispose]();
  }
}
