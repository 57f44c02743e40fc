/**
 * The seam: everything above is written against `Pagemap`, everything below provides one.
 */
import type { RegionBuffer } from './region-buffer.js';

/**
 * The fields of `struct pm_scan_arg`, in camelCase. A field that is left out is 0.
 *
 * Fields are 64-bit integers. Give a u64 that a double cannot hold exactly as a bigint. Negative numbers are
 * converted as in C (-1 is 2^64 - 1). Other values, such as 1.5, NaN and 2^64, are EINVAL.
 */
export interface ScanRequest {
  /** First address, bytes, page-aligned (EINVAL otherwise). */
  readonly start: number | bigint;
  /** Address behind the last byte, rounded up to a page by the call. */
  readonly end: number | bigint;
  /** `PM_SCAN_WP_MATCHING`, `PM_SCAN_CHECK_WPASYNC`, both or none. */
  readonly flags?: number | bigint | undefined;
  /** Categories to invert before the masks are applied. */
  readonly categoryInverted?: number | bigint | undefined;
  /** A page matches only when it has all of these (after inversion). */
  readonly categoryMask?: number | bigint | undefined;
  /** Unless 0, a page matches only when it has one of these (after inversion). */
  readonly categoryAnyofMask?: number | bigint | undefined;
  /** Which categories the output carries (not inverted); 0 gives ranges without categories. */
  readonly returnMask?: number | bigint | undefined;
  /** Stop after this many pages; 0 is no limit. */
  readonly maxPages?: number | bigint | undefined;
  /**
   * Replaces values that are derived from the struct and the output, to test how a provider answers wrong
   * arguments. `vec` is an address in the caller's memory as the provider sees it.
   */
  readonly override?: {
    readonly size?: number | bigint | undefined;
    readonly vec?: number | bigint | undefined;
    readonly vecLen?: number | bigint | undefined;
  };
}

/** The result of one call. */
export interface ScanResult {
  /** Regions written to the output, the ioctl's return value. */
  regions: number;
  /**
   * Where the walk stopped, bytes. Linux 6.12 and 6.18 may leave a stale, lower value here although everything up
   * to `end` was scanned; `scanLegs`, `regions` and their like in `pagemap-scan/query` know how to go on.
   */
  walkEnd: number;
}

/**
 * An address space whose pages can be scanned.
 *
 * One `scan` is one PAGEMAP_SCAN call with the ioctl's exact semantics.
 *
 * @example
 * ```ts
 * import { openPagemap, PAGE_IS_PRESENT, RegionBuffer, userSpaceEnd } from 'pagemap-scan';
 * using pagemap = openPagemap('self');
 * const output = new RegionBuffer(16);
 * const request = { start: 0, end: userSpaceEnd(), categoryMask: PAGE_IS_PRESENT, returnMask: PAGE_IS_PRESENT };
 * const { regions } = pagemap.scan(request, output);
 * console.assert(regions === 16 && output.categories(0) === PAGE_IS_PRESENT);
 * ```
 */
export interface Pagemap {
  /**
   * The size of its pages, bytes: 4,096 on x86-64 and in simulated memory; 4,096, 16,384 or 65,536 on arm64.
   */
  readonly pageSize: number;
  /**
   * @param output where the regions go; null for none (with WP_MATCHING: protect without reporting)
   * @throws PagemapError with the ioctl's errno; `walkEnd` on it is data when the walk had begun
   * @throws TypeError for an output whose memory was transferred to another thread, or shrunk
   */
  scan(request: ScanRequest, output: RegionBuffer | null): ScanResult;
}
