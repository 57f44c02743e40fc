import { PAGE_SIZE } from '../abi/index.js';

/** Pages of a chunk: 2 MiB of address space, 2 KiB of memory. */
const CHUNK_PAGES = 512;
const CHUNK_BYTES = CHUNK_PAGES * PAGE_SIZE;
/** Chunks are looked through for old ones every so many columns. */
const SWEEP_COLUMNS = 64;
/** Numbers of slots are 32 bits. */
const MOST_SLOTS = 2 ** 32 - 1;

/** What one owner wrote in one column: pages whose last write that is. */
interface Slot {
  readonly owner: number;
  pages: number;
}

interface Column {
  readonly startMs: number;
  /** The first of its slots' numbers; they follow each other. */
  readonly firstSlot: number;
  readonly slots: readonly Slot[];
}

/**
 * How many distinct pages were written in windows of time that end now, in all and by owner. It can run without end: it
 * forgets pages that were not written in the longest window, so it needs 4 bytes for each page written in that window.
 *
 * For each page it keeps the slot (an owner's part of a column) of the last write. So the page counts for its owner of
 * that time, whoever owns it now.
 */
export class RecentWrites {
  readonly #windowsMs: readonly number[];
  readonly #forgets: boolean;
  /** By chunk number: for each page the slot of its last write, from 1; 0 for never. */
  readonly #chunks = new Map<number, Uint32Array>();
  /** Those in the longest window, and the current column's, by number. */
  readonly #slots = new Map<number, Slot>();
  /** In the longest window, oldest first. */
  readonly #columns: Column[] = [];
  #owners = new Map<number, number>();
  #firstSlot = 1;
  #nextSlot = 1;
  #ended = 0;
  #newest = { endMs: 0, half: 0 };
  /** Pages written at least once since the beginning; with `forgets`, some may count again. */
  distinctPages = 0;

  /**
   * @param windowsMs the shortest first
   * @param options.forgets what was written before the longest window; true by default
   */
  constructor(windowsMs: readonly number[], options: { readonly forgets?: boolean } = {}) {
    this.#windowsMs = windowsMs;
    this.#forgets = options.forgets ?? true;
  }

  /** Takes pages written in the current column, bytes, page-aligned. */
  add(start: number, end: number, owner = 0): void {
    let now = this.#owners.get(owner);
    if (now === undefined) {
      now = this.#nextSlot++;
      this.#owners.set(owner, now);
      this.#slots.set(now, { owner, pages: 0 });
    }
    const slot = this.#slots.get(now)!;
    // Neighbours were mostly written together.
    let lastBefore = 0;
    let last: Slot | undefined;
    for (let at = start; at < end; ) {
      const number = Math.floor(at / CHUNK_BYTES);
      const base = number * CHUNK_BYTES;
      let chunk = this.#chunks.get(number);
      if (chunk === undefined) {
        chunk = new Uint32Array(CHUNK_PAGES);
        this.#chunks.set(number, chunk);
      }
      const stop = Math.min(end - base, CHUNK_BYTES) / PAGE_SIZE;
      for (let page = (at - base) / PAGE_SIZE; page < stop; page++) {
        const before = chunk[page]!;
        if (before === now) continue;
        if (before === 0) this.distinctPages++;
        else {
          if (before !== lastBefore) {
            lastBefore = before;
            last = this.#slots.get(before);
          }
          if (last !== undefined) last.pages--;
        }
        slot.pages++;
        chunk[page] = now;
      }
      at = base + CHUNK_BYTES;
    }
  }

  /** Ends the column, and gives for each window how many distinct pages were written in it. */
  endColumn(startMs: number, endMs: number): number[] {
    const slots = [...this.#owners.values()].map((number) => this.#slots.get(number)!);
    this.#columns.push({ startMs, firstSlot: this.#firstSlot, slots });
    this.#owners = new Map();
    this.#firstSlot = this.#nextSlot;
    // A column belongs to a window that holds most of it: intervals are never to the millisecond.
    const half = (endMs - startMs) / 2;
    const longest = endMs - this.#windowsMs.at(-1)!;
    while (this.#columns.length > 1 && this.#columns[0]!.startMs + half < longest) {
      const { firstSlot, slots: old } = this.#columns.shift()!;
      for (let index = 0; index < old.length; index++) this.#slots.delete(firstSlot + index);
    }
    if (this.#forgets && ++this.#ended % SWEEP_COLUMNS === 0) this.#sweep();
    if (this.#nextSlot > MOST_SLOTS - 2 ** 20) this.#beginAnew();
    this.#newest = { endMs, half };
    const totals = this.#windowsMs.map(() => 0);
    this.#each(({ pages }, window) => {
      totals[window]! += pages;
    });
    return cumulate(totals);
  }

  /** The same by owner, as of the last `endColumn`; those that wrote nothing in the longest window are left out. */
  byOwner(): Map<number, number[]> {
    const owners = new Map<number, number[]>();
    this.#each(({ owner, pages }, window) => {
      if (pages === 0) return;
      let sizes = owners.get(owner);
      if (sizes === undefined) {
        sizes = this.#windowsMs.map(() => 0);
        owners.set(owner, sizes);
      }
      sizes[window]! += pages;
    });
    for (const sizes of owners.values()) cumulate(sizes);
    return owners;
  }

  /** Each slot with the shortest window that it is in. */
  #each(visit: (slot: Slot, window: number) => void): void {
    const { endMs, half } = this.#newest;
    const newest = this.#columns.at(-1);
    for (const column of this.#columns) {
      const window = this.#windowsMs.findIndex(
        (windowMs) => column === newest || column.startMs + half >= endMs - windowMs,
      );
      if (window >= 0) for (const slot of column.slots) visit(slot, window);
    }
  }

  #sweep(): void {
    const oldest = this.#columns[0]?.firstSlot ?? this.#nextSlot;
    for (const [number, chunk] of this.#chunks) {
      let newest = 0;
      for (const slot of chunk) if (slot > newest) newest = slot;
      if (newest < oldest) this.#chunks.delete(number);
    }
  }

  /** Out of numbers, after years: windows begin at zero again. */
  #beginAnew(): void {
    this.#chunks.clear();
    this.#slots.clear();
    this.#columns.length = 0;
    this.#firstSlot = 1;
    this.#nextSlot = 1;
  }
}

/** What is in a window is in the longer ones, too. */
function cumulate(sizes: number[]): number[] {
  for (let window = 1; window < sizes.length; window++) sizes[window]! += sizes[window - 1]!;
  return sizes;
}
