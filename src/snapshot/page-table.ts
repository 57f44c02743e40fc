/** Which content each page of an address space has: a reference to a page in the store, by address. */
import { PAGE_SIZE } from '../abi/index.js';
import { ByteReader, ByteWriter } from './bytes.js';

/** There is no such page in the snapshot. */
export const ABSENT = 0;
/** The page is there, and all of it is zero. */
export const ZERO = 1;

/** Pages of a chunk. */
const CHUNK_PAGES = 512;

/** How a run of pages is written: its kind is in the lowest two bits of its length. */
const RUN_ABSENT = 0;
const RUN_ZERO = 1;
/** References that count up by one. */
const RUN_PAGES = 2;

/** Visits runs of pages, in numbers of pages; the references of a run count up by one, or are all `ABSENT` or `ZERO`. */
export type TableVisitor = (page: number, count: number, reference: number) => void;

export class PageTable {
  readonly #chunks = new Map<number, Float64Array>();

  get(page: number): number {
    return this.#chunks.get(Math.floor(page / CHUNK_PAGES))?.[page % CHUNK_PAGES] ?? ABSENT;
  }

  set(page: number, reference: number): void {
    const number = Math.floor(page / CHUNK_PAGES);
    let chunk = this.#chunks.get(number);
    if (chunk === undefined) {
      if (reference === ABSENT) return;
      chunk = new Float64Array(CHUNK_PAGES);
      this.#chunks.set(number, chunk);
    }
    chunk[page % CHUNK_PAGES] = reference;
  }

  /** Takes over the references of another table between two pages; those that are absent there become `otherwise`. */
  copy(other: PageTable, first: number, end: number, otherwise: number): void {
    for (let page = first; page < end; ) {
      const number = Math.floor(page / CHUNK_PAGES);
      const base = number * CHUNK_PAGES;
      const to = Math.min(CHUNK_PAGES, end - base);
      const chunk = other.#chunks.get(number) ?? EMPTY;
      let own = this.#chunks.get(number);
      if (own === undefined) {
        own = new Float64Array(CHUNK_PAGES);
        this.#chunks.set(number, own);
      }
      for (let index = page - base; index < to; index++)
        own[index] = chunk[index] === ABSENT ? otherwise : chunk[index]!;
      page = base + to;
    }
  }

  /** Forgets pages. */
  delete(first: number, end: number): void {
    const from = Math.floor(first / CHUNK_PAGES);
    const to = Math.floor((end - 1) / CHUNK_PAGES);
    // Of a range without end, what there is.
    if (to - from > this.#chunks.size) {
      for (const number of [...this.#chunks.keys()])
        if (number >= from && number <= to) this.#clear(number, first, end);
      return;
    }
    for (let number = from; number <= to; number++) this.#clear(number, first, end);
  }

  #clear(number: number, first: number, end: number): void {
    const base = number * CHUNK_PAGES;
    if (first <= base && end >= base + CHUNK_PAGES) this.#chunks.delete(number);
    else this.#chunks.get(number)?.fill(ABSENT, Math.max(0, first - base), Math.min(CHUNK_PAGES, end - base));
  }

  /** How many pages are not absent. */
  count(): number {
    let pages = 0;
    for (const chunk of this.#chunks.values())
      for (let index = 0; index < CHUNK_PAGES; index++) if (chunk[index] !== ABSENT) pages++;
    return pages;
  }

  /** The runs of pages that are not absent, in order. Their references count up by one, or are `ZERO`. */
  runs(first: number, end: number, visit: TableVisitor): void {
    let start = -1;
    let count = 0;
    let reference = ABSENT;
    for (const number of this.#numbers(first, end)) {
      const chunk = this.#chunks.get(number)!;
      const base = number * CHUNK_PAGES;
      const to = Math.min(CHUNK_PAGES, end - base);
      for (let index = Math.max(0, first - base); index < to; index++) {
        const next = chunk[index]!;
        if (next === ABSENT) continue;
        const expected = reference === ZERO ? ZERO : reference + count;
        if (count > 0 && base + index === start + count && next === expected) {
          count++;
          continue;
        }
        if (count > 0) visit(start, count, reference);
        [start, count, reference] = [base + index, 1, next];
      }
    }
    if (count > 0) visit(start, count, reference);
  }

  #numbers(first: number, end: number): number[] {
    const from = Math.floor(first / CHUNK_PAGES);
    const to = Math.floor((end - 1) / CHUNK_PAGES);
    const numbers: number[] = [];
    if (to - from <= this.#chunks.size) {
      for (let number = from; number <= to; number++) if (this.#chunks.has(number)) numbers.push(number);
      return numbers;
    }
    for (const number of this.#chunks.keys()) if (number >= from && number <= to) numbers.push(number);
    return numbers.sort((a, b) => a - b);
  }

  /** Calls `visit` for the pages, in order, that `other` has another reference for, with both: of this first. */
  differences(other: PageTable, visit: (page: number, own: number, others: number) => void): void {
    const numbers = new Set([...this.#chunks.keys(), ...other.#chunks.keys()]);
    for (const number of [...numbers].sort((a, b) => a - b)) {
      const own = this.#chunks.get(number) ?? EMPTY;
      const others = other.#chunks.get(number) ?? EMPTY;
      for (let index = 0; index < CHUNK_PAGES; index++)
        if (own[index] !== others[index]) visit(number * CHUNK_PAGES + index, own[index]!, others[index]!);
    }
  }

  clone(): PageTable {
    const copy = new PageTable();
    for (const [number, chunk] of this.#chunks) copy.#chunks.set(number, chunk.slice());
    return copy;
  }

  /** Writes what has to be changed in `before` to get this. */
  encode(before: PageTable): Uint8Array {
    const writer = new ByteWriter();
    let behind = 0;
    let expected = 0;
    let start = 0;
    let count = 0;
    let reference = ABSENT;
    const flush = () => {
      if (count === 0) return;
      writer.number(start - behind);
      const kind = reference === ABSENT ? RUN_ABSENT : reference === ZERO ? RUN_ZERO : RUN_PAGES;
      writer.number(count * 4 + kind);
      if (kind === RUN_PAGES) {
        writer.signed(reference - expected);
        expected = reference + count;
      }
      behind = start + count;
    };
    this.differences(before, (page, own) => {
      const next = reference > ZERO ? reference + count : reference;
      if (count > 0 && page === start + count && own === next) {
        count++;
        return;
      }
      flush();
      [start, count, reference] = [page, 1, own];
    });
    flush();
    return writer.bytes.slice();
  }

  /**
   * Applies what `encode` wrote.
   *
   * @param visit gets each page that changes, with its reference before and now
   */
  apply(bytes: Uint8Array, visit?: (page: number, before: number, now: number) => void): void {
    visitChanges(bytes, (first, count, reference) => {
      for (let index = 0; index < count; index++) {
        const now = reference > ZERO ? reference + index : reference;
        if (visit !== undefined) visit(first + index, this.get(first + index), now);
        this.set(first + index, now);
      }
      return true;
    });
  }
}

/**
 * Visits the runs that `PageTable.encode` wrote, ascending, those that are `ABSENT` now among them.
 *
 * @param visit gives false to end it
 */
export function visitChanges(
  bytes: Uint8Array,
  visit: (page: number, count: number, reference: number) => boolean,
): void {
  const reader = new ByteReader(bytes);
  let page = 0;
  let expected = 0;
  while (!reader.isAtEnd) {
    page += reader.number();
    const head = reader.number();
    const count = Math.floor(head / 4);
    const kind = head % 4;
    let reference = kind === RUN_ZERO ? ZERO : ABSENT;
    if (kind === RUN_PAGES) {
      reference = expected + reader.signed();
      expected = reference + count;
    }
    if (!visit(page, count, reference)) return;
    page += count;
  }
}

const EMPTY = new Float64Array(CHUNK_PAGES);

export const pageOf = (address: number): number => Math.floor(address / PAGE_SIZE);

/** Ranges of pages with a number each, ascending: the gap before it, its length, and the number unless it is 0 throughout. */
export function encodeRanges(
  ranges: readonly (readonly [page: number, count: number, value: number])[],
): Uint8Array {
  const writer = new ByteWriter();
  let behind = 0;
  for (const [page, count, value] of ranges) {
    writer.number(page - behind);
    writer.number(count);
    writer.number(value);
    behind = page + count;
  }
  return writer.bytes.slice();
}

export function decodeRanges(bytes: Uint8Array): [page: number, count: number, value: number][] {
  const ranges: [number, number, number][] = [];
  visitRanges(bytes, (...range) => ranges.push(range) > 0);
  return ranges;
}

/**
 * Visits the ranges that `encodeRanges` wrote.
 *
 * @param visit gives false to end it
 */
export function visitRanges(
  bytes: Uint8Array,
  visit: (page: number, count: number, value: number) => boolean,
): void {
  const reader = new ByteReader(bytes);
  let page = 0;
  while (!reader.isAtEnd) {
    page += reader.number();
    const count = reader.number();
    if (!visit(page, count, reader.number())) return;
    page += count;
  }
}
