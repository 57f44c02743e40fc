/** Cells of the address map, tile by tile: fetched from the server, or made from what a file holds. */
import {
  cellCategories,
  cellKind,
  cellShare,
  type MappingModel,
  packCell,
  UNTOUCHED,
} from '../../model/index.js';

/** Cells of a tile; the server's, too. */
export const TILE_CELLS = 2048;

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

function decode(base64: string): Uint16Array {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return new Uint16Array(bytes.buffer, 0, bytes.length >> 1);
}

/** Tiles made of the grids that a file holds. */
export class FileTiles implements TileSource {
  onTiles: () => void = () => undefined;
  readonly #grids = new Map<string, Uint16Array>();
  readonly #tiles = new Map<string, Uint16Array>();

  finest(mapping: MappingModel): number {
    return mapping.grid?.cellBytes ?? mapping.end - mapping.start;
  }

  tile(mapping: MappingModel, cellBytes: number, index: number, kinds: number): Uint16Array | undefined {
    if (mapping.grid === undefined) return undefined;
    const key = `${kinds}:${cellBytes}:${mapping.start}:${index}`;
    let cells = this.#tiles.get(key);
    if (cells === undefined) {
      cells = this.#make(mapping, cellBytes, index, kinds);
      if (this.#tiles.size > MOST_TILES) this.#tiles.clear();
      this.#tiles.set(key, cells);
    }
    return cells;
  }

  #make(mapping: MappingModel, cellBytes: number, index: number, kinds: number): Uint16Array {
    const isByAge = (kinds & BY_AGE) !== 0;
    const gridKey = `${isByAge}:${mapping.start}`;
    let grid = this.#grids.get(gridKey);
    if (grid === undefined) {
      grid = decode(isByAge ? (mapping.grid!.ages ?? '') : mapping.grid!.cells);
      this.#grids.set(gridKey, grid);
    }
    const all = Math.ceil((mapping.end - mapping.start) / cellBytes);
    const from = index * TILE_CELLS;
    const result = new Uint16Array(Math.max(0, Math.min(TILE_CELLS, all - from)));
    const ratio = cellBytes / mapping.grid!.cellBytes;
    for (let cell = 0; cell < result.length; cell++) {
      // Finer than what there is: the same for all parts.
      if (ratio <= 1) result[cell] = only(grid[Math.floor((from + cell) * ratio)] ?? 0, kinds);
      else result[cell] = joined(grid, (from + cell) * ratio, (from + cell + 1) * ratio, kinds);
    }
    return result;
  }
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
