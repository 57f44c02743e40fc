/** The pages of a process by kind, for each mapping; recorded now and then. */
import {
  categoryNames,
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PRESENT,
  PAGE_SIZE,
  RegionBuffer,
} from '../abi/index.js';
import type { LivePagemap } from '../live/index.js';
import { AGE_CLASSES, AGE_LIMITS_MS, idlePages, packCell } from '../model/index.js';
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
import type { AccessAges } from '../track/index.js';

/** A mapping with its pages. Counts are null where they cannot be told. */
export interface MappingLayout extends Readonly<Record<keyof PageCounts, number | null>> {
  readonly mapping: Mapping;
  readonly pages: number;
  /** Pages by `PAGE_KINDS`. */
  readonly kinds: readonly (number | null)[];
  /**
   * Pages in memory that were idle for at least each of `IDLE_LIMITS_MS`; null where tracking has not run so long. Left
   * out where accesses are not tracked.
   */
  readonly idle?: readonly (number | null)[] | undefined;
  /** Cells of its address range, as `packCell` makes them; left out where they were not asked for. */
  readonly grid?:
    | { readonly cellBytes: number; readonly cells: Uint16Array; readonly ages?: Uint16Array | undefined }
    | undefined;
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
  readonly #share: number;
  readonly #pages = new Float64Array(PAGE_KINDS.length);
  #categories = 0;
  #mapping = -1;
  #cell = -1;

  /** @param share of all pages that is added, from 0 to 1 */
  constructor(mappings: readonly Mapping[], share = 1) {
    this.#mappings = mappings;
    this.#share = share;
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
  add(index: number, start: number, end: number, categories: number, kind = pageKindIndex(categories)): void {
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
      this.#pages[kind]! += (cut - at) / PAGE_SIZE;
      this.#categories |= categories;
      at = cut;
    }
  }

  end(): void {
    if (this.#cell >= 0) {
      const { start, end } = this.#mappings[this.#mapping]!;
      const grid = this.grids[this.#mapping]!;
      const total = Math.min(grid.cellBytes, end - start - this.#cell * grid.cellBytes) / PAGE_SIZE;
      grid.cells[this.#cell] = packCell(this.#pages, total * this.#share, this.#categories & CELL_CATEGORIES);
    }
    this.#pages.fill(0);
    this.#categories = 0;
    this.#cell = -1;
  }
}

/** Counts pages by how long they were left alone. */
class Ages {
  readonly #ages: AccessAges;
  readonly #counts: Float64Array[];
  readonly cells: Cells | undefined;

  constructor(ages: AccessAges, mappings: readonly Mapping[], withCells: boolean) {
    this.#ages = ages;
    this.#counts = mappings.map(() => new Float64Array(AGE_CLASSES));
    this.cells = withCells ? new Cells(mappings, ages.sample?.share) : undefined;
  }

  add(index: number, start: number, end: number, categories: number): void {
    if (!(categories & PAGE_IS_PRESENT)) return;
    this.#ages.visit(start, end, categories, AGE_LIMITS_MS, (from, to, age) => {
      this.#counts[index]![age]! += (to - from) / PAGE_SIZE;
      this.cells?.add(index, from, to, categories, age);
    });
  }

  /** As `MappingLayout` has it. */
  idle(index: number): (number | null)[] {
    const { elapsedMs, sample } = this.#ages;
    const share = sample?.share ?? 1;
    return idlePages(this.#counts[index]!, elapsedMs).map((pages) => pages && Math.round(pages / share));
  }
}

/**
 * Looks at all pages of a process once. Between two calls into the kernel, other work of this program runs.
 *
 * @param ages the idle time of each page, where accesses are tracked
 * @throws ProcessError 'ended' when the process has ended
 * @example
 * ```ts
 * import { openPagemap } from 'pagemap-scan';
 * import { takeLayout } from 'pagemap-scan/record';
 * using pagemap = openPagemap('self');
 * const layout = await takeLayout(pagemap, false);
 * const stack = layout.find(({ mapping }) => mapping.name === '[stack]');
 * console.assert(stack !== undefined && stack.present! > 0);
 * ```
 */
export function takeLayout(
  pagemap: LivePagemap,
  withCells: boolean,
  ages?: AccessAges,
): Promise<MappingLayout[]> {
  return lookWith(lookMasks(pagemap), (masks) => takeWith(pagemap, withCells, ages, masks));
}

async function takeWith(
  pagemap: LivePagemap,
  withCells: boolean,
  accessAges: AccessAges | undefined,
  { categoryAnyofMask, returnMask, unknown }: LookMasks,
): Promise<MappingLayout[]> {
  const mappings = pagemap.mappings();
  const kinds = mappings.map(() => PAGE_KINDS.map(() => 0));
  const cells = withCells ? new Cells(mappings) : undefined;
  const ages = accessAges === undefined ? undefined : new Ages(accessAges, mappings, withCells);
  const summarizer = new MappingSummarizer(mappings, pagemap.pageSize, (index, pages, categories, start) => {
    kinds[index]![pageKindIndex(categories)]! += pages;
    cells?.add(index, start, start + pages * PAGE_SIZE, categories);
    ages?.add(index, start, start + pages * PAGE_SIZE, categories);
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
  ages?.cells?.end();
  const nulls = Object.fromEntries(categoryNames(unknown).map((name) => [name, null]));
  return summarizer.summaries.map((summary, index) => {
    const own = kinds[index]!;
    own[UNTOUCHED] = summary.pages - own.reduce((sum, pages) => sum + pages, 0);
    return {
      ...summary,
      ...nulls,
      kinds: withUnknown(own, unknown),
      ...(ages === undefined ? {} : { idle: ages.idle(index) }),
      ...(cells === undefined
        ? {}
        : { grid: { ...cells.grids[index]!, ages: ages?.cells?.grids[index]?.cells } }),
    };
  });
}
