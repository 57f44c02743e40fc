import type { PageTables } from '../x86/index.js';

/** What a frame holds, as far as categories depend on it; the values of `ScanTarget.frameKinds`. */
export const FRAME_ANONYMOUS = 0;
/** Page cache: a file or shared memory. */
export const FRAME_FILE = 1;
/** The shared zero page. */
export const FRAME_ZERO = 2;
/** The huge zero page, which older kernels do not report as PFNZERO. */
export const FRAME_HUGE_ZERO = 3;

/** What a kernel release answers differently, as far as the walk is concerned. */
export interface ScanProfile {
  /** The categories that the masks may name; others are EINVAL. */
  readonly knownCategories: number;
  /** Whether SOFT_DIRTY is reported (kernels built with CONFIG_MEM_SOFT_DIRTY). */
  readonly reportsSoftDirty: boolean;
  /** Whether GUARD is reported. */
  readonly reportsGuard: boolean;
  /** Whether an empty entry of an existing table is WRITTEN outside of the WRITTEN-only path too. */
  readonly emptyIsWritten: boolean;
  /** Whether a hole in a mapping registered for write protection is WRITTEN (never in hugetlb). */
  readonly holeIsWritten: boolean;
  /** Whether the huge zero page is PFNZERO. */
  readonly hugeZeroIsPfnZero: boolean;
}

/** A mapping as the walk sees it. Positions are page numbers (address / 4096), `end` exclusive. */
export interface ScanMapping {
  readonly start: number;
  readonly end: number;
  /** Registered with a userfaultfd in write-protect mode. */
  readonly uffdWp: boolean;
  /** Registered for asynchronous write protection that can use markers: the category WPALLOWED. */
  readonly wpAllowed: boolean;
  /** The mapping's own soft-dirty flag. */
  readonly softDirty: boolean;
  readonly hugetlb: boolean;
  /** Raw frame numbers without pages (device memory): never walked. */
  readonly pfnMap: boolean;
}

/** An address space that the engine walks. */
export interface ScanTarget {
  readonly profile: ScanProfile;
  readonly tables: PageTables;
  /** Sorted by address, without overlaps. */
  readonly mappings: readonly ScanMapping[];
  /** `FRAME_*` by frame number less `frameBase`. */
  readonly frameKinds: Uint8Array;
  readonly frameBase: number;
  /**
   * Replaces a transparent huge entry by small ones; of file memory it may leave the block unmapped instead.
   */
  splitHuge(mapping: ScanMapping, block: number): void;
}
