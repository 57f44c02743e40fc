/** What tracking costs the process that is tracked: page faults that it would not have otherwise, and stops. */
import { hugePageSizeOf } from '../abi/internal.js';

/**
 * The number of faults of the first accesses to protected memory: one a page, and one for a huge page. A huge page of
 * which only a part was protected is split into small pages.
 *
 * @param bytes that were accessed, a multiple of the page size
 */
export function faultsOf(bytes: number, isHuge: boolean, pageSize: number): number {
  return Math.ceil(bytes / (isHuge ? hugePageSizeOf(pageSize) : pageSize));
}

/** What being looked at costs on this machine, by page, microseconds: see `CurrentLookCost`. */
export interface LookCost {
  /** The first write to a protected page, or the first access. */
  readonly faultUs: number;
  /** To protect it again, with others. */
  readonly protectUs: number;
  /** To protect it again by itself, as those of a sample are, while other threads of the process run: each time, these are interrupted. */
  readonly singleUs: number;
  /** To be called once an interval, when it is over: what it costs may change. */
  refresh?(): void;
}

/** What of an interval tells what it cost. */
export interface LookedAt {
  readonly faultCount?: number | undefined;
  readonly stopMs?: number | undefined;
  readonly scanMs?: number | undefined;
  readonly errorPages?: number | undefined;
}

/**
 * An estimate of what an interval cost the process, milliseconds: its page faults, its stops, and the time in which pages were protected
 * again. In that time, threads of it that run wait for the locks of its page tables, and lose the translations that their processors know.
 * A scan that protects little does not hold them up, so that no more than the pages' part of it counts.
 *
 * @param interval where `errorPages` is above 0, it is one of a sample
 */
export function targetCostMs(interval: LookedAt, cost: LookCost): number {
  const { faultCount = 0, stopMs = 0, scanMs = 0, errorPages = 0 } = interval;
  // Measured when it is asked for first.
  const againUs = errorPages > 0 ? cost.singleUs : cost.protectUs;
  return (faultCount * cost.faultUs) / 1000 + Math.min(scanMs, (faultCount * againUs) / 1000) + stopMs;
}
