/** What the watch needs of a tracker; that of a process has it, and tests make their own. */
import type { Owner } from '../../owners/index.js';
import type { Subject } from '../../track/internal.js';
import type { WrittenMapping } from './heat.js';

/** What was written since the last collect. */
export interface Collected {
  /** Since tracking began, milliseconds. */
  readonly elapsedMs: number;
  /** Since the last collect. */
  readonly intervalMs: number;
  /** What collecting took. */
  readonly scanMs: number;
  /** For how long the process was stopped for it, where it has to be. */
  readonly stopMs?: number | undefined;
  readonly writtenPages: number;
  /** Of a sample: how far the true number may be from that, pages. */
  readonly errorPages?: number | undefined;
  /** Page faults that the tracking cost the process, at most. */
  readonly faultCount?: number | undefined;
  /** All tracked mappings, in address order. */
  readonly mappings: readonly WrittenMapping[];
  /** Whose memory a mapping is; undefined where nothing is known. */
  readonly ownerOf?: ((mapping: WrittenMapping) => Owner | undefined) | undefined;
}

export interface WatchTracker {
  readonly pid: number;
  /** Whether the process has ended: the next collect says so. */
  readonly ended?: boolean | undefined;
  /**
   * Collects what was written and protects it again.
   *
   * @param visit gets each run of written pages, bytes, in address order
   * @throws ProcessError 'ended'
   */
  collect(visit?: (start: number, end: number) => void): Collected;
  /** To be called now and then between collects. */
  lookForNeighbours?(): void;
  /** Writable mappings that cannot be tracked. */
  readonly skipped: readonly unknown[];
}

/** The words for it, in texts and in JSON. */
export const WORDS = {
  writes: { done: 'written', workingSet: 'write working set', pages: 'writtenPages', bytes: 'writtenBytes' },
  accesses: { done: 'accessed', workingSet: 'working set', pages: 'accessedPages', bytes: 'accessedBytes' },
} as const satisfies Record<Subject, object>;
