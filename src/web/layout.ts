/** Where a process's memory is: its mappings, and what their pages are, counted a piece at a time. */
import { setImmediate } from 'node:timers/promises';
import { RegionBuffer, UnknownCategoryError } from '../abi/index.js';
import type { LivePagemap } from '../live/index.js';
import { AGE_CLASSES, type LayoutModel, type MappingModel, mappingKind } from '../model/index.js';
import { type Owner, OwnerNames, ownerSaysMore, ownerText } from '../owners/internal.js';
import type { Mapping } from '../proc/index.js';
import {
  type AddressRange,
  type LookMasks,
  legRanges,
  lookMasks,
  lookWith,
  scanLegs,
  withUnknown,
} from '../query/internal.js';
import type { AccessAges } from '../track/index.js';
import { ALL_KINDS, byAge, LayoutGrid, RangeCells, TILE_CELLS } from './grid.js';

/** The server's own cells; finer ones are counted when a page asks. */
const GRID_CELLS = 1 << 18;
/** Cells up to this size, bytes, are counted anew for ages: a tile of them is 128 MiB. */
const FRESH_CELL_BYTES = 65_536;
/** Address space that is scanned at a time, bytes: others want to be served in between. */
const LEG_BYTES = 2 ** 30;

export function modelOf(
  mapping: Mapping,
  owner: Owner | undefined,
  pages: MappingModel['pages'],
  ages: MappingModel['ages'],
): MappingModel {
  const { start, end, perms, name, deleted } = mapping;
  return {
    start,
    end,
    perms,
    name,
    kind: mappingKind(name, perms),
    ...(deleted ? { deleted } : {}),
    ...(owner === undefined ? {} : { ownerKind: owner.kind }),
    ...(owner !== undefined && ownerSaysMore(owner.name, name) ? { owner: ownerText(owner) } : {}),
    ...(pages === undefined ? {} : { pages }),
    ...(ages === undefined ? {} : { ages }),
  };
}

type Counts = readonly (number | null)[] | undefined;

function sameCounts(a: Counts, b: Counts): boolean {
  return a === b || (b?.length === a?.length && b!.every((count, index) => count === a![index]));
}

/** Whether all that is told of a mapping is the same, but for its cells. */
export function isSameMapping(a: MappingModel | undefined, b: MappingModel): boolean {
  return (
    a !== undefined &&
    a.end === b.end &&
    a.perms === b.perms &&
    a.name === b.name &&
    a.deleted === b.deleted &&
    a.owner === b.owner &&
    a.ownerKind === b.ownerKind &&
    sameCounts(a.pages, b.pages) &&
    sameCounts(a.ages, b.ages)
  );
}

/** What has changed since the look before. */
export interface LayoutUpdate {
  readonly changed: readonly MappingModel[];
  readonly gone: readonly number[];
}

/** A process's layout, as of the last look. */
export class ProcessLayout {
  readonly #pagemap: LivePagemap;
  readonly #masks: readonly LookMasks[];
  readonly #buffer = new RegionBuffer(8192);
  readonly #names: OwnerNames;
  #rows = new Map<number, MappingModel>();
  #grid: LayoutGrid | undefined;
  /** Where accesses are tracked: the same by age. */
  #ageGrid: LayoutGrid | undefined;
  #ages: AccessAges | undefined;
  /** Counts up with each look at the pages. */
  generation = 0;

  constructor(pagemap: LivePagemap) {
    this.#pagemap = pagemap;
    this.#masks = lookMasks(pagemap);
    this.#names = new OwnerNames(pagemap.process);
    // Before anything is tracked: to look for owners would be an access.
    this.#names.look([]);
  }

  /** In address order. */
  get mappings(): readonly MappingModel[] {
    return [...this.#rows.values()];
  }

  permsOf = (start: number): string => this.#rows.get(start)?.perms ?? 'rw-p';

  /** Reads the list of mappings alone, which takes no time; pages stay as they were counted. */
  list(): LayoutUpdate {
    const mappings = this.#pagemap.mappings();
    if (this.#ages === undefined) this.#names.look(mappings);
    return this.#take(
      mappings.map((mapping) => {
        const before = this.#rows.get(mapping.start);
        const isSame = before?.end === mapping.end;
        return modelOf(
          mapping,
          this.#names.of(mapping),
          isSame ? before.pages : undefined,
          isSame ? before.ages : undefined,
        );
      }),
    );
  }

  /**
   * Counts all pages.
   *
   * @param goOn is asked between pieces of work; false ends it, and nothing has changed then
   * @param ages where accesses are tracked: how long each page was left alone
   * @returns what changed, and the time that the kernel and we took for it, milliseconds
   */
  look(goOn: () => boolean, ages?: AccessAges): Promise<(LayoutUpdate & { costMs: number }) | undefined> {
    return lookWith(this.#masks, (masks) => this.#lookWith(masks, goOn, ages));
  }

  async #lookWith(
    { categoryAnyofMask, returnMask, unknown }: LookMasks,
    goOn: () => boolean,
    ages: AccessAges | undefined,
  ) {
    let began = performance.now();
    let costMs = 0;
    const mappings = this.#pagemap.mappings();
    const grid = new LayoutGrid(mappings, GRID_CELLS);
    const ageGrid = ages === undefined ? undefined : new LayoutGrid(mappings, GRID_CELLS, byAge(ages));
    for (const range of legRanges(mappings, LEG_BYTES)) {
      const query = { ...range, categoryAnyofMask, returnMask };
      for (const found of scanLegs(this.#pagemap, query, { buffer: this.#buffer })) {
        for (let index = 0; index < found.length; index++) {
          grid.add(found.start(index), found.end(index), found.categories(index));
          ageGrid?.add(found.start(index), found.end(index), found.categories(index));
        }
      }
      costMs += performance.now() - began;
      await setImmediate();
      if (!goOn()) return undefined;
      began = performance.now();
    }
    this.#pagemap.checkAlive();
    this.#grid = grid;
    this.#ageGrid = ageGrid;
    this.#ages = ages;
    this.generation++;
    if (ages === undefined) this.#names.look(mappings);
    const update = this.#take(
      mappings.map((mapping, index) =>
        modelOf(
          mapping,
          this.#names.of(mapping),
          withUnknown(grid.pages(index), unknown),
          ageGrid?.pages(index).slice(0, AGE_CLASSES),
        ),
      ),
    );
    return { ...update, costMs: costMs + performance.now() - began };
  }

  #take(next: readonly MappingModel[]): LayoutUpdate {
    const before = this.#rows;
    const changed: MappingModel[] = [];
    this.#rows = new Map();
    for (const row of next) {
      const old = before.get(row.start);
      before.delete(row.start);
      if (!isSameMapping(old, row)) changed.push(row);
      this.#rows.set(row.start, row);
    }
    return { changed, gone: [...before.keys()] };
  }

  /**
   * Cells of one tile: `TILE_CELLS` of `cellBytes` each, the mapping's last one shorter. Undefined when there is no mapping
   * at `start`. Counted anew where they are finer than what is known.
   *
   * @param isByAge by age in place of kind; undefined where accesses are not tracked
   */
  tile(
    start: number,
    cellBytes: number,
    index: number,
    kinds = ALL_KINDS,
    isByAge = false,
  ): Uint16Array | undefined {
    if (isByAge && this.#ages === undefined) return undefined;
    const row = this.#rows.get(start);
    if (row === undefined) return undefined;
    const from = start + index * TILE_CELLS * cellBytes;
    const to = Math.min(row.end, from + TILE_CELLS * cellBytes);
    if (from >= to) return new Uint16Array();
    const known = this.#grid?.cellBytes(start);
    // Its list may be newer than its cells: then they are of another mapping's size, and not used.
    // Ages change by themselves: of small ranges they are told as of now.
    const isFresh = isByAge && cellBytes <= FRESH_CELL_BYTES;
    if (known !== undefined && cellBytes >= known && row.pages !== undefined && !isFresh) {
      const grid = isByAge ? this.#ageGrid! : this.#grid!;
      return grid.cells(start, cellBytes, index * TILE_CELLS, TILE_CELLS, kinds);
    }
    for (const masks of this.#masks) {
      try {
        const range = { start: from, end: to, perms: row.perms };
        const cells = new RangeCells(range, cellBytes, isByAge ? byAge(this.#ages!) : undefined);
        return this.#count(range, cells, masks).pack(kinds);
      } catch (error) {
        if (!(error instanceof UnknownCategoryError)) throw error;
      }
    }
    return undefined;
  }

  #count(range: AddressRange, cells: RangeCells, { categoryAnyofMask, returnMask }: LookMasks) {
    const query = { start: range.start, end: range.end, categoryAnyofMask, returnMask };
    for (const found of scanLegs(this.#pagemap, query, { buffer: this.#buffer })) {
      for (let at = 0; at < found.length; at++) {
        cells.add(found.start(at), found.end(at), found.categories(at));
      }
    }
    return cells;
  }

  /** For a file: with cells, in as much detail as there is room for. */
  model(atMs: number): LayoutModel {
    const rows = this.mappings;
    const grid = this.#grid;
    const ageGrid = this.#ageGrid;
    if (grid === undefined) return { atMs, mappings: rows };
    // The grid of the last look has these mappings, in this order, unless the list was read anew since.
    return {
      atMs,
      mappings: rows.map((row) => {
        const cellBytes = grid.cellBytes(row.start);
        if (cellBytes === undefined || row.pages === undefined) return row;
        const ages = ageGrid === undefined ? {} : { ages: cellsText(ageGrid, row, cellBytes) };
        return { ...row, grid: { cellBytes, cells: cellsText(grid, row, cellBytes), ...ages } };
      }),
    };
  }
}

function cellsText(grid: LayoutGrid, { start, end }: MappingModel, cellBytes: number): string {
  return wordsText(grid.cells(start, cellBytes, 0, Math.ceil((end - start) / cellBytes)));
}

/** Cells as a file has them. */
export function wordsText(words: Uint16Array): string {
  return Buffer.from(words.buffer, words.byteOffset, words.byteLength).toString('base64');
}
