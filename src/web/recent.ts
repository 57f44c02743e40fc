import { PAGE_SIZE } from '../abi/index.js';

/** Pages of a chunk: 2 MiB of address space, 2 KiB of memory. */
const CHUNK_PAGES = 512;
const CHUNK_BYTES = CHUNK_PAGES * PAGE_SIZE;
/** Chunks are looked through for old ones every so many columns. */
const SWEEP_COLUMNS = 64;

/**
 * How many distinct pages were written in windows of time that end now, for as long as it runs: what was not written
 * for longer than the longest window is forgotten, so that memory stays that of the written pages in it, 4 bytes each.
 */
export class RecentWrites {
  readonly #windowsMs: readonly number[];
  /** By chunk number: for each page the column of its last write, from 1; 0 for never. */
  readonly #chunks = new Map<number, Uint32Array>();
  /** Columns in the longest window, oldest first: pages whose last write is in it. */
  readonly #columns = new Map<number, { startMs: number; pages: number }>();
  readonly #forgets: boolean;
  #column = 1;
  #fresh = 0;
  /** Pages written at least once since the beginning; with `forgets`, some may count again. */
  distinctPages = 0;

  /** @param options.forgets what was written before the longest window; true by default */
  constructor(windowsMs: readonly number[], options: { readonly forgets?: boolean } = {}) {
    this.#windowsMs = windowsMs;
    this.#forgets = options.forgets ?? true;
  }

  /** Takes pages written in the current column, bytes, page-aligned. */
  add(start: number, end: number): void {
    const now = this.#column;
    for (let at = start; at < end; ) {
      const number = Math.floor(at / CHUNK_BYTES);
      const base = number * CHUNK_BYTES;
      let chunk = this.#chunks.get(number);
      if (chunk === undefined) {
        chunk = new Uint32Array(CHUNK_PAGES);
        this.#chunks.set(number, chunk);
      }
      const last = Math.min(end - base, CHUNK_BYTES) / PAGE_SIZE;
      for (let page = (at - base) / PAGE_SIZE; page < last; page++) {
        const before = chunk[page]!;
        if (before === now) continue;
        if (before !== 0) {
          const column = this.#columns.get(before);
          if (column !== undefined) column.pages--;
        } else this.distinctPages++;
        this.#fresh++;
        chunk[page] = now;
      }
      at = base + CHUNK_BYTES;
    }
  }

  /** Ends the column, and gives for each window how many distinct pages were written in it. */
  endColumn(startMs: number, endMs: number): number[] {
    this.#columns.set(this.#column, { startMs, pages: this.#fresh });
    this.#fresh = 0;
    const longest = endMs - Math.max(...this.#windowsMs);
    for (const [column, { startMs: from }] of this.#columns) {
      // A column belongs to a window that holds most of it: intervals are never to the millisecond.
      if (from + (endMs - startMs) / 2 >= longest) break;
      this.#columns.delete(column);
    }
    if (this.#forgets && this.#column % SWEEP_COLUMNS === 0) this.#sweep();
    this.#column++;
    const newest = this.#column - 1;
    return this.#windowsMs.map((windowMs) => {
      let pages = 0;
      for (const [column, { startMs: from, pages: count }] of this.#columns) {
        if (column === newest || from + (endMs - startMs) / 2 >= endMs - windowMs) pages += count;
      }
      return pages;
    });
  }

  #sweep(): void {
    const oldest = this.#columns.keys().next().value ?? this.#column;
    for (const [number, chunk] of this.#chunks) {
      let newest = 0;
      for (const column of chunk) if (column > newest) newest = column;
      if (newest < oldest) this.#chunks.delete(number);
    }
  }
}
