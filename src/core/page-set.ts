/** A set of pages of an address space: bits, in chunks of 2 MiB, of which only those that are touched exist. */
import { PAGE_SIZE } from '../abi/index.js';

const CHUNK_PAGES = 512;
const CHUNK_BYTES = CHUNK_PAGES * PAGE_SIZE;
const WORDS = CHUNK_PAGES / 32;

export class PageSet {
  readonly #chunks = new Map<number, Uint32Array>();

  /** Bytes, page-aligned. */
  add(start: number, end: number): void {
    this.#change(start, end, true);
  }

  delete(start: number, end: number): void {
    this.#change(start, end, false);
  }

  #change(start: number, end: number, value: boolean): void {
    for (let at = start; at < end; ) {
      const number = Math.floor(at / CHUNK_BYTES);
      const base = number * CHUNK_BYTES;
      const to = Math.min(end, base + CHUNK_BYTES);
      let chunk = this.#chunks.get(number);
      if (chunk === undefined && value) {
        chunk = new Uint32Array(WORDS);
        this.#chunks.set(number, chunk);
      }
      if (chunk !== undefined) {
        if (to - at === CHUNK_BYTES) {
          chunk.fill(value ? 0xffffffff : 0);
        } else {
          for (let page = (at - base) / PAGE_SIZE; page < (to - base) / PAGE_SIZE; page++) {
            if (value) chunk[page >> 5]! |= 1 << (page & 31);
            else chunk[page >> 5]! &= ~(1 << (page & 31));
          }
        }
      }
      at = to;
    }
  }

  /** Calls `visit` for each run of pages between `start` and `end` that are in the set, or with `value` false, that are not. */
  runs(start: number, end: number, value: boolean, visit: (start: number, end: number) => void): void {
    let from = -1;
    const flush = (at: number) => {
      if (from >= 0) visit(from, at);
      from = -1;
    };
    for (let at = start; at < end; ) {
      const number = Math.floor(at / CHUNK_BYTES);
      const base = number * CHUNK_BYTES;
      const to = Math.min(end, base + CHUNK_BYTES);
      const chunk = this.#chunks.get(number);
      if (chunk === undefined) {
        if (value) flush(at);
        else if (from < 0) from = at;
      } else {
        for (let page = (at - base) / PAGE_SIZE; page < (to - base) / PAGE_SIZE; page++) {
          const is = ((chunk[page >> 5]! >>> (page & 31)) & 1) === 1;
          if (is !== value) flush(base + page * PAGE_SIZE);
          else if (from < 0) from = base + page * PAGE_SIZE;
        }
      }
      at = to;
    }
    flush(end);
  }

  /** Whether any page between `start` and `end` is in the set. */
  some(start: number, end: number): boolean {
    let found = false;
    for (let at = start; at < end && !found; ) {
      const to = Math.min(end, (Math.floor(at / CHUNK_BYTES) + 1) * CHUNK_BYTES);
      if (this.#chunks.has(Math.floor(at / CHUNK_BYTES))) {
        this.runs(at, to, true, () => {
          found = true;
        });
      }
      at = to;
    }
    return found;
  }
}
