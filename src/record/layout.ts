/** What the pages of a process are, mapping by mapping, as it is recorded now and then. */
import {
  categoryNames,
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_SIZE,
  RegionBuffer,
} from '../abi/index.js';
import type { LivePagemap } from '../live/index.js';
import { packCell } from '../model/index.js';
import type { Mapping } from '../proc/index.js';
import {
  type LookMasks,
  legRanges,
  lookMasks,
  lookWith,
  MappingSummarizer,
  PAGE_KINDS,
  type PageCounts,
  pageKindIndex,
  SUMMARY_RETURN,
  scanLegs,
  withUnknown,
} from '../query/internal.js';

/** A mapping with its pages. Counts are null where they cannot be told. */
export interface MappingLayout extends Readonly<Record<keyof PageCounts, number | null>> {
  readonly mapping: Mapping;
  readonly pages: number;
  /** Pages by `PAGE_KINDS`. */
  readonly kinds: readonly (number | null)[];
  /** Cells of its address range, as `packCell` makes them; left out where they were not asked for. */
  readonly grid?: { readonly cellBytes: number; readonly cells: Uint16Array } | undefined;
}

/** Cells of all mappings together, about: a picture of them needs no more. */
const MOST_CELLS = 1 << 16;
const MOST_CELLS_EACH = 256;
const CELL_CATEGORIES = PAGE_IS_FILE | PAGE_IS_HUGE | PAGE_IS_GUARD | SUMMARY_RETURN;
const UNTOUCHED = PAGE_KINDS.indexOf('untouched');

/** Collects what the cells of one mapping after the other are. */
class Cells {
  readonly grids: { cellBytes: number; cells: Uint16Array }[];
  readonly #mappings: readonly Mapping[];
  readonly #pages = new Float64Array(PAGE_KINDS.length);
  #categories = 0;
  #mapping = -1;
  #cell = -1;

  constructor(mappings: readonly Mapping[]) {
    this.#mappings = mappings;
    const each = Math.max(
      1,
      Math.min(MOST_CELLS_EACH, Math.floor(MOST_CELLS / Math.max(1, mappings.length))),
    );
    this.grids = mappings.map(({ start, end }) => {
      const cellPages = 2 ** Math.ceil(Math.log2(Math.max(1, (end - start) / PAGE_SIZE / each)));
      const cellBytes = cellPages * PAGE_SIZE;
      return {
        cellBytes,
        cells: new Uint16Array(Math.ceil((end - start) / cellBytes)).fill(UNTOUCHED << 4),
      };
    });
  }

  /** A run inside one mapping, in address order. */
  add(index: number, start: number, end: number, categories: number): void {
    const origin = this.#mappings[index]!.start;
    const { cellBytes } = this.grids[index]!;
    for (let at = start; at < end; ) {
      const cell = Math.floor((at - origin) / cellBytes);
      if (cell !== this.#cell || index !== this.#mapping) {
        this.end();
        this.#mapping = index;
        this.#cell = cell;
      }
      const cut = Math.min(end, origin + (cell + 1) * cellBytes);
      this.#pages[pageKindIndex(categories)]! += (cut - at) / PAGE_SIZE;
      this.#categories |= categories;
      at = cut;
    }
  }

  end(): void {
    if (this.#cell >= 0) {
      const { start, end } = this.#mappings[this.#mapping]!;
      const grid = this.grids[this.#mapping]!;
      const total = Math.min(grid.cellBytes, end - start - this.#cell * grid.cellBytes) / PAGE_SIZE;
      grid.cells[this.#cell] = packCell(this.#pages, total, this.#categories & CELL_CATEGORIES);
    }
    this.#pages.fill(0);
    this.#categories = 0;
    this.#cell = -1;
  }
}

/**
 * Looks at all pages of a process once. Other work gets its turn between two calls into the kernel.
 *
 * @throws ProcessError 'ended' when the process has ended
 */
export function takeLayout(pagemap: LivePagemap, withCells: boolean): Promise<MappingLayout[]> {
  return lookWith(lookMasks(pagemap), (masks) => takeWith(pagemap, withCells, masks));
}

async function takeWith(
  pagemap: LivePagemap,
  withCells: boolean,
  { categoryAnyofMask, returnMask, unknown }: LookMasks,
): Promise<MappingLayout[]> {
  const mappings = pagemap.mappings();
  const kinds = mappings.map(() => PAGE_KINDS.map(() => 0));
  const cells = withCells ? new Cells(mappings) : undefined;
  const summarizer = new MappingSummarizer(mappings, (index, pages, categories, start) => {
    kinds[index]![pageKindIndex(categories)]! += pages;
    cells?.add(index, start, start + pages * PAGE_SIZE, categories);
  });
  const buffer = new RegionBuffer(8192);
  for (const range of legRanges(mappings)) {
    for (const found of scanLegs(pagemap, { ...range, categoryAnyofMask, returnMask }, { buffer })) {
      summarizer.addAll(found);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  // Of a process that is gone some kernels find nothing, without an error.
  pagemap.checkAlive();
  cells?.end();
  const nulls = Object.fromEntries(categoryNames(unknown).map((name) => [name, null]));
  return summarizer.summaries.map((summary, index) => {
    const own = kinds[index]!;
    own[UNTOUCHED] = summary.pages - own.reduce((sum, pages) => sum + pages, 0);
    return {
      ...summary,
      ...nulls,
      kinds: withUnknown(own, unknown),
      ...(cells === undefined ? {} : { grid: cells.grids[index]! }),
    };
  });
}
