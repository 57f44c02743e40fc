/** A set of pages of an address space: bits, in chunks of 2 MiB, of which only those that are touched exist. */
import { firstIndex, PAGE_SIZE } from '../abi/internal.js';

const CHUNK_PAGES = 512;
const CHUNK_BYTES = CHUNK_PAGES * PAGE_SIZE;
const WORDS = CHUNK_PAGES / 32;
/** So many chunks in a row are looked for before the next one is searched for. */
const MOST_STEPS = 2;

export class PageSet {
  readonly #chunks = new Map<number, Uint32Array>();
  /** The numbers of the chunks in order, and of some that there were; undefined when others have come. */
  #numbers: number[] | undefined;

  /** The first chunk from `number` on, but not behind `last`; `last` + 1 when there is none. */
  #nextChunk(number: number, last: number): number {
    // Short ways are gone step by step; of terabytes of address space, most of which was never touched, the steps are too many.
    for (let steps = 0; steps < MOST_STEPS; steps++, number++)
      if (number > last || this.#chunks.has(number)) return Math.min(number, last + 1);
    this.#numbers ??= [...this.#chunks.keys()].sort((a, b) => a - b);
    const numbers = this.#numbers;
    let index = firstIndex(numbers.length, (at) => numbers[at]! >= number);
    while (index < numbers.length && numbers[index]! <= last && !this.#chunks.has(numbers[index]!)) index++;
    return Math.min(numbers[index] ?? last + 1, last + 1);
  }

  #addChunk(number: number): Uint32Array {
    const chunk = new Uint32Array(WORDS);
    this.#chunks.set(number, chunk);
    const numbers = this.#numbers;
    if (numbers !== undefined) {
      const index = firstIndex(numbers.length, (at) => numbers[at]! >= number);
      if (index === numbers.length) numbers.push(number);
      else if (numbers[index] !== number) this.#numbers = undefined;
    }
    return chunk;
  }

  clear(): void {
    this.#chunks.clear();
    this.#numbers = undefined;
  }

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
      const chunk = this.#chunks.get(number) ?? (value ? this.#addChunk(number) : undefined);
      if (chunk === undefined) {
        at = Math.min(end, this.#nextChunk(number, Math.floor((end - 1) / CHUNK_BYTES)) * CHUNK_BYTES);
        continue;
      }
      if (to - at === CHUNK_BYTES) {
        if (value) chunk.fill(0xffffffff);
        else this.#chunks.delete(number);
      } else {
        for (let page = (at - base) / PAGE_SIZE; page < (to - base) / PAGE_SIZE; page++) {
          if (value) chunk[page >> 5]! |= 1 << (page & 31);
          else chunk[page >> 5]! &= ~(1 << (page & 31));
        }
      }
      at = to;
    }
  }

  /** Calls `visit` for each run of pages between `start` and `end` that are in the set, or with `value` false, that are not. */
  runs(start: number, end: number, value: boolean, visit: (start: number, end: number) => void): void {
    let from = -1;
    for (let at = start; at < end; ) {
      const number = Math.floor(at / CHUNK_BYTES);
      const base = number * CHUNK_BYTES;
      const to = Math.min(end, base + CHUNK_BYTES);
      const chunk = this.#chunks.get(number);
      if (chunk === undefined) {
        if (!value) from = from < 0 ? at : from;
        else if (from >= 0) {
          visit(from, at);
          from = -1;
        }
        at = Math.min(end, this.#nextChunk(number, Math.floor((end - 1) / CHUNK_BYTES)) * CHUNK_BYTES);
        continue;
      }
      const last = (to - base) / PAGE_SIZE;
      for (let page = (at - base) / PAGE_SIZE; page < last; ) {
        // Bits from this page on that are as sought, seen as ones; a word at a time.
        const word = chunk[page >> 5]!;
        const sought = (value ? word : ~word) >>> (page & 31);
        const rest = 32 - (page & 31);
        if (from < 0) {
          // The lowest one.
          const skip = sought === 0 ? rest : 31 - Math.clz32(sought & -sought);
          page += skip;
          if (skip < rest && page < last) from = base + page * PAGE_SIZE;
        } else {
          // The lowest zero. What was shifted in at the top is none of them.
          const zeros = ~sought & (rest === 32 ? -1 : (1 << rest) - 1);
          const skip = zeros === 0 ? rest : 31 - Math.clz32(zeros & -zeros);
          page += skip;
          if (skip < rest && page < last) {
            visit(from, base + page * PAGE_SIZE);
            from = -1;
          }
        }
      }
      at = to;
    }
    if (from >= 0) visit(from, end);
  }

  /** How many pages between `start` and `end` are in the set; once it is more than `most`, it need not be exact. */
  count(start: number, end: number, most = Number.POSITIVE_INFINITY): number {
    let pages = 0;
    const last = Math.floor((end - 1) / CHUNK_BYTES);
    for (let at = start; at < end && pages <= most; ) {
      const number = this.#nextChunk(Math.floor(at / CHUNK_BYTES), last);
      const base = number * CHUNK_BYTES;
      const to = Math.min(end, base + CHUNK_BYTES);
      this.runs(Math.max(at, base), to, true, (from, until) => {
        pages += (until - from) / PAGE_SIZE;
      });
      at = base + CHUNK_BYTES;
    }
    return pages;
  }

  /** Whether all pages between `start` and `end` are in the set. */
  every(start: number, end: number): boolean {
    let all = true;
    this.runs(start, end, false, () => {
      all = false;
    });
    return all;
  }

  /** Whether any page between `start` and `end` is in the set. */
  some(start: number, end: number): boolean {
    for (let at = start; at < end; ) {
      const number = Math.floor(at / CHUNK_BYTES);
      const base = number * CHUNK_BYTES;
      const to = Math.min(end, base + CHUNK_BYTES);
      const chunk = this.#chunks.get(number);
      if (chunk === undefined) {
        at = Math.min(end, this.#nextChunk(number, Math.floor((end - 1) / CHUNK_BYTES)) * CHUNK_BYTES);
        continue;
      }
      const last = (to - base) / PAGE_SIZE;
      for (let page = (at - base) / PAGE_SIZE; page < last; page = (page | 31) + 1) {
        let word = chunk[page >> 5]! >>> (page & 31);
        if (last - page < 32) word &= 2 ** (last - page) - 1;
        if (word !== 0) return true;
      }
      at = to;
    }
    return false;
  }
}
