/** Finds out how much a process writes, at a cost that is bounded, before a watch within a budget begins. */
import { isEnded } from '../../live/internal.js';
import { PageSample, type ProcessTracker } from '../../track/index.js';
import { type Budget, largestShare, usualShare } from './budget.js';

/** A trial takes no longer, milliseconds, and no longer than an interval. */
const LONGEST_MS = 500;

/** A share that is no smaller than another one's half is not worth a second attach. */
const NEAR = 2;

/** What a watch goes on with. Without `sample`, it looks at all pages. */
export interface Chosen {
  readonly tracker: ProcessTracker;
  readonly sample?: PageSample | undefined;
}

/**
 * Opens a tracker that keeps within a budget: of all pages where intervals pay for these, whatever the process does; else of a sample.
 *
 * @param pages that the process has
 * @param open opens a tracker of all pages, or of a sample
 * @param pause waits so many milliseconds; it may end earlier
 */
export async function openWithin(
  { cost, budget }: Budget,
  intervalMs: number,
  pages: number,
  open: (sample?: PageSample) => Promise<ProcessTracker>,
  pause: (ms: number) => Promise<unknown>,
): Promise<Chosen> {
  if (cost === undefined || budget === undefined || budget >= 1) return { tracker: await open() };
  const limits = { cost, budget };
  const largest = largestShare(limits, intervalMs, pages);
  if (largest === undefined) return { tracker: await open() };
  const sample = new PageSample(largest);
  const tracker = await open(sample);
  let usual: number;
  try {
    await pause(Math.min(intervalMs, LONGEST_MS));
    const tried = tracker.collect();
    cost.add(tried);
    usual = usualShare(limits, intervalMs, pages, tried);
  } catch (error) {
    // The watch finds out, and tells.
    if (isEnded(error)) return { tracker, sample };
    tracker[Symbol.dispose]();
    throw error;
  }
  if (usual >= largest / NEAR) return { tracker, sample };
  tracker[Symbol.dispose]();
  const smaller = new PageSample(usual);
  return { tracker: await open(smaller), sample: smaller };
}
