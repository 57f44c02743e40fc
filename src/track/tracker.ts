/** What tracks the writes of another process, whichever way it does so. */
import type { Provider } from '../live/index.js';
import type { RegionVisitor } from '../query/index.js';

/** Why a mapping is not tracked. */
export type SkipReason =
  /** The process, or another tracker, has registered it with its own userfaultfd. */
  | 'busy'
  /** The process has a userfaultfd of its own by now, and all of its memory is left to that. */
  | 'userfaultfd'
  /** Memory of a device, or rings that the kernel writes by its own ways. */
  | 'device'
  /** The kernel refuses it. */
  | 'refused'
  /** Shared memory or a shared file, by soft-dirty bits: the kernel may forget writes to them. */
  | 'shared'
  /** hugetlb memory: by soft-dirty bits, which it has not; in a sample, if its pages are larger than other huge pages. */
  | 'hugetlb';

/** A writable mapping that is not tracked. */
export interface SkippedMapping {
  readonly start: number;
  readonly end: number;
  /** Chosen by the process: escape it before you show it. */
  readonly name: string;
  readonly reason: SkipReason;
}

/** What was written in one mapping in one interval. */
export interface MappingWrites {
  readonly start: number;
  readonly end: number;
  /** Chosen by the process: escape it before you show it. */
  readonly name: string;
  writtenPages: number;
  /** It, or a part of it, came into being in this interval: all of its pages that exist count as written. */
  isNew: boolean;
}

/** What was written in one interval. */
export interface Interval {
  /** From the attach to the end of this interval, milliseconds. */
  readonly elapsedMs: number;
  /** From the last collect (or the attach) to this one, milliseconds. */
  readonly intervalMs: number;
  /** How long collecting took, milliseconds. */
  readonly scanMs: number;
  /** For how long the process was stopped to collect, milliseconds: by soft-dirty bits it has to be, each time. */
  readonly stopMs?: number | undefined;
  readonly writtenPages: number;
  /**
   * Of a sample: in 95 of 100 samples the true number is no farther from the estimate than that, pages. Left out where all pages are
   * looked at.
   */
  readonly errorPages?: number | undefined;
  /**
   * Page faults that the tracking cost the process in this interval, at most: the first write (or access) to each page that was
   * protected. A huge page counts once. See `measureFaultCost` for what one costs.
   */
  readonly faultCount?: number | undefined;
  /** All tracked mappings, in address order, those without writes included. */
  readonly mappings: readonly MappingWrites[];
}

/**
 * Tracks which pages another process writes. Made by `trackProcess`; dispose it to end the tracking, of which then
 * nothing is left in the process.
 */
export interface ProcessTracker extends Disposable {
  /** By asynchronous write protection and PAGEMAP_SCAN, or by soft-dirty bits. */
  readonly provider: Provider;
  readonly pid: number;
  /** For how long the process was stopped to begin with, milliseconds. */
  readonly stopMs: number;
  /** Whether the process has ended, or replaced its program: `collect` throws from then on. */
  readonly ended: boolean;
  /** Writable mappings that could not be tracked, as of the last collect. */
  readonly skipped: readonly SkippedMapping[];
  /**
   * The pages that were written since the last call (or since the attach), each once, and from here on the next interval
   * begins. No write falls between two intervals. One write may count in two: when the collect comes after its page fault and
   * before the store itself, the page is reported, protected again, and reported once more by the next collect. That is at
   * most one page for each thread and collect.
   *
   * Pages are of 4,096 bytes. Written means: a thread of the process, or the kernel for it, wrote to the page. Of a mapping
   * that is new, all pages that exist count; a page that the process has discarded does not exist. A transparent or hugetlb
   * page that comes into being counts with all of its 4,096-byte pages. By soft-dirty bits, of a mapping that has grown (as
   * the heap does) all pages that exist count, too. A page that the kernel has replaced by the shared zero page since (KSM does, and so
   * may the split of a huge page) does not count: it reads as zeros.
   *
   * @param visit gets each run of written pages, in address order, cut at the borders of mappings; may be left out
   * @throws ProcessError 'ended' when the process has ended or replaced its program; by soft-dirty bits also 'busy', when it
   *   could not be stopped: nothing is lost then, call again
   */
  collect(visit?: RegionVisitor): Interval;
  /** To be called now and then between collects: see `WriteProtectTracker`. */
  lookForNeighbours?(): void;
}
