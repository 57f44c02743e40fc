import { loadU64 } from './layout.js';
import { PAGE_REGION, PAGE_SIZE } from './pagemap-scan.js';

/** 32-bit words of one `struct page_region`. */
const WORDS = PAGE_REGION.sizeBytes / 4;

/** A run of pages with the same categories. Addresses in bytes, `end` exclusive. */
export interface Region {
  readonly start: number;
  readonly end: number;
  /** The page categories as a bit set, cut down to the request's `returnMask`. */
  readonly categories: number;
}

/**
 * The output of a scan: room for `capacity` regions in the kernel's own layout, 24 bytes each:
 *
 *      0        8        16           24
 *     +--------+--------+------------+
 *     | start  |  end   | categories |   three little-endian u64
 *     +--------+--------+------------+
 *
 * Both the kernel and the TypeScript engine write into it; there is no object per region. It belongs to the
 * caller. Reuse it: a scan overwrites it and sets `length`.
 *
 * @example
 * ```ts
 * import { RegionBuffer } from 'pagemap-scan';
 * const output = new RegionBuffer(1024);
 * console.assert(output.buffer.byteLength === 1024 * 24 && output.length === 0);
 * ```
 */
export class RegionBuffer {
  /** The memory itself. A SharedArrayBuffer makes the result readable from other threads. */
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  /** How many regions fit. */
  readonly capacity: number;
  /** The same memory as 32-bit words, six a region. */
  readonly words: Uint32Array;
  /** How many regions the last scan wrote; set by the provider. */
  length = 0;
  /** The page size of the last scan, bytes: {@link Pagemap}'s `pageSize`; set by the provider. */
  pageSize: number = PAGE_SIZE;

  /**
   * @param memory how many regions to allocate room for, or memory to use (24 bytes a region)
   * @throws RangeError for a capacity below 1 or memory that holds no region: some kernels around 6.17
   *   crash on a vector without room
   */
  constructor(memory: number | ArrayBuffer | SharedArrayBuffer) {
    if (typeof memory === 'number') {
      if (!Number.isSafeInteger(memory) || memory < 1) {
        throw new RangeError(
          `Cannot make a RegionBuffer of ${memory} regions: the capacity must be an integer from 1`,
        );
      }
      this.buffer = new ArrayBuffer(memory * PAGE_REGION.sizeBytes);
    } else {
      this.buffer = memory;
    }
    this.capacity = Math.floor(this.buffer.byteLength / PAGE_REGION.sizeBytes);
    if (this.capacity < 1) {
      throw new RangeError(
        `Cannot make a RegionBuffer over ${this.buffer.byteLength} bytes: one region takes ${PAGE_REGION.sizeBytes}`,
      );
    }
    this.words = new Uint32Array(this.buffer, 0, this.capacity * WORDS);
  }

  /** Address of region `index`'s first byte. */
  start(index: number): number {
    return loadU64(this.words, index * WORDS);
  }

  /** Address behind region `index`'s last byte. */
  end(index: number): number {
    return loadU64(this.words, index * WORDS + 2);
  }

  /** Categories of region `index` as a bit set. */
  categories(index: number): number {
    return this.words[index * WORDS + 4]!;
  }

  /** Pages of region `index`. */
  pages(index: number): number {
    return (this.end(index) - this.start(index)) / this.pageSize;
  }

  /** Region `index` as an object. For many regions, `start`, `end` and `categories` allocate nothing. */
  get(index: number): Region {
    return { start: this.start(index), end: this.end(index), categories: this.categories(index) };
  }

  /** Pages of all regions that the last scan wrote. */
  totalPages(): number {
    let bytes = 0;
    for (let index = 0; index < this.length; index++) bytes += this.end(index) - this.start(index);
    return bytes / this.pageSize;
  }

  /** The regions of the last scan, as objects made one at a time. */
  *[Symbol.iterator](): Generator<Region, void, undefined> {
    for (let index = 0; index < this.length; index++) yield this.get(index);
  }
}
