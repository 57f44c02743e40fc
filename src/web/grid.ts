/** What the pages of each mapping are, counted in cells: the server's picture of an address space. */
import { PAGE_IS_PRESENT, PAGE_SIZE } from '../abi/index.js';
import { AGE_LIMITS_MS, packCell, UNTOUCHED } from '../model/index.js';
import { isShared } from '../proc/internal.js';
import {
  type AddressRange,
  countedCategories,
  PAGE_KINDS,
  pageKindIndex,
  RegionDealer,
} from '../query/internal.js';
import type { AccessAges } from '../track/index.js';

/** Kinds that are counted; the untouched pages are what is left. */
const COUNTED = PAGE_KINDS.length - 1;

/** Cells of one tile, the unit in which the page fetches them. */
export const TILE_CELLS = 2048;

/** A mapping's part of the counts. */
interface Plot {
  readonly start: number;
  readonly end: number;
  readonly cellBytes: number;
  readonly shared: boolean;
  /** Its first cell. */
  readonly first: number;
  readonly cells: number;
}

function cellsOf({ start, end }: AddressRange, cellBytes: number): number {
  return Math.ceil((end - start) / cellBytes);
}

/** The smallest power of two, from a page, that cuts the range into at most `most` cells. */
export function cellSize(range: AddressRange, most: number): number {
  let bytes = PAGE_SIZE;
  while (cellsOf(range, bytes) > most) bytes *= 2;
  return bytes;
}

/** Pages by kind, and the categories there are, for each of a number of cells. */
class Counts {
  readonly #pages: Uint32Array;
  readonly #categories: Uint16Array;

  constructor(cells: number) {
    this.#pages = new Uint32Array(cells * COUNTED);
    this.#categories = new Uint16Array(cells);
  }

  /** Takes a run of pages of one class in the cells of a plot. */
  add(
    { first, start: base, cellBytes }: Plot,
    start: number,
    end: number,
    categories: number,
    index: number,
  ): void {
    let at = start;
    for (let cell = Math.floor((start - base) / cellBytes); at < end; cell++) {
      const next = Math.min(base + (cell + 1) * cellBytes, end);
      this.#pages[(first + cell) * COUNTED + index]! += (next - at) / PAGE_SIZE;
      this.#categories[first + cell]! |= categories;
      at = next;
    }
  }

  /** Packs `count` cells from `from` on into one. `kinds` has the bits of the kinds that count, by their index. */
  pack(from: number, count: number, totalPages: number, kinds: number): number {
    const pages = new Uint32Array(COUNTED);
    let categories = 0;
    for (let cell = from; cell < from + count; cell++) {
      categories |= this.#categories[cell]!;
      for (let kind = 0; kind < COUNTED; kind++) {
        if (kinds & (1 << kind)) pages[kind]! += this.#pages[cell * COUNTED + kind]!;
      }
    }
    return packCell(pages, totalPages, categories);
  }

  /** Adds the pages by kind of `count` cells from `from` on to `totals`. */
  sum(from: number, count: number, totals: number[]): void {
    for (let at = from * COUNTED, kind = 0; at < (from + count) * COUNTED; at++) {
      totals[kind]! += this.#pages[at]!;
      kind = kind + 1 === COUNTED ? 0 : kind + 1;
    }
  }
}

export const ALL_KINDS: number = (1 << COUNTED) - 1;

/** Cuts a run of pages into runs of one class each, and says which; what it leaves out counts as untouched. */
export type Classify = (
  start: number,
  end: number,
  categories: number,
  take: (start: number, end: number, index: number) => void,
) => void;

/** By kind, an index into `PAGE_KINDS`. */
const byKind: Classify = (start, end, categories, take) => take(start, end, pageKindIndex(categories));

/** By how long pages in memory were left alone, an index into the classes of `AGE_LIMITS_MS`. */
export function byAge(ages: AccessAges): Classify {
  return (start, end, categories, take) => {
    if (categories & PAGE_IS_PRESENT) ages.visit(start, end, categories, AGE_LIMITS_MS, take);
  };
}

/** Cells are dealt out so that no mapping has more than another could make use of: the most that each has. */
export function mostCells(ranges: readonly AddressRange[], budget: number): number {
  let most = 1;
  const total = (limit: number) => {
    let cells = 0;
    for (const range of ranges) cells += cellsOf(range, cellSize(range, limit));
    return cells;
  };
  while (most < budget && total(most * 2) <= budget) most *= 2;
  return most;
}

function plots(ranges: readonly AddressRange[], most: number): Plot[] {
  let first = 0;
  return ranges.map((range) => {
    const cellBytes = cellSize(range, most);
    const { start, end } = range;
    const plot = { start, end, shared: isShared(range), cellBytes, first, cells: cellsOf(range, cellBytes) };
    first += plot.cells;
    return plot;
  });
}

/** All mappings of one look at an address space. */
export class LayoutGrid {
  readonly #plots: readonly Plot[];
  readonly #byStart: ReadonlyMap<number, number>;
  readonly #counts: Counts;
  readonly #dealer: RegionDealer<Plot>;

  /**
   * @param ranges in address order, not overlapping
   * @param budget how many cells there may be in all; each mapping has at least one
   * @param most how many cells a mapping has at most
   */
  constructor(
    ranges: readonly AddressRange[],
    budget: number,
    classify: Classify = byKind,
    most: number = mostCells(ranges, budget),
  ) {
    this.#plots = plots(ranges, most);
    this.#byStart = new Map(this.#plots.map(({ start }, index) => [start, index]));
    const last = this.#plots.at(-1);
    this.#counts = new Counts(last === undefined ? 0 : last.first + last.cells);
    this.#dealer = new RegionDealer(this.#plots, (index, start, end, reported) => {
      const plot = this.#plots[index];
      // Mapped after the list was taken: in the next look.
      if (plot === undefined) return;
      const categories = countedCategories(reported, plot.shared);
      if (categories === 0) return;
      classify(start, end, categories, (from, to, kind) =>
        this.#counts.add(plot, from, to, categories, kind),
      );
    });
  }

  /** Takes a run of pages that are there, in address order. */
  add(start: number, end: number, categories: number): void {
    this.#dealer.add(start, end, categories);
  }

  /** Pages of mapping `index` by `PAGE_KINDS`. */
  pages(index: number): number[] {
    const plot = this.#plots[index]!;
    const totals = PAGE_KINDS.map(() => 0);
    this.#counts.sum(plot.first, plot.cells, totals);
    const touched = totals.reduce((sum, pages) => sum + pages, 0);
    totals[UNTOUCHED] = (plot.end - plot.start) / PAGE_SIZE - touched;
    return totals;
  }

  /** The size of the cells that were counted for the mapping at `start`; undefined when there is none. */
  cellBytes(start: number): number | undefined {
    const index = this.#byStart.get(start);
    return index === undefined ? undefined : this.#plots[index]!.cellBytes;
  }

  /** Cells `from` to `from + count` of the mapping at `start`, in cells of `cellBytes`, no smaller than what was counted. */
  cells(start: number, cellBytes: number, from: number, count: number, kinds = ALL_KINDS): Uint16Array {
    const plot = this.#plots[this.#byStart.get(start)!]!;
    const ratio = cellBytes / plot.cellBytes;
    const last = Math.min(from + count, cellsOf(plot, cellBytes));
    const result = new Uint16Array(Math.max(0, last - from));
    for (let index = 0; index < result.length; index++) {
      const cell = (from + index) * ratio;
      const bytes = Math.min(cellBytes, plot.end - plot.start - (from + index) * cellBytes);
      result[index] = this.#counts.pack(
        plot.first + cell,
        Math.min(ratio, plot.cells - cell),
        bytes / PAGE_SIZE,
        kinds,
      );
    }
    return result;
  }
}

/** The cells of a range, as a caller's own scan finds them. */
export class RangeCells {
  readonly #plot: Plot;
  readonly #counts: Counts;
  readonly #classify: Classify;

  constructor(range: AddressRange, cellBytes: number, classify: Classify = byKind) {
    const { start, end } = range;
    const cells = cellsOf(range, cellBytes);
    this.#plot = { start, end, cellBytes, shared: isShared(range), first: 0, cells };
    this.#counts = new Counts(cells);
    this.#classify = classify;
  }

  add(start: number, end: number, reported: number): void {
    const categories = countedCategories(reported, this.#plot.shared);
    if (categories === 0) return;
    const from = Math.max(start, this.#plot.start);
    const to = Math.min(end, this.#plot.end);
    if (from >= to) return;
    this.#classify(from, to, categories, (first, last, kind) =>
      this.#counts.add(this.#plot, first, last, categories, kind),
    );
  }

  pack(kinds = ALL_KINDS): Uint16Array {
    const { start, end, cellBytes, cells } = this.#plot;
    const result = new Uint16Array(cells);
    for (let cell = 0; cell < cells; cell++) {
      const bytes = Math.min(cellBytes, end - start - cell * cellBytes);
      result[cell] = this.#counts.pack(cell, 1, bytes / PAGE_SIZE, kinds);
    }
    return result;
  }
}
