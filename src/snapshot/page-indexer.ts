/** Writes a store's page indexes: as its snapshots come, and of those that were there before. */
import { unlinkSync } from 'node:fs';
import { zeroSpans } from './content.js';
import { SnapshotError } from './errors.js';
import { indexFile } from './files.js';
import type { StoredMapping } from './manifest.js';
import { bitOf, encodeIndex, spanOf } from './page-index.js';
import { differingSpans, type PageSpan, SPAN, Touches, uniteSpans } from './touches.js';
import { writeWhole } from './write.js';

/** What a snapshot touches: pages whose content is another, and pages that were written. */
export interface TouchedPages {
  readonly changed: readonly PageSpan[];
  readonly written: readonly (readonly [page: number, count: number, value: number])[];
  /** Undefined when they are as before: pages that read as zeros now, or do so no more, are touched, too. */
  readonly mappings: readonly StoredMapping[] | undefined;
}

/** Appends a page, in ascending order, to ranges. */
export function addToSpans(spans: [number, number][], page: number): void {
  const last = spans.at(-1);
  if (last?.[1] === page) last[1]++;
  else spans.push([page, page + 1]);
}

export class PageIndexer {
  readonly #folder: string;
  readonly #touches = new Touches();
  /** The first snapshot whose touches are noted. */
  #from = 1;
  #zeros: readonly PageSpan[] = [];
  /** The indexes that are there, with their lengths, bytes. */
  readonly #sizes: Map<number, number>;

  /** @param sizes of the indexes that are there, bytes, by their numbers */
  constructor(folder: string, sizes: ReadonlyMap<number, number> = new Map()) {
    this.#folder = folder;
    this.#sizes = new Map(sizes);
  }

  /** What the indexes take, bytes. */
  get bytes(): number {
    let bytes = 0;
    for (const each of this.#sizes.values()) bytes += each;
    return bytes;
  }

  /** Begins behind a snapshot. */
  begin(number: number, mappings: readonly StoredMapping[]): void {
    this.#touches.clear();
    this.#from = number + 1;
    this.#zeros = zeroSpans(mappings);
  }

  /** Notes the next snapshot, and writes the index of which it is the last one. */
  note(number: number, { changed, written, mappings }: TouchedPages): void {
    const zeros = mappings === undefined ? this.#zeros : zeroSpans(mappings);
    const span = spanOf(number);
    if (!this.#sizes.has(span)) {
      const spans = uniteSpans([
        ...changed,
        ...written.map(([page, count]): PageSpan => [page, page + count]),
        ...(mappings === undefined ? [] : differingSpans(this.#zeros, zeros)),
      ]);
      if (spans.length > 0) this.#touches.add(bitOf(number), spans);
    }
    this.#zeros = zeros;
    if (number % SPAN > 0) return;
    if (!this.#sizes.has(span)) this.#write(span);
    this.#touches.clear();
    this.#from = number + 1;
  }

  #write(span: number): void {
    const bytes = encodeIndex(this.#touches, this.#from);
    try {
      writeWhole(indexFile(this.#folder, span), bytes);
      this.#sizes.set(span, bytes.length);
    } catch (error) {
      // The snapshots are there, and all is known without it.
      if (!(error instanceof SnapshotError && error.reason === 'space')) throw error;
    }
  }

  /** Removes indexes that no history needs which begins at `first`, and those of snapshots that are not there. */
  remove(first: number, newest: number): void {
    for (const span of this.#sizes.keys()) {
      if (span * SPAN > first && span * SPAN <= newest) continue;
      unlinkSync(indexFile(this.#folder, span));
      this.#sizes.delete(span);
    }
  }
}
