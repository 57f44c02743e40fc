/** Cells of the address map, tile by tile: fetched from the server, or made from what a file holds. */
import {
  cellCategories,
  cellKind,
  cellShare,
  type MappingModel,
  packCell,
  UNTOUCHED,
} from '../../model/index.js';

import { changedPages, type MomentMapping, type Moments, pagesBetween } from './moments.js';
import { decodeWords } from './words.js';

/** Cells of a tile; the server's, too. */
export const TILE_CELLS = 2048;

/** Among the bits of kinds: cells by how many of their pages changed, in place of kinds. The class of those that have any is 0. */
export const BY_CHANGE: number = 1 << 14;

/** Among the bits of kinds: cells by how long pages were left alone, in place of kinds. */
export const BY_AGE: number = 1 << 15;

export interface TileSource {
  /**
   * The cells of one tile of the mapping at `start`, the best that there is now; undefined while there is nothing. What is
   * better comes later, and is announced.
   *
   * @param kinds bits of the kinds that count, and BY_AGE
   */
  tile(mapping: MappingModel, cellBytes: number, index: number, kinds: number): Uint16Array | undefined;
  /** The smallest cells that this mapping can have, bytes. */
  finest(mapping: MappingModel): number;
  /** Called when tiles have come. */
  onTiles: () => void;
}

interface Entry {
  cells: Uint16Array | undefined;
  generation: number;
  asked: boolean;
  used: number;
}

/** 16 MiB of cells. */
const MOST_TILES = 4096;
const TILES_A_REQUEST = 64;

/** Tiles of a live process. */
export class LiveTiles implements TileSource {
  onTiles: () => void = () => undefined;
  readonly #entries = new Map<string, Entry>();
  #wanted = new Map<string, { start: number; cellBytes: number; index: number; kinds: number }>();
  #busy = false;
  #clock = 0;
  readonly pid: number;
  readonly #generation: () => number;

  /** @param generation counts up when what was fetched before is old */
  constructor(pid: number, generation: () => number) {
    this.pid = pid;
    this.#generation = generation;
  }

  finest(): number {
    return 4096;
  }

  tile(mapping: MappingModel, cellBytes: number, index: number, kinds: number): Uint16Array | undefined {
    const key = `${kinds}:${cellBytes}:${mapping.start}:${index}`;
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { cells: undefined, generation: -1, asked: false, used: 0 };
      this.#entries.set(key, entry);
      if (this.#entries.size > MOST_TILES) this.#forget();
    }
    entry.used = ++this.#clock;
    if (entry.generation < this.#generation() && !entry.asked) {
      entry.asked = true;
      this.#wanted.set(key, { start: mapping.start, cellBytes, index, kinds });
      if (!this.#busy) {
        this.#busy = true;
        // All that one picture needs is asked for at once.
        setTimeout(() => void this.#fetch(), 0);
      }
    }
    return entry.cells;
  }

  async #fetch(): Promise<void> {
    try {
      while (this.#wanted.size > 0) {
        // One request has one cell size. The latest wish first: the reader may have gone on meanwhile.
        const all = [...this.#wanted].reverse();
        const { cellBytes, kinds } = all[0]![1];
        const batch = all
          .filter(([, tile]) => tile.cellBytes === cellBytes && tile.kinds === kinds)
          .slice(0, TILES_A_REQUEST);
        for (const [key] of batch) this.#wanted.delete(key);
        await this.#request(cellBytes, kinds, batch);
      }
    } finally {
      this.#busy = false;
    }
  }

  async #request(
    cellBytes: number,
    kinds: number,
    batch: readonly (readonly [string, { start: number; index: number }])[],
  ): Promise<void> {
    const generation = this.#generation();
    const list = batch.map(([, { start, index }]) => `${start.toString(16)}.${index.toString(16)}`);
    let words: Uint16Array | undefined;
    try {
      const answer = await fetch(
        `tiles?pid=${this.pid}&cell=${cellBytes}&kinds=${kinds & ~BY_AGE}${kinds & BY_AGE ? '&by=age' : ''}&t=${list.join(',')}`,
      );
      if (answer.ok) words = new Uint16Array(await answer.arrayBuffer());
    } catch {
      // The server is gone; the stream's end tells of it.
    }
    let at = batch.length * 2;
    batch.forEach(([key], index) => {
      const entry = this.#entries.get(key);
      const count = words === undefined ? 0 : words[index * 2]! + words[index * 2 + 1]! * 65_536;
      const there = words !== undefined && count !== 0xffffffff;
      if (entry !== undefined) {
        entry.asked = false;
        entry.generation = generation;
        if (there) entry.cells = words!.subarray(at, at + count);
      }
      if (there) at += count;
    });
    this.onTiles();
  }

  /** Drops the half that was not used for longest. */
  #forget(): void {
    const sorted = [...this.#entries].sort((a, b) => a[1].used - b[1].used);
    for (const [key] of sorted.slice(0, sorted.length / 2)) this.#entries.delete(key);
  }
}

/** What tiles ask of the store, where a file holds several snapshots. */
interface Shown {
  readonly moments: Moments | undefined;
  /** Counts up when another one is shown. */
  readonly generation: number;
}

/** Tiles made of the grids that a file holds. */
export class FileTiles implements TileSource {
  onTiles: () => void = () => undefined;
  readonly #store: Shown;
  #generation = 0;
  readonly #grids = new Map<string, Uint16Array>();
  readonly #tiles = new Map<string, Uint16Array>();

  constructor(store: Shown) {
    this.#store = store;
  }

  finest(mapping: MappingModel): number {
    const moment = this.#store.moments?.at(mapping.start);
    return moment?.cellBytes ?? mapping.grid?.cellBytes ?? mapping.end - mapping.start;
  }

  tile(mapping: MappingModel, cellBytes: number, index: number, kinds: number): Uint16Array | undefined {
    const moment = this.#store.moments?.at(mapping.start);
    if (mapping.grid === undefined && moment === undefined) return undefined;
    if (this.#generation !== this.#store.generation) {
      this.#generation = this.#store.generation;
      this.#tiles.clear();
    }
    const key = `${kinds}:${cellBytes}:${mapping.start}:${index}`;
    let cells = this.#tiles.get(key);
    if (cells === undefined) {
      cells =
        moment !== undefined && (kinds & BY_CHANGE) !== 0
          ? changedTile(moment, cellBytes, index)
          : this.#make(mapping, moment, cellBytes, index, kinds);
      if (this.#tiles.size > MOST_TILES) this.#tiles.clear();
      this.#tiles.set(key, cells);
    }
    return cells;
  }

  #grid(mapping: MappingModel, isByAge: boolean): Uint16Array {
    const gridKey = `${isByAge}:${mapping.start}`;
    let grid = this.#grids.get(gridKey);
    if (grid === undefined) {
      grid = decodeWords(isByAge ? (mapping.grid!.ages ?? '') : mapping.grid!.cells);
      this.#grids.set(gridKey, grid);
    }
    return grid;
  }

  #make(
    mapping: MappingModel,
    moment: MomentMapping | undefined,
    cellBytes: number,
    index: number,
    kinds: number,
  ): Uint16Array {
    const grid = moment?.words ?? this.#grid(mapping, (kinds & BY_AGE) !== 0);
    const all = Math.ceil((mapping.end - mapping.start) / cellBytes);
    const from = index * TILE_CELLS;
    const result = new Uint16Array(Math.max(0, Math.min(TILE_CELLS, all - from)));
    const ratio = cellBytes / (moment?.cellBytes ?? mapping.grid!.cellBytes);
    for (let cell = 0; cell < result.length; cell++) {
      // Finer than what there is: the same for all parts.
      if (ratio <= 1) result[cell] = only(grid[Math.floor((from + cell) * ratio)] ?? 0, kinds);
      else result[cell] = joined(grid, (from + cell) * ratio, (from + cell + 1) * ratio, kinds);
    }
    return result;
  }
}

/** As cells by kind are, with the share of a cell's pages that changed. */
function changedTile(moment: MomentMapping, cellBytes: number, index: number): Uint16Array {
  const { mapping } = moment;
  const all = Math.ceil((mapping.end - mapping.start) / cellBytes);
  const from = index * TILE_CELLS;
  const result = new Uint16Array(Math.max(0, Math.min(TILE_CELLS, all - from)));
  for (let at = 0; at < result.length; at++) {
    const cell = from + at;
    const pages = changedPages(moment, cell, cell + 1, cellBytes);
    const share = Math.min(15, Math.ceil((pages / pagesBetween(mapping, cell, cell + 1, cellBytes)) * 15));
    result[at] = pages > 0 ? share : UNTOUCHED << 4;
  }
  return result;
}

function only(cell: number, kinds: number): number {
  return kinds & (1 << cellKind(cell)) ? cell : UNTOUCHED << 4;
}

function joined(grid: Uint16Array, from: number, to: number, kinds: number): number {
  const pages = new Array<number>(UNTOUCHED).fill(0);
  let categories = 0;
  const end = Math.min(to, grid.length);
  for (let at = from; at < end; at++) {
    const cell = grid[at]!;
    const kind = cellKind(cell);
    categories |= cellCategories(cell);
    if (kind < UNTOUCHED && kinds & (1 << kind)) pages[kind]! += cellShare(cell);
  }
  return packCell(pages, end - from, categories);
}
