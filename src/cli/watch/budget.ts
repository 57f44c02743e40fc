/** What a watch may cost the process that is watched, and a sample of its pages, which costs less. */
import { PageSample } from '../../track/index.js';
import { CliError, EXIT } from '../exit.js';
import { type CostMeter, shareText, shortTime } from './cost.js';
import type { Collected } from './tracker.js';

/** An interval that is so many times as long as was asked for is told of. */
const MUCH_LONGER = 10;

/** A trial may cost what so many intervals pay for. */
const TRIED_INTERVALS = 5;

/** A sample of fewer pages tells nothing, whatever it costs: intervals get longer then. */
const LEAST_PAGES = 100;

/** A sample is to cost so much of what an interval may, so that intervals need not get longer where one costs more than others. */
const USUAL = 0.75;

/** A larger sample costs more calls than all pages do. */
const MOST_ADVISED = 0.1;

/** The share of the time that the watch may cost the process, above 0; 1 and more is no bound. */
export interface Budget {
  readonly cost?: CostMeter | undefined;
  readonly budget?: number | undefined;
}

/** One that is known and is a bound. */
export interface Limits {
  readonly cost: CostMeter;
  readonly budget: number;
}

export const isBound = (budget: number | undefined): budget is number => budget !== undefined && budget < 1;

/**
 * After so long, milliseconds from the beginning, the watch has cost the process no more than its budget, with the interval that comes
 * next, which is taken to cost as much as the last one. The time to wait grows until it does: a page costs once an interval at most.
 */
export function paidAfterMs({ cost, budget }: Budget): number {
  if (cost === undefined || !isBound(budget)) return 0;
  return (cost.totalMs + cost.latestMs) / budget;
}

/** No more than `value`, with so many digits. */
function roundedDown(value: number, digits: number): number {
  const unit = 10 ** (Math.floor(Math.log10(value)) + 1 - digits);
  return Number((Math.floor(value / unit + 1e-9) * unit).toPrecision(digits));
}

/** A sample of about so many of all pages, as a share of them. */
function shareOf(wanted: number, pages: number): number {
  return roundedDown(Math.min(MOST_ADVISED, Math.max(LEAST_PAGES, wanted) / pages), 2);
}

/** One digit of a share, as an option: `0.2%`. */
const shareOption = (share: number) => `${roundedDown(share * 100, 1)}%`;

/**
 * What to tell somebody who waits much longer than he asked for.
 *
 * @param nextMs how long the interval takes that begins now
 * @param intervalMs how long it was to take
 */
export function stretchedAdvice(
  { cost, budget }: Budget,
  nextMs: number,
  intervalMs: number,
): string | undefined {
  if (cost === undefined || !isBound(budget) || nextMs < intervalMs * MUCH_LONGER) return undefined;
  const ofAllMs = (cost.latestMs * cost.pageMs(true)) / cost.pageMs(false);
  const share = Math.min(MOST_ADVISED, (budget * intervalMs) / Math.max(ofAllMs, Number.MIN_VALUE));
  return `to stay within --budget ${shareText(budget)}, the next interval takes ${shortTime(nextMs)}; --sample ${shareOption(share)} looks at a random share of the pages, and more often`;
}

/**
 * The share of the pages to try. Protecting these pages, and one interval in which the process writes to all of its memory, cost what five intervals
 * pay for. Undefined for all pages: ten intervals pay for one in which the process writes to all of them.
 *
 * @param pages that the process has
 */
export function trialShare({ cost, budget }: Limits, intervalMs: number, pages: number): number | undefined {
  const paidMs = budget * intervalMs;
  if (pages * cost.pageMs(false) <= MUCH_LONGER * paidMs) return undefined;
  return shareOf((TRIED_INTERVALS * paidMs) / (cost.singleMs + cost.pageMs(true)), pages);
}

/**
 * The share of the pages with which one interval is paid for, as much as the process seems to write.
 *
 * @param pages that the process has
 * @param tried what a sample of them came to
 */
export function usualShare(
  { cost, budget }: Limits,
  intervalMs: number,
  pages: number,
  { writtenPages, errorPages = 0, intervalMs: triedMs }: Collected,
): number {
  const seen = Math.max(1, writtenPages + errorPages) * Math.max(1, intervalMs / triedMs);
  const affordable = (USUAL * budget * intervalMs) / cost.pageMs(true);
  return shareOf((affordable * pages) / Math.min(seen, pages), pages);
}

/** What to tell somebody who gets estimates for a budget. */
export function sampledAdvice(budget: number, share: number): string {
  return `to stay within --budget ${shareText(budget)}, a random ${shareText(share)} of the pages is looked at, and numbers are estimates; --sample 100% looks at all of them, in longer intervals`;
}

/** A sample of a share of the pages; undefined for all of them. */
export function sampleOf(share: number | undefined): PageSample | undefined {
  return share === undefined || share === 1 ? undefined : new PageSample(share);
}

/** @throws CliError for a budget where nobody knows what is spent */
export function requireCost({ cost, budget }: Budget): void {
  if (!isBound(budget) || cost !== undefined) return;
  throw new CliError(
    EXIT.unsupported,
    'Cannot keep within --budget: the cost of a page fault cannot be measured here; `pmscan doctor` says more',
  );
}
