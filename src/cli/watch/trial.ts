/** Finds out how much a process writes, at a cost that is bounded, before a watch within a budget begins. */
import { isEnded } from '../../live/internal.js';
import { PageSample, type ProcessTracker } from '../../track/index.js';
import { type Budget, isBound, trialShare, usualShare } from './budget.js';

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
 * Opens a tracker that keeps within a budget: of all pages where intervals pay for these, whatever the process does with the memory that it has; else of a sample.
 *
 * @param countPages tells how many pages the process has
 * @param open opens a tracker of all pages, or of a sample
 * @param pause waits so many milliseconds; gives false when it is to end before that
 */
export async function openWithin(
  { cost, budget }: Budget,
  intervalMs: number,
  countPages: () => number,
  open: (sample?: PageSample) => Promise<ProcessTracker>,
  pause: (ms: number) => Promise<boolean>,
): Promise<Chosen> {
  if (cost === undefined || !isBound(budget)) return { tracker: await open() };
  const limits = { cost, budget };
  const pages = countPages();
  const trial = trialShare(limits, intervalMs, pages);
  if (trial === undefined) return { tracker: await open() };
  const openSample = async (share: number) => {
    const sample = new PageSample(share);
    const tracker = await open(sample);
    cost.addFirst(share * pages);
    return { tracker, sample };
  };
  const tried = await openSample(trial);
  let usual: number;
  try {
    if (!(await pause(Math.min(intervalMs, LONGEST_MS)))) return tried;
    const collected = tried.tracker.collect();
    cost.add(collected);
    usual = usualShare(limits, intervalMs, pages, collected);
  } catch (error) {
    // The watch finds out, and tells.
    if (isEnded(error)) return tried;
    tried.tracker[Symbol.dispose]();
    throw error;
  }
  if (usual >= trial / NEAR) return tried;
  tried.tracker[Symbol.dispose]();
  return await openSample(usual);
}
