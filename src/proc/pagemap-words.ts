/**
 * The words of /proc/PID/pagemap (man proc_pid_pagemap), 64 bits a page, here as two 32-bit halves:
 *
 *      63  62  61  60 59  58  57  56  55  54                      5 4          0
 *     +---+---+---+-----+---+---+---+---+----------------------------------------+
 *     | P | S | F |  -  | G | W | X | D | page frame number                      |
 *     |   |   |   |     |   |   |   |   | swap offset               | swap type  |
 *     +---+---+---+-----+---+---+---+---+----------------------------------------+
 *      \______________ high half, bits 31 to 0 ______________/ \___ low half ___/
 *
 * P present, S swapped (any non-present entry: swap, migration, a marker), F file page or shared anonymous,
 * G guard region (Linux 6.15), W write-protected by userfaultfd, X mapped exclusively (4.2), D soft-dirty.
 *
 * Frame number, swap type and swap offset read 0 without CAP_SYS_ADMIN (guard marker and present page seen on 6.18).
 *
 * Read the file into an ArrayBuffer and make a Uint32Array of it: the words of the n-th page are `[2 * n]` (low) and
 * `[2 * n + 1]` (high).
 */
const HIGH_SOFT_DIRTY = 1 << (55 - 32);
const HIGH_EXCLUSIVE = 1 << (56 - 32);
const HIGH_UFFD_WP = 1 << (57 - 32);
const HIGH_GUARD = 1 << (58 - 32);
const HIGH_FILE = 1 << (61 - 32);
const HIGH_SWAPPED = 1 << (62 - 32);
const HIGH_PRESENT = 1 << (63 - 32);
/** Bits 32 to 54. */
const HIGH_FRAME = 0x7fffff;
const TWO_32 = 2 ** 32;
const TWO_27 = 2 ** 27;

/** Bytes of one word; the file's offset for an address is `address / pageSize * PAGEMAP_WORD_BYTES`. */
export const PAGEMAP_WORD_BYTES = 8;

/**
 * The page is in memory (bit 63).
 *
 * @param hi the high half
 * @example
 * ```ts
 * import { isPagemapPresent } from 'pagemap-scan/proc';
 * console.assert(isPagemapPresent(0x81000000) && !isPagemapPresent(0x40000000));
 * ```
 */
export function isPagemapPresent(hi: number): boolean {
  return (hi & HIGH_PRESENT) !== 0;
}

/**
 * There is an entry, but no page in memory (bit 62): swapped out, migrating or a marker.
 *
 * @param hi the high half
 * @example
 * ```ts
 * import { isPagemapSwapped } from 'pagemap-scan/proc';
 * console.assert(isPagemapSwapped(0x40000000) && !isPagemapSwapped(0x81000000));
 * ```
 */
export function isPagemapSwapped(hi: number): boolean {
  return (hi & HIGH_SWAPPED) !== 0;
}

/**
 * A page of a file or of shared anonymous memory (bit 61, Linux 3.5).
 *
 * @param hi the high half
 * @example
 * ```ts
 * import { isPagemapFile } from 'pagemap-scan/proc';
 * console.assert(isPagemapFile(0xa1000000) && !isPagemapFile(0x81000000));
 * ```
 */
export function isPagemapFile(hi: number): boolean {
  return (hi & HIGH_FILE) !== 0;
}

/**
 * A lightweight guard region (bit 58, Linux 6.15; 0 before).
 *
 * @param hi the high half
 * @example
 * ```ts
 * import { isPagemapGuard } from 'pagemap-scan/proc';
 * console.assert(isPagemapGuard(0x44000000) && !isPagemapGuard(0x40000000));
 * ```
 */
export function isPagemapGuard(hi: number): boolean {
  return (hi & HIGH_GUARD) !== 0;
}

/**
 * Write-protected by userfaultfd (bit 57, Linux 5.13; 0 before).
 *
 * @param hi the high half
 * @example
 * ```ts
 * import { isPagemapUffdWp } from 'pagemap-scan/proc';
 * console.assert(isPagemapUffdWp(0x83000000) && !isPagemapUffdWp(0x81000000));
 * ```
 */
export function isPagemapUffdWp(hi: number): boolean {
  return (hi & HIGH_UFFD_WP) !== 0;
}

/**
 * No other page table maps the page (bit 56, Linux 4.2; 0 before).
 *
 * @param hi the high half
 * @example
 * ```ts
 * import { isPagemapExclusive } from 'pagemap-scan/proc';
 * console.assert(isPagemapExclusive(0x81000000) && !isPagemapExclusive(0x80000000));
 * ```
 */
export function isPagemapExclusive(hi: number): boolean {
  return (hi & HIGH_EXCLUSIVE) !== 0;
}

/**
 * Written since the last clear_refs (bit 55); meaningful in kernels with CONFIG_MEM_SOFT_DIRTY.
 *
 * @param hi the high half
 * @example
 * ```ts
 * import { isPagemapSoftDirty } from 'pagemap-scan/proc';
 * console.assert(isPagemapSoftDirty(0x81800000) && !isPagemapSoftDirty(0x81000000));
 * ```
 */
export function isPagemapSoftDirty(hi: number): boolean {
  return (hi & HIGH_SOFT_DIRTY) !== 0;
}

/**
 * Page frame number of a present page, 0 without CAP_SYS_ADMIN. Exact: no machine has 2^53 frames.
 *
 * @example
 * ```ts
 * import { pagemapPfn } from 'pagemap-scan/proc';
 * console.assert(pagemapPfn(0x00110c8f, 0x81000000) === 0x110c8f);
 * ```
 */
export function pagemapPfn(lo: number, hi: number): number {
  return (lo >>> 0) + (hi & HIGH_FRAME) * TWO_32;
}

/**
 * Which swap area a swapped page is in, 0 to 31; 0 without CAP_SYS_ADMIN.
 *
 * @example
 * ```ts
 * import { pagemapSwapType } from 'pagemap-scan/proc';
 * console.assert(pagemapSwapType((50 << 5) | 2) === 2);
 * ```
 */
export function pagemapSwapType(lo: number): number {
  return lo & 0x1f;
}

/**
 * Where in its swap area a swapped page is, in pages; 0 without CAP_SYS_ADMIN.
 *
 * @example
 * ```ts
 * import { pagemapSwapOffset } from 'pagemap-scan/proc';
 * console.assert(pagemapSwapOffset((50 << 5) | 2, 0x40000000) === 50);
 * ```
 */
export function pagemapSwapOffset(lo: number, hi: number): number {
  return (lo >>> 5) + (hi & HIGH_FRAME) * TWO_27;
}

/** One word of /proc/PID/pagemap, taken apart. */
export interface PagemapWord {
  present: boolean;
  swapped: boolean;
  /** A page of a file or of shared anonymous memory. */
  file: boolean;
  guard: boolean;
  uffdWp: boolean;
  exclusive: boolean;
  softDirty: boolean;
  /** Page frame number; undefined when the page is not present, 0 when the reader lacks CAP_SYS_ADMIN. */
  pfn: number | undefined;
  /**
   * Swap area and page in it; undefined when the page is not swapped, 0 when the reader lacks CAP_SYS_ADMIN. For
   * markers and migrating pages they are the kernel's own codes.
   */
  swapType: number | undefined;
  swapOffset: number | undefined;
}

/**
 * Takes a word apart. For many words use the predicates, which allocate nothing.
 *
 * @param lo bits 0 to 31
 * @param hi bits 32 to 63
 * @example
 * ```ts
 * import { decodePagemapWord } from 'pagemap-scan/proc';
 * const page = decodePagemapWord(0x00110c8f, 0x81000000);
 * console.assert(page.present && page.exclusive && page.pfn === 0x110c8f && page.swapType === undefined);
 * ```
 */
export function decodePagemapWord(lo: number, hi: number): PagemapWord {
  const present = isPagemapPresent(hi);
  const swapped = isPagemapSwapped(hi);
  return {
    present,
    swapped,
    file: isPagemapFile(hi),
    guard: isPagemapGuard(hi),
    uffdWp: isPagemapUffdWp(hi),
    exclusive: isPagemapExclusive(hi),
    softDirty: isPagemapSoftDirty(hi),
    pfn: present ? pagemapPfn(lo, hi) : undefined,
    swapType: swapped ? pagemapSwapType(lo) : undefined,
    swapOffset: swapped ? pagemapSwapOffset(lo, hi) : undefined,
  };
}
