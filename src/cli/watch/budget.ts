/** What a watch may cost the process that is watched, and a sample of its pages, which costs less. */
import { PageSample } from '../../track/index.js';
import { CliError, EXIT } from '../exit.js';
import { type CostMeter, shareText, shortTime } from './cost.js';

/** An interval that is so many times as long as was asked for is told of. */
const MUCH_LONGER = 10;

/** A larger sample costs more calls than all pages do. */
const MOST_ADVISED = 0.1;

/** The share of the time that the watch may cost the process, above 0; 1 and more is no bound. */
export interface Budget {
  readonly cost?: CostMeter | undefined;
  readonly budget?: number | undefined;
}

/**
 * After so long, milliseconds from the beginning, the watch has cost the process no more than its budget, with the interval that comes
 * next, which is taken to cost as much as the last one. The time to wait grows until it does: a page costs once an interval at most.
 */
export function paidAfterMs({ cost, budget }: Budget): number {
  if (cost === undefined || budget === undefined || budget >= 1) return 0;
  return (cost.totalMs + cost.latestMs) / budget;
}

/** One digit of a share, as an option: `0.2%`. */
function shareOption(share: number): string {
  const percent = share * 100;
  const unit = 10 ** Math.floor(Math.log10(percent));
  return `${Number((Math.floor(percent / unit + 1e-9) * unit).toPrecision(1))}%`;
}

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
  if (cost === undefined || budget === undefined || nextMs < intervalMs * MUCH_LONGER) return undefined;
  const share = Math.min(MOST_ADVISED, (budget * intervalMs) / Math.max(cost.latestMs, Number.MIN_VALUE));
  return `to stay within --budget ${shareText(budget)}, the next interval takes ${shortTime(nextMs)}; --sample ${shareOption(share)} looks at a random share of the pages, and more often`;
}

/** A sample of a share of the pages; undefined for all of them. */
export function sampleOf(share: number | undefined): PageSample | undefined {
  return share === undefined || share === 1 ? undefined : new PageSample(share);
}

/** @throws CliError for a budget where nobody knows what is spent */
export function requireCost({ cost, budget }: Budget): void {
  if (budget === undefined || budget >= 1 || cost !== undefined) return;
  throw new CliError(
    EXIT.unsupported,
    'Cannot keep within --budget: the cost of a page fault cannot be measured here; `pmscan doctor` says more',
  );
}
