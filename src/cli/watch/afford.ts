/** How many of a process's pages may be looked at within a budget. */
import { chooseProvider, type ProcessHandle, pageSize } from '../../live/internal.js';
import { parseStatus } from '../../proc/index.js';
import { PageSample } from '../../track/index.js';
import { CliError, EXIT } from '../exit.js';
import { type CostMeter, shareText } from './cost.js';

/** A random sample of less pages tells too little. */
const LEAST_PAGES = 1000;

/** For the budget, intervals get up to so many times as long as was asked for; then pages are left out. */
const MOST_LONGER = 4;

export interface Affordable {
  /** The share of a processor that looking may cost the process. */
  readonly budget: number;
  readonly intervalMs: number;
  /** What a page fault costs, microseconds. */
  readonly faultUs: number;
}

/**
 * The share of a process's pages that can be looked at, from 0 to 1. If all of them are written in an interval, at most four intervals
 * pay for it. All of them where the budget is no bound.
 *
 * @param pages that the process could write
 */
export function affordableShare(pages: number, { budget, intervalMs, faultUs }: Affordable): number {
  if (budget >= 1) return 1;
  const faults = (budget * intervalMs * MOST_LONGER * 1000) / faultUs;
  return Math.min(1, Math.max(LEAST_PAGES, faults) / Math.max(1, pages));
}

/** What is asked for: at most one of them. */
export interface SampleOptions {
  readonly sample?: number | undefined;
  readonly exact?: boolean | undefined;
  readonly budget?: number | undefined;
}

/** A sample of a share of the pages; undefined for all of them. */
export function sampleOf(share: number | undefined): PageSample | undefined {
  return share === undefined || share === 1 ? undefined : new PageSample(share);
}

/**
 * The sample of pages whose writes are tracked; undefined for all of them.
 *
 * @param explain gets a sentence about a sample that nobody asked for
 * @throws CliError for options that exclude each other
 */
export function writeSample(
  handle: ProcessHandle,
  intervalMs: number,
  cost: CostMeter | undefined,
  { sample, exact, budget }: SampleOptions,
  explain: (text: string) => void,
): PageSample | undefined {
  if (sample !== undefined || exact || budget === undefined || cost === undefined) return sampleOf(sample);
  // Soft-dirty bits are of all pages.
  if (chooseProvider() !== 'ioctl') return undefined;
  const { rssAnonBytes = 0, rssShmemBytes = 0 } = parseStatus(handle.read('status'));
  const pages = (rssAnonBytes + rssShmemBytes) / pageSize();
  const share = affordableShare(pages, { budget, intervalMs, faultUs: cost.faultUs });
  if (share === 1) return undefined;
  explain(
    `within --budget ${shareText(budget)}, a random ${shareText(share)} of the pages are looked at: numbers are estimates. --exact looks at all of them, and intervals get longer`,
  );
  return sampleOf(share);
}

/** @throws CliError for a budget where nobody knows what is spent */
export function requireCost(budget: number | undefined, cost: CostMeter | undefined): void {
  if (budget === undefined || cost !== undefined) return;
  throw new CliError(
    EXIT.unsupported,
    'Cannot keep within --budget: what a page fault costs cannot be measured here, as `pmscan doctor` tells',
  );
}

export function checkSampleUsage({ sample, exact }: SampleOptions): void {
  if (sample !== undefined && exact)
    throw new CliError(
      EXIT.usage,
      'Cannot look at all pages and at a sample: give --exact or --sample, not both',
    );
}
