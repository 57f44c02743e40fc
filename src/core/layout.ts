/** Where in the core file memory goes: ranges of addresses, each with a place in the file that it keeps. */

export interface Extent {
  readonly start: number;
  readonly end: number;
  /** In the file, bytes. */
  readonly offset: number;
}

/** The index of the first extent that ends behind `address`. */
function indexOf(extents: readonly Extent[], address: number): number {
  let low = 0;
  let high = extents.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (extents[middle]!.end <= address) low = middle + 1;
    else high = middle;
  }
  return low;
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
