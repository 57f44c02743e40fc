/** Written pages by parts of the mappings that they lie in. */
import { PAGE_SIZE } from '../abi/index.js';

/** A mapping's range is told apart in at most so many parts. */
export const MOST_BUCKETS = 128;
/** Parts are not smaller than 64 KiB: a small mapping needs no map. */
const LEAST_BUCKET_PAGES = 16;
/** In an interval with more rows than this, parts are joined two by two until it fits: mappings are always told apart. */
const MOST_ROWS = 4096;

/**
 * What was written to one part of one mapping: its index in the list that was given, offset from its start and size of the
 * part, bytes, and written pages.
 */
export type BucketVisitor = (
  mappingIndex: number,
  offsetBytes: number,
  bucketBytes: number,
  writtenPages: number,
) => void;

interface Range {
  readonly start: number;
  readonly end: number;
}

/** Pages of a bucket of a mapping, a power of two. */
function bucketPages({ start, end }: Range): number {
  const least = (end - start) / PAGE_SIZE / MOST_BUCKETS;
  return Math.max(LEAST_BUCKET_PAGES, 2 ** Math.ceil(Math.log2(least)));
}

/** Takes the runs of written pages of an interval; its memory is that of the interval with the most runs. */
export class Buckets {
  #runs = new Float64Array(1024);
  #length = 0;
  #sorted = true;

  /** A run of written pages, bytes; runs do not overlap. */
  add(start: number, end: number): void {
    if (this.#length === this.#runs.length) {
      const longer = new Float64Array(this.#runs.length * 2);
      longer.set(this.#runs);
      this.#runs = longer;
    }
    if (this.#length > 0 && this.#runs[this.#length - 2]! > start) this.#sorted = false;
    this.#runs[this.#length++] = start;
    this.#runs[this.#length++] = end;
  }

  /**
   * Gives out what was added, and forgets it.
   *
   * @param mappings in address order, not overlapping
   */
  deal(mappings: readonly Range[], visit: BucketVisitor): void {
    this.#sort();
    let coarser = 1;
    let rows = this.#walk(mappings, coarser, undefined);
    while (rows > MOST_ROWS && coarser < MOST_BUCKETS) {
      coarser *= 2;
      rows = this.#walk(mappings, coarser, undefined);
    }
    this.#walk(mappings, coarser, visit);
    this.#length = 0;
  }

  #sort(): void {
    if (!this.#sorted) {
      const pairs: [number, number][] = [];
      for (let at = 0; at < this.#length; at += 2) pairs.push([this.#runs[at]!, this.#runs[at + 1]!]);
      pairs.sort((a, b) => a[0] - b[0]);
      this.#runs.set(pairs.flat());
    }
    this.#sorted = true;
  }

  /** Returns the number of rows. */
  #walk(mappings: readonly Range[], coarser: number, visit: BucketVisitor | undefined): number {
    let rows = 0;
    let mappingIndex = 0;
    let size = 0;
    let bucket = -1;
    let pages = 0;
    const emit = () => {
      if (pages === 0) return;
      rows++;
      visit?.(mappingIndex, bucket * size, size, pages);
      pages = 0;
    };
    for (let run = 0; run < this.#length; run += 2) {
      let at = this.#runs[run]!;
      const end = this.#runs[run + 1]!;
      while (at < end) {
        if (mappingIndex < mappings.length && mappings[mappingIndex]!.end <= at) {
          emit();
          while (mappingIndex < mappings.length && mappings[mappingIndex]!.end <= at) mappingIndex++;
          size = 0;
        }
        const mapping = mappings[mappingIndex];
        if (mapping === undefined || mapping.start >= end) break;
        if (size === 0) {
          size = bucketPages(mapping) * coarser * PAGE_SIZE;
          bucket = -1;
        }
        at = Math.max(at, mapping.start);
        const number = Math.floor((at - mapping.start) / size);
        if (number !== bucket) {
          emit();
          bucket = number;
        }
        const cut = Math.min(end, mapping.end, mapping.start + (number + 1) * size);
        pages += (cut - at) / PAGE_SIZE;
        at = cut;
      }
    }
    emit();
    return rows;
  }
}
