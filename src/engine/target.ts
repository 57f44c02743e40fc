/** The kinds of frames that categories depend on: the values of `ScanTarget.frameKinds`. */
export const FRAME_ANONYMOUS = 0;
/** Page cache: a file or shared memory. */
export const FRAME_FILE = 1;
/** The shared zero page. */
export const FRAME_ZERO = 2;
/** The huge zero page, which older kernels do not report as PFNZERO. */
export const FRAME_HUGE_ZERO = 3;

/** How kernel releases differ in the walk. */
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
  /** Whether pages are WRITTEN in a mapping that is not WPALLOWED: if so, all are that nothing protects. */
  readonly untrackedIsWritten: boolean;
  /** Whether the huge zero page is PFNZERO. */
  readonly hugeZeroIsPfnZero: boolean;
}

/**
 * The layout of page-table entries, as pairs of 32-bit words: all that the engine must know about an
 * architecture. `pagemap-scan/x86` is one, and explains each name.
 */
export interface EntryFormat {
  /**
   * In a non-present entry: the entry stands for no page, although its other bits are set, so it is not
   * SWAPPED. 0 in formats of real page tables.
   */
  readonly VOID: number;
  /** In an entry of a last-level table: the page is a part of a huge one. 0 in formats of real page tables. */
  readonly PART_OF_HUGE: number;
  readonly MARKER_GUARD: number;
  readonly P: number;
  readonly PRESENT_ANY: number;
  readonly SOFT_DIRTY: number;
  readonly SWP_SOFT_DIRTY: number;
  readonly UFFD_WP: number;
  isHugeEntry(low: number): boolean;
  isMarker(low: number, high: number): boolean;
  isProtected(low: number, high: number): boolean;
  markerBits(low: number): number;
  placeMarkers(words: Uint32Array, slot: number, count: number): void;
  protectEntry(words: Uint32Array, slot: number): void;
}

/** Page tables, as far as a walk looks at them; positions are slots in `words`, blocks are address / 2 MiB. */
export interface ScanTables {
  /** The entries. A call that adds a table may replace this array. */
  readonly words: Uint32Array;
  /** The slot of the block's PMD entry, or -1 where no PMD table covers it. */
  findPmd(block: number): number;
  /** As `findPmd`, adding the tables that are missing. */
  ensurePmd(block: number): number;
  /** The slot of the first entry of the last-level table that a PMD slot points to, or -1. */
  pteTable(pmd: number): number;
  /** The slot of the first entry of the block's last-level table, adding the tables that are missing. */
  ensurePte(block: number): number;
  /** One bit for each 16 entries of the PMD table around a slot: whether they may hold anything. */
  stripesAt(pmd: number): number;
}

/** A mapping as the walk sees it. Positions are page numbers (address / 4096), `end` exclusive. */
export interface ScanMapping {
  readonly start: number;
  readonly end: number;
  /** Registered with a userfaultfd in write-protect mode. */
  readonly uffdWp: boolean;
  /** Registered with a userfaultfd for read-write protection: what is present and not protected is ACCESSED. */
  readonly uffdRwp: boolean;
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
  /** Where the address space ends, bytes: ranges beyond are EFAULT. x86-64's by default. */
  readonly userSpaceEnd?: number;
  readonly profile: ScanProfile;
  readonly tables: ScanTables;
  /** Sorted by address, without overlaps. */
  readonly mappings: readonly ScanMapping[];
  /** The kind (`FRAME_*`) of each frame; the index is the frame number minus `frameBase`. */
  readonly frameKinds: Uint8Array;
  readonly frameBase: number;
  /**
   * Replaces a transparent huge entry by small ones; for file memory it may leave the block unmapped instead.
   */
  splitHuge(mapping: ScanMapping, block: number): void;
}
