/** Where in the core file memory goes: ranges of addresses, each with a place in the file that it keeps. */
import { firstIndex } from '../abi/internal.js';

export interface Extent {
  readonly start: number;
  readonly end: number;
  /** In the file, bytes. */
  readonly offset: number;
}

/** The index of the first extent that ends behind `address`. */
function indexOf(extents: readonly Extent[], address: number): number {
  return firstIndex(extents.length, (index) => extents[index]!.end > address);
}

export class Layout {
  #extents: Extent[] = [];
  #next: number;

  /** @param start the first place in the file that is free, bytes */
  constructor(start: number) {
    this.#next = start;
  }

  /** Behind all that was placed, bytes. */
  get end(): number {
    return this.#next;
  }

  /** Gives those parts of a range a place that have none yet. */
  place(start: number, end: number): void {
    let index = indexOf(this.#extents, start);
    for (let at = start; at < end; index++) {
      const next = this.#extents[index];
      const to = Math.min(end, next?.start ?? end);
      if (at < to) {
        const last = this.#extents[index - 1];
        const bytes = to - at;
        if (last !== undefined && last.end === at && last.offset + (at - last.start) === this.#next) {
          this.#extents[index - 1] = { start: last.start, end: to, offset: last.offset };
          index--;
        } else {
          const extent = { start: at, end: to, offset: this.#next };
          if (index === this.#extents.length) this.#extents.push(extent);
          else this.#extents.splice(index, 0, extent);
        }
        this.#next += bytes;
        at = to;
        continue;
      }
      at = Math.max(at, next!.end);
    }
  }

  /** The parts of a range, in address order; offset -1 for those without a place. */
  parts(start: number, end: number, visit: (start: number, end: number, offset: number) => void): void {
    let index = indexOf(this.#extents, start);
    for (let at = start; at < end; ) {
      const extent = this.#extents[index];
      if (extent === undefined || extent.start >= end) {
        visit(at, end, -1);
        return;
      }
      if (extent.start > at) visit(at, extent.start, -1);
      const from = Math.max(at, extent.start);
      const to = Math.min(end, extent.end);
      visit(from, to, extent.offset + (from - extent.start));
      at = to;
      index++;
    }
  }
}

/** Of `start` to `end`, the windows in which places are given: all of what is small, parts of what is large. */
export const WINDOW_BYTES = 64 << 20;

export function placeWindows(
  layout: Layout,
  mapping: { readonly start: number; readonly end: number },
  start: number,
  end: number,
): void {
  if (mapping.end - mapping.start <= WINDOW_BYTES) {
    layout.place(mapping.start, mapping.end);
    return;
  }
  const from = Math.max(mapping.start, Math.floor(start / WINDOW_BYTES) * WINDOW_BYTES);
  const to = Math.min(mapping.end, Math.ceil(end / WINDOW_BYTES) * WINDOW_BYTES);
  layout.place(from, to);
}

/** Joins pieces that follow each other both in a buffer and in the file. */
export class PieceJoiner {
  readonly #visit: (from: number, length: number, offset: number) => void;
  #from = 0;
  #length = 0;
  #offset = 0;

  constructor(visit: (from: number, length: number, offset: number) => void) {
    this.#visit = visit;
  }

  /**
   * The bytes of `start` to `end`, which stand in the buffer from `from` on.
   *
   * @throws Error for what has no place
   */
  add(layout: Layout, start: number, end: number, from: number): void {
    layout.parts(start, end, (at, to, offset) => {
      if (offset < 0) throw new Error(`Cannot write 0x${at.toString(16)}: it has no place`);
      const bufferAt = from + (at - start);
      const isNext = this.#from + this.#length === bufferAt && this.#offset + this.#length === offset;
      if (this.#length > 0 && isNext) {
        this.#length += to - at;
        return;
      }
      this.flush();
      [this.#from, this.#length, this.#offset] = [bufferAt, to - at, offset];
    });
  }

  flush(): void {
    if (this.#length > 0) this.#visit(this.#from, this.#length, this.#offset);
    this.#length = 0;
  }
}

/** Cuts ranges whose bytes stand one behind the other in a buffer into pieces that do so in the file. */
export function forEachPiece(
  layout: Layout,
  ranges: readonly number[],
  visit: (from: number, length: number, offset: number) => void,
): void {
  const pieces = new PieceJoiner(visit);
  let filled = 0;
  for (let index = 0; index < ranges.length; index += 2) {
    pieces.add(layout, ranges[index]!, ranges[index + 1]!, filled);
    filled += ranges[index + 1]! - ranges[index]!;
  }
  pieces.flush();
}
