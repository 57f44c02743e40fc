/** The common interface of all trackers of another process's writes. */
import type { Provider } from '../live/index.js';
import type { RegionVisitor } from '../query/index.js';

/** Why a mapping is not tracked. */
export type SkipReason =
  /** The process, or another tracker, has registered it with its own userfaultfd. */
  | 'busy'
  /** The process now has a userfaultfd of its own, and tracking has let go of all its memory. */
  | 'userfaultfd'
  /** Memory of a device, or rings that the kernel writes without page faults. */
  | 'device'
  /** The kernel refuses it. */
  | 'refused'
  /** Shared memory or a shared file, with soft-dirty bits: the kernel may forget writes to them. */
  | 'shared'
  /**
   * hugetlb memory: with soft-dirty bits, which it lacks; in a sample, if its pages are larger than other huge pages.
   */
  | 'hugetlb';

/** A writable mapping that is not tracked. */
export interface SkippedMapping {
  readonly start: number;
  readonly end: number;
  /** Chosen by the process: escape it before you show it. */
  readonly name: string;
  readonly reason: SkipReason;
}

/** The writes to one mapping in one interval. */
export interface MappingWrites {
  readonly start: number;
  readonly end: number;
  /** Chosen by the process: escape it before you show it. */
  readonly name: string;
  writtenPages: number;
  /** The mapping, or a part of it, is new in this interval: all of its pages that exist count as written. */
  isNew: boolean;
}

/** The writes in one interval. */
export interface Interval {
  /** From the attach to the end of this interval, milliseconds. */
  readonly elapsedMs: number;
  /** From the last collect (or the attach) to this one, milliseconds. */
  readonly intervalMs: number;
  /** How long collecting took, milliseconds. */
  readonly scanMs: number;
  /** How long the process was stopped to collect, milliseconds: soft-dirty bits need a stop each time. */
  readonly stopMs?: number | undefined;
  readonly writtenPages: number;
  /**
   * The error of a sample's estimate, pages: the true number is no farther away in 95 of 100 samples. Left out where
   * all pages are tracked.
   */
  readonly errorPages?: number | undefined;
  /**
   * An upper bound of the page faults that tracking cost the process in this interval: the first write (or access) to
   * each protected page. A huge page counts once. `measureFaultCost` tells what one costs.
   */
  readonly faultCount?: number | undefined;
  /** All tracked mappings, in address order, also those without writes. */
  readonly mappings: readonly MappingWrites[];
}

/**
 * Tracks which pages another process writes. Made by `trackProcess`. Dispose it to end tracking: nothing of it stays in
 * the process.
 */
export interface ProcessTracker extends Disposable {
  /** By asynchronous write protection and PAGEMAP_SCAN, or by soft-dirty bits. */
  readonly provider: Provider;
  readonly pid: number;
  /** How long the process was stopped to start tracking, milliseconds. */
  readonly stopMs: number;
  /** Whether the process has ended, or replaced its program: `collect` throws from then on. */
  readonly ended: boolean;
  /** Writable mappings that could not be tracked, as of the last collect. */
  readonly skipped: readonly SkippedMapping[];
  /**
   * Gives the pages that were written since the last call (or since the attach), each once, and begins the next
   * interval. No write is lost between two intervals. One write may count in two: when the collect comes after its page
   * fault and before the store itself, the page is reported, protected again, and reported once more by the next
   * collect. That is at most one page for each thread and collect.
   *
   * Pages are of 4,096 bytes. Written means: a thread of the process, or the kernel for it, wrote to the page. In a new
   * mapping, all pages that exist count; a page that the process has discarded does not exist. A new transparent or
   * hugetlb page counts with all of its 4,096-byte pages. With soft-dirty bits, all existing pages of a mapping that
   * has grown (as the heap does) count, too. A written page that the kernel has replaced by the shared zero page (by
   * KSM or by the split of a huge page) does not count: it reads as zeros.
   *
   * @param visit gets each run of written pages, in address order, cut at the borders of mappings; may be left out
   * @throws ProcessError 'ended' when the process has ended or replaced its program; by soft-dirty bits also 'busy', when it
   *   could not be stopped: nothing is lost then, call again
   */
  collect(visit?: RegionVisitor): Interval;
  /** Call it now and then between collects: see `WriteProtectTracker`. */
  lookForNeighbours?(): void;
}
