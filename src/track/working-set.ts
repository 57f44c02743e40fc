import { pageSize } from '../live/index.js';

/** Pages of a chunk: of 4 KiB, 2 MiB of address space; 2 KiB of memory. */
const CHUNK_PAGES = 512;

/** How many distinct pages were written within a number of consecutive intervals. */
export interface WorkingSetSize {
  /** Length of the window in intervals. */
  readonly intervals: number;
  /** Mean over the complete windows, pages. When none is complete, that of the one incomplete window. */
  readonly meanPages: number;
  /** Pages of the largest window. */
  readonly peakPages: number;
}

/**
 * The write working set: how many distinct pages are written within a window of time. A fork, a live migration or an
 * incremental snapshot has to copy so much in that time.
 *
 * Keeps the last interval in which each page was written, 4 bytes a page, for the 2 MiB chunks that were written at all.
 *
 * @example
 * ```ts
 * import { WriteWorkingSet } from 'pagemap-scan/track';
 * const set = new WriteWorkingSet([1, 2]);
 * set.add(0x1000, 0x3000);
 * set.endInterval();
 * set.add(0x2000, 0x4000);
 * set.endInterval();
 * console.assert(set.distinctPages === 3);
 * console.assert(set.sizes()[1]?.peakPages === 3);
 * ```
 */
export class WriteWorkingSet {
  readonly #pageSize: number;
  readonly #windows: readonly number[];
  /** By chunk number: for each page the interval of its last write, from 1; 0 for never. */
  readonly #chunks = new Map<number, Uint32Array>();
  /** Of the intervals of the longest window, by their numbers' remainders: pages whose last write each holds. */
  readonly #lastWrites: Float64Array;
  readonly #running: number[];
  #latest: readonly number[];
  readonly #sums: number[];
  readonly #peaks: number[];
  #interval = 1;

  /**
   * @param windows lengths in intervals, for `sizes`
   * @param pageBytes the size of a page; this machine's by default
   */
  constructor(windows: readonly number[] = [1, 10, 100], pageBytes: number = pageSize()) {
    this.#pageSize = pageBytes;
    this.#windows = windows;
    this.#lastWrites = new Float64Array(Math.max(0, ...windows) + 1);
    this.#running = windows.map(() => 0);
    this.#latest = windows.map(() => 0);
    this.#sums = windows.map(() => 0);
    this.#peaks = windows.map(() => 0);
  }

  /** Intervals that have ended. */
  get intervals(): number {
    return this.#interval - 1;
  }

  /** Pages written at least once since the beginning. */
  distinctPages = 0;

  /** Takes pages that were written in the current interval; bytes, page-aligned, `end` exclusive. */
  add(start: number, end: number): void {
    const now = this.#interval;
    const pageBytes = this.#pageSize;
    const chunkBytes = CHUNK_PAGES * pageBytes;
    const lastWrites = this.#lastWrites;
    const kept = lastWrites.length;
    let at = start;
    while (at < end) {
      const number = Math.floor(at / chunkBytes);
      let chunk = this.#chunks.get(number);
      if (chunk === undefined) {
        chunk = new Uint32Array(CHUNK_PAGES);
        this.#chunks.set(number, chunk);
      }
      const base = number * chunkBytes;
      const last = Math.min(end - base, chunkBytes) / pageBytes;
      for (let page = (at - base) / pageBytes; page < last; page++) {
        const before = chunk[page]!;
        if (before === now) continue;
        if (before === 0) this.distinctPages++;
        else if (before > now - kept) lastWrites[before % kept]!--;
        lastWrites[now % kept]!++;
        // A page that was already in a window stays there, now for longer.
        for (let window = 0; window < this.#windows.length; window++) {
          if (before === 0 || before <= now - this.#windows[window]!) this.#running[window]!++;
        }
        chunk[page] = now;
      }
      at = base + chunkBytes;
    }
  }

  /** The number, from 1, of the interval in which the page at `address` was last written; 0 for never. */
  lastInterval(address: number): number {
    const page = Math.floor(address / this.#pageSize);
    const number = Math.floor(page / CHUNK_PAGES);
    return this.#chunks.get(number)?.[page - number * CHUNK_PAGES] ?? 0;
  }

  /** For each window length: distinct pages written in the window that the last interval ended. */
  get latest(): readonly number[] {
    return this.#latest;
  }

  /** Ends the current interval. */
  endInterval(): void {
    const now = this.#interval;
    this.#latest = [...this.#running];
    for (let window = 0; window < this.#windows.length; window++) {
      const length = this.#windows[window]!;
      const pages = this.#running[window]!;
      this.#peaks[window] = Math.max(this.#peaks[window]!, pages);
      if (now >= length) this.#sums[window]! += pages;
      // What was last written when the next window has not yet begun drops out of it.
      const leaving = now + 1 - length;
      if (leaving >= 1) this.#running[window]! -= this.#lastWrites[leaving % this.#lastWrites.length]!;
    }
    this.#interval++;
    this.#lastWrites[this.#interval % this.#lastWrites.length] = 0;
  }

  /** For each window length: the mean and the largest number of distinct pages written within it. */
  sizes(): WorkingSetSize[] {
    return this.#windows.map((intervals, window) => {
      const complete = this.intervals - intervals + 1;
      const peakPages = this.#peaks[window]!;
      return { intervals, meanPages: complete > 0 ? this.#sums[window]! / complete : peakPages, peakPages };
    });
  }
}
