/** Writes and accesses in one form, so that the same code shows, keeps and measures both. */
import { isKernelMade } from '../proc/internal.js';
import type { AccessTracker } from './accesses.js';
import type { TrackOptions } from './attach.js';
import { trackProcess, WriteProtectTracker } from './process.js';
import type { ProcessTracker } from './tracker.js';

/** What is tracked: which pages are written, or which are accessed (read, written or executed). */
export type Subject = 'writes' | 'accesses';

/** Accesses in the form of writes: "written" stands for "accessed" in all results. */
export function asWrites(tracker: AccessTracker): ProcessTracker {
  return {
    provider: 'ioctl',
    pid: tracker.pid,
    stopMs: tracker.stopMs,
    get ended() {
      return tracker.ended;
    },
    get skipped() {
      // That nobody can tell of the kernel's own pages is no news.
      return tracker.skipped.filter(({ name }) => !isKernelMade({ name }));
    },
    collect(visit) {
      const { accessedPages, errorPages, mappings, ...times } = tracker.collect(visit);
      return {
        ...times,
        writtenPages: accessedPages,
        ...(tracker.sample === undefined ? {} : { errorPages }),
        mappings: mappings.map(({ accessedPages, ...mapping }) => ({
          ...mapping,
          writtenPages: accessedPages,
        })),
      };
    },
    [Symbol.dispose]: () => tracker[Symbol.dispose](),
  };
}

/**
 * Tracks writes, or accesses in the form of writes.
 *
 * @throws what `trackProcess` throws
 */
export async function trackActivity(
  pid: number | 'self',
  subject: Subject,
  options: TrackOptions = {},
): Promise<ProcessTracker> {
  if (subject === 'writes') return trackProcess(pid, options);
  return asWrites(await trackProcess(pid, { ...options, accesses: true }));
}

/**
 * Gives the process's memory back before a tracker is disposed, without keeping the process waiting for long at a time. Trackers that do
 * not protect much at once have nothing to give back so.
 */
export async function giveBack(tracker: ProcessTracker): Promise<void> {
  try {
    if (tracker instanceof WriteProtectTracker) await tracker.giveBack();
  } catch {
    // The process has ended, or what is left is given back when the tracker is disposed.
  }
}
