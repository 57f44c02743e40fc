/** Snapshots that a file holds, of which one is shown: its mappings, what their pages were, and what had changed. */
import { PAGE_SIZE } from '../../abi/index.js';
import type { LayoutModel, MappingModel, MomentModel } from '../../model/index.js';
import { decodeWords } from './words.js';

/** What is known of a mapping at the moment that is shown. */
export interface MomentMapping {
  readonly mapping: MappingModel;
  readonly cellBytes: number;
  /** As `packCell` makes them. */
  readonly words: Uint16Array;
  /** Changed pages by cell; those that are missing have none. */
  readonly changed: ReadonlyMap<number, number>;
}

const NONE: ReadonlyMap<number, number> = new Map();

export class Moments {
  readonly list: readonly MomentModel[];
  readonly #first: LayoutModel;
  #shown = new Map<number, MomentMapping>();
  #index = -1;

  /** Shows the last one. */
  constructor(first: LayoutModel, list: readonly MomentModel[]) {
    this.#first = first;
    this.list = list;
    this.go(list.length - 1);
  }

  /** Which one is shown, from 0. */
  get index(): number {
    return this.#index;
  }

  get current(): MomentModel {
    return this.list[this.#index]!;
  }

  /** In no order. */
  get mappings(): Iterable<MappingModel> {
    return [...this.#shown.values()].map(({ mapping }) => mapping);
  }

  at(start: number): MomentMapping | undefined {
    return this.#shown.get(start);
  }

  /** Shows another one. Those before the one that is shown are found from the first one on. */
  go(index: number): void {
    const wanted = Math.max(0, Math.min(index, this.list.length - 1));
    if (this.#index < 0 || wanted < this.#index) {
      this.#shown = new Map(
        this.#first.mappings.map((mapping) => [mapping.start, place(mapping, undefined)]),
      );
      this.#index = 0;
    }
    while (this.#index < wanted) this.#apply(this.list[++this.#index]!);
  }

  #apply({ changed, gone, cells, heat }: MomentModel): void {
    const shown = this.#shown;
    for (const start of gone) shown.delete(start);
    for (const mapping of changed) shown.set(mapping.start, place(mapping, shown.get(mapping.start)));
    for (const [start, ...pairs] of cells) {
      const found = shown.get(start!);
      if (found === undefined) continue;
      const words = found.words.slice();
      for (let at = 0; at < pairs.length; at += 2) words[pairs[at]!] = pairs[at + 1]!;
      shown.set(start!, { ...found, words });
    }
    for (const [start, found] of shown)
      if (found.changed.size > 0) shown.set(start, { ...found, changed: NONE });
    for (const [start, ...pairs] of heat) {
      const found = shown.get(start!);
      if (found === undefined) continue;
      const pages = new Map<number, number>();
      for (let at = 0; at < pairs.length; at += 2) pages.set(pairs[at]!, pairs[at + 1]!);
      shown.set(start!, { ...found, changed: pages });
    }
  }
}

/** A mapping with its own cells, or with those that it had. */
function place(mapping: MappingModel, before: MomentMapping | undefined): MomentMapping {
  const { grid } = mapping;
  if (grid !== undefined)
    return { mapping, cellBytes: grid.cellBytes, words: decodeWords(grid.cells), changed: NONE };
  const cellBytes = before?.cellBytes ?? mapping.end - mapping.start;
  return { mapping, cellBytes, words: before?.words ?? new Uint16Array(1), changed: NONE };
}

/** Changed pages between two cells of `cellBytes` each, the second one not among them; in part where cells are finer than those that are known. */
export function changedPages(
  { changed, cellBytes: known }: MomentMapping,
  from: number,
  to: number,
  cellBytes: number,
): number {
  if (changed.size === 0) return 0;
  const ratio = cellBytes / known;
  // Finer than what there is: each part has its share.
  if (ratio <= 1) return (changed.get(Math.floor(from * ratio)) ?? 0) * ratio * (to - from);
  let pages = 0;
  for (let cell = from * ratio; cell < to * ratio; cell++) pages += changed.get(cell) ?? 0;
  return pages;
}

/** Pages of a mapping between two cells; its last one may be cut short. */
export function pagesBetween(mapping: MappingModel, from: number, to: number, cellBytes: number): number {
  const bytes = mapping.end - mapping.start;
  return (Math.min(bytes, to * cellBytes) - from * cellBytes) / PAGE_SIZE;
}
