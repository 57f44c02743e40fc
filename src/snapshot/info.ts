/** Facts about a snapshot. */
import type { ManifestHead, SnapshotCounts } from './manifest.js';

export interface SnapshotInfo extends SnapshotCounts {
  /** From 1; numbers are never used again. */
  readonly number: number;
  /** The moment that it shows. */
  readonly time: Date;
  /** The run of the writer that took it, from 1. Between two runs, only changes are known, not writes. */
  readonly run: number;
  /** The longest stop of the process, milliseconds. */
  readonly pauseMs: number;
  readonly totalMs: number;
  readonly threads: number;
  /** Pages that could not be read; they are zero. */
  readonly unreadablePages: number;
  /** Why devices may have written to memory without being noticed, as in `CoreResult`. */
  readonly doubts: readonly string[];
}

export function describeSnapshot(head: ManifestHead): SnapshotInfo {
  const { number, timeMs, run, pauseMs, totalMs, threads, doubts, unreadablePages } = head;
  const { pages, changedPages, writtenPages, newPages, storedBytes } = head;
  const counts = { pages, changedPages, writtenPages, newPages, storedBytes };
  return {
    number,
    time: new Date(timeMs),
    run,
    pauseMs,
    totalMs,
    ...counts,
    threads: threads.length,
    unreadablePages,
    doubts,
  };
}
