/** What a watch costs the process that is watched: page faults that it would not have otherwise, waits and stops. */
import { isEnded, type ProcessHandle } from '../../live/internal.js';
import { CurrentLookCost, type LookCost, type Subject, targetCostMs } from '../../track/internal.js';
import { humanCount } from '../text.js';
import type { Collected } from './tracker.js';

/** Of the time that a process runs; a watch that takes more is told of at once. */
const MUCH = 0.1;

/** A short time, from microseconds on. */
export function shortTime(ms: number): string {
  if (ms === 0) return '0 ms';
  if (ms < 1) return `${(ms * 1000).toFixed(ms < 0.01 ? 1 : 0)} µs`;
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A share of 1 as a percentage. */
export function shareText(share: number): string {
  return `${share < 0.1 ? Number((share * 100).toPrecision(share < 0.01 ? 1 : 2)) : (share * 100).toFixed(0)} %`;
}

/** Adds up what intervals cost the process. */
export class CostMeter implements Disposable {
  readonly #cost: LookCost & Partial<Disposable>;
  /** So far, milliseconds. */
  totalMs = 0;
  /** In the last interval. */
  latestMs = 0;
  /** Page faults so far, at most. */
  faultCount = 0;
  readonly #runMs: () => number | undefined;
  readonly #begunMs: number | undefined;
  #ranMs: number | undefined;
  #isToldOf = false;

  /**
   * @param cost is disposed with this
   * @param runMs for how long the threads of the process have run, milliseconds; undefined where that is not known
   */
  constructor(cost: LookCost & Partial<Disposable>, runMs: () => number | undefined) {
    this.#cost = cost;
    this.#runMs = runMs;
    this.#begunMs = runMs();
  }

  /** One for a process; undefined where this machine does not tell what looking costs. */
  static of(handle: ProcessHandle, subject: Subject, isSampled: boolean): CostMeter | undefined {
    const cost = CurrentLookCost.open(subject, isSampled);
    if (cost === undefined) return undefined;
    const runMs = () => {
      try {
        return handle.runMs();
      } catch (error) {
        if (isEnded(error)) return undefined;
        throw error;
      }
    };
    try {
      return new CostMeter(cost, runMs);
    } catch (error) {
      cost[Symbol.dispose]();
      throw error;
    }
  }

  /** What a page costs the process that it writes in an interval, milliseconds: one of a sample, or where all are looked at. */
  pageMs(isSampled: boolean): number {
    const errorPages = isSampled ? 1 : 0;
    return targetCostMs({ faultCount: 1, scanMs: Number.POSITIVE_INFINITY, errorPages }, this.#cost);
  }

  /** What it costs to protect a page of a sample, milliseconds. */
  get singleMs(): number {
    return this.#cost.singleUs / 1000;
  }

  /** So many pages of a sample were protected for the first time. */
  addFirst(pages: number): void {
    this.totalMs += pages * this.singleMs;
  }

  add(collected: Collected): void {
    this.#cost.refresh?.();
    this.latestMs = targetCostMs(collected, this.#cost);
    this.totalMs += this.latestMs;
    this.faultCount += collected.faultCount ?? 0;
    // Asked at each interval: in the end the process may be gone.
    this.#ranMs = this.#runMs() ?? this.#ranMs;
  }

  /** The cost as a share of the time that the process ran meanwhile, faults included; undefined where that is not known. */
  get share(): number | undefined {
    if (this.#ranMs === undefined || this.#begunMs === undefined) return undefined;
    const ranMs = this.#ranMs - this.#begunMs;
    return ranMs <= 0 ? undefined : Math.min(1, this.totalMs / ranMs);
  }

  /** A warning, once, when it costs the process much. */
  warning(): string | undefined {
    const { share } = this;
    if (this.#isToldOf || share === undefined || share < MUCH) return undefined;
    this.#isToldOf = true;
    return `the watch costs the process about ${shareText(share)} of the time that it runs: a page fault takes ${shortTime(this.#cost.faultUs / 1000)} here, and it has one for each page in each interval; a longer --interval, --sample or --budget costs less`;
  }

  /** For the summary. */
  lines(): string[] {
    const { faultCount, share } = this;
    const part = share === undefined ? '' : `, ${shareText(share)} of the time that it ran`;
    return [
      `cost to the process: about ${shortTime(this.totalMs)}${part} (${humanCount(faultCount)} page faults of ${shortTime(this.#cost.faultUs / 1000)}, and waits while pages are protected)`,
    ];
  }

  [Symbol.dispose](): void {
    this.#cost[Symbol.dispose]?.();
  }
}
