/** Writes by address and time: what the server remembers, and how it is made smaller. */
import { PAGE_SIZE } from '../abi/index.js';
import {
  type BandHeat,
  type BandModel,
  type ColumnModel,
  type HeatModel,
  type MappingKind,
  mappingKind,
} from '../model/index.js';
import { RecentWrites } from '../record/internal.js';
import type { MappingWrites } from '../track/index.js';

/** Parts of a mapping's address range that are told apart. */
const MOST_BUCKETS = 256;

/** Windows of the write working set, milliseconds. */
export const WINDOWS_MS: readonly number[] = [1000, 10_000, 60_000];

/** So many mappings are told the working set of, in each column: those that have the largest in the longest window. */
const MOST_SETS = 50;

/** A mapping through time. */
class Band {
  readonly id: number;
  readonly name: string;
  readonly perms: string;
  readonly kind: MappingKind;
  readonly origin: number;
  start: number;
  end: number;
  /** As it is now; `start` and `end` hold what it ever was. */
  nowStart: number;
  nowEnd: number;
  bucketBytes: number;
  gone = false;
  /** Pages by bucket, of the current column. */
  readonly fresh = new Map<number, number>();

  constructor(id: number, { start, end, name }: MappingWrites, perms: string) {
    this.id = id;
    this.name = name;
    this.perms = perms;
    this.kind = mappingKind(name, perms);
    this.origin = start;
    this.start = start;
    this.end = end;
    this.nowStart = start;
    this.nowEnd = end;
    this.bucketBytes = PAGE_SIZE;
    this.fit();
  }

  /** Makes buckets large enough; before anything of a column is added. */
  fit(): void {
    while ((this.end - this.start) / this.bucketBytes > MOST_BUCKETS) this.bucketBytes *= 2;
  }

  add(start: number, end: number): void {
    const { origin, bucketBytes, fresh } = this;
    for (let at = start; at < end; ) {
      const bucket = Math.floor((at - origin) / bucketBytes);
      const next = Math.min(origin + (bucket + 1) * bucketBytes, end);
      fresh.set(bucket, (fresh.get(bucket) ?? 0) + (next - at) / PAGE_SIZE);
      at = next;
    }
  }

  model(): BandModel {
    const { id, start, end, perms, name, kind, origin, bucketBytes, gone } = this;
    return { id, start, end, perms, name, kind, origin, bucketBytes, ...(gone ? { gone } : {}) };
  }
}

/** A band's writes in one column. */
interface Written {
  readonly band: Band;
  readonly bucketBytes: number;
  /** Pairs (bucket, pages), in order of buckets. */
  readonly pairs: readonly number[];
}

interface Column {
  readonly column: ColumnModel;
  readonly written: readonly Written[];
}

/** What one interval brought. */
export interface HeatUpdate {
  readonly column: ColumnModel;
  readonly bands: readonly BandModel[];
  readonly cells: readonly (readonly number[])[];
}

export interface HeatLimits {
  readonly columns: number;
  /** Numbers in all cells together. */
  readonly numbers: number;
  /** What becomes of the oldest columns when there are too many: they are dropped, or all are joined in pairs. */
  readonly full: 'drop' | 'join';
}

/** All that was written, as far back as there is room. */
export class HeatStore {
  readonly #limits: HeatLimits;
  readonly #recent = new RecentWrites(WINDOWS_MS);
  readonly #columns: Column[] = [];
  #bands: Band[] = [];
  /** Bands that are gone but still in a column. */
  readonly #gone = new Set<Band>();
  #changed = new Set<Band>();
  #numbers = 0;
  #nextId = 1;
  #runs: number[] = [];

  constructor(limits: HeatLimits) {
    this.#limits = limits;
  }

  /** Takes a run of written pages; in address order within an interval. */
  readonly add = (start: number, end: number): void => {
    this.#runs.push(start, end);
  };

  /**
   * Ends an interval.
   *
   * @param mappings those that are tracked, in address order
   * @param permsOf permissions of the mapping at an address
   */
  endInterval(
    mappings: readonly MappingWrites[],
    startMs: number,
    endMs: number,
    permsOf: (start: number) => string,
  ): HeatUpdate {
    this.#follow(mappings, permsOf);
    const runs = this.#runs;
    this.#runs = [];
    let index = 0;
    for (let at = 0; at < runs.length; at += 2) {
      const end = runs[at + 1]!;
      let start = runs[at]!;
      while (start < end) {
        while (index < this.#bands.length && this.#bands[index]!.nowEnd <= start) index++;
        const band = this.#bands[index];
        if (band === undefined) {
          this.#recent.add(start, end);
          break;
        }
        const to = Math.min(end, band.nowEnd);
        this.#recent.add(start, to, band.id);
        band.add(start, to);
        start = to;
      }
    }
    const workingSet = this.#recent.endColumn(startMs, endMs);
    const sets = [...this.#recent.byOwner()].map(([id, sizes]) => [id, ...sizes]);
    const column: ColumnModel = {
      startMs: round(startMs),
      endMs: round(endMs),
      workingSet,
      byBand: largestSets(sets),
    };
    const written: Written[] = [];
    for (const band of this.#bands) {
      if (band.fresh.size === 0) continue;
      const pairs = [...band.fresh].sort((a, b) => a[0] - b[0]).flat();
      band.fresh.clear();
      written.push({ band, bucketBytes: band.bucketBytes, pairs });
      this.#numbers += pairs.length;
    }
    this.#columns.push({ column, written });
    this.#bound();
    const bands = [...this.#changed].map((band) => band.model());
    this.#changed = new Set();
    return { column, bands, cells: written.map(({ band, pairs }) => [band.id, ...pairs]) };
  }

  /** Finds each mapping's band again. */
  #follow(mappings: readonly MappingWrites[], permsOf: (start: number) => string): void {
    const old = new Map<string, Band[]>();
    for (const band of this.#bands) {
      const same = old.get(band.name);
      if (same === undefined) old.set(band.name, [band]);
      else same.push(band);
    }
    const next = mappings.map((mapping) => {
      const same = old.get(mapping.name);
      const at = same?.findIndex((band) => band.nowStart < mapping.end && mapping.start < band.nowEnd) ?? -1;
      const [band] = at < 0 ? [] : same!.splice(at, 1);
      if (band === undefined) {
        const fresh = new Band(this.#nextId++, mapping, permsOf(mapping.start));
        this.#changed.add(fresh);
        return fresh;
      }
      band.nowStart = mapping.start;
      band.nowEnd = mapping.end;
      if (mapping.start < band.start || mapping.end > band.end) {
        band.start = Math.min(band.start, mapping.start);
        band.end = Math.max(band.end, mapping.end);
        band.fit();
        this.#changed.add(band);
      }
      return band;
    });
    for (const bands of old.values()) {
      for (const band of bands) {
        band.gone = true;
        this.#changed.add(band);
        this.#gone.add(band);
      }
    }
    this.#bands = next;
  }

  #bound(): void {
    const { columns, numbers, full } = this.#limits;
    while (this.#columns.length > columns || (this.#numbers > numbers && this.#columns.length > 1)) {
      if (full === 'join') this.#joinPairs();
      else for (const { pairs } of this.#columns.shift()!.written) this.#numbers -= pairs.length;
    }
    if (this.#gone.size > 0) {
      const held = new Set(this.#columns.flatMap(({ written }) => written.map(({ band }) => band)));
      for (const band of this.#gone) if (!held.has(band)) this.#gone.delete(band);
    }
  }

  #joinPairs(): void {
    const joined: Column[] = [];
    this.#numbers = 0;
    for (let index = 0; index < this.#columns.length; index += 2) {
      const column = joinColumns(this.#columns.slice(index, index + 2));
      for (const { pairs } of column.written) this.#numbers += pairs.length;
      joined.push(column);
    }
    this.#columns.splice(0, this.#columns.length, ...joined);
  }

  /** All of it, at the bucket sizes of now. */
  model(): HeatModel {
    const cells = new Map<Band, number[]>();
    this.#columns.forEach(({ written }, column) => {
      for (const { band, bucketBytes, pairs } of written) {
        const list = cells.get(band) ?? [];
        cells.set(band, list);
        forEachBucket(pairs, band.bucketBytes / bucketBytes, (bucket, pages) =>
          list.push(column, bucket, pages),
        );
      }
    });
    const bands: BandHeat[] = [...this.#bands, ...this.#gone]
      .map((band) => ({ ...band.model(), cells: cells.get(band) ?? [] }))
      .sort((a, b) => a.start - b.start || a.id - b.id);
    return { columns: this.#columns.map(({ column }) => column), bands, windows: WINDOWS_MS };
  }
}

/** The largest ones in the longest window, largest first. */
function largestSets(sets: readonly (readonly number[])[]): (readonly number[])[] {
  return [...sets].sort((a, b) => b.at(-1)! - a.at(-1)! || a[0]! - b[0]!).slice(0, MOST_SETS);
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10;
}

/** Buckets `ratio` times as large; `visit` gets each once, in order. */
function forEachBucket(
  pairs: readonly number[],
  ratio: number,
  visit: (bucket: number, pages: number) => void,
): void {
  let bucket = 0;
  let pages = 0;
  for (let at = 0; at < pairs.length; at += 2) {
    const next = Math.floor(pairs[at]! / ratio);
    if (pages > 0 && next !== bucket) {
      visit(bucket, pages);
      pages = 0;
    }
    bucket = next;
    pages += pairs[at + 1]!;
  }
  if (pages > 0) visit(bucket, pages);
}

/** Neighbouring columns as one. */
function joinColumns(columns: readonly Column[]): Column {
  const first = columns[0]!;
  if (columns.length === 1) return first;
  const byBand = new Map<Band, Written[]>();
  for (const { written } of columns) {
    for (const part of written) byBand.set(part.band, [...(byBand.get(part.band) ?? []), part]);
  }
  const written = [...byBand].map(([band, parts]) => {
    const bucketBytes = Math.max(...parts.map((part) => part.bucketBytes));
    const buckets = new Map<number, number>();
    for (const part of parts) {
      forEachBucket(part.pairs, bucketBytes / part.bucketBytes, (bucket, pages) =>
        buckets.set(bucket, (buckets.get(bucket) ?? 0) + pages),
      );
    }
    return { band, bucketBytes, pairs: [...buckets].sort((x, y) => x[0] - y[0]).flat() };
  });
  const sets = new Map<number, readonly number[]>();
  for (const set of columns.flatMap(({ column }) => column.byBand ?? [])) {
    const before = sets.get(set[0]!);
    sets.set(
      set[0]!,
      set.map((value, index) => Math.max(value, before?.[index] ?? 0)),
    );
  }
  const workingSets = columns.map(({ column }) => column.workingSet);
  const last = columns[columns.length - 1]!.column;
  const column: ColumnModel = {
    startMs: first.column.startMs,
    endMs: last.endMs,
    intervals: columns.reduce((sum, { column: { intervals } }) => sum + (intervals ?? 1), 0),
    // The largest of each: what a window needed at some time in the column.
    workingSet: WINDOWS_MS.map((_, window) =>
      Math.max(...workingSets.map((workingSet) => workingSet?.[window] ?? 0)),
    ),
    byBand: largestSets([...sets.values()]),
  };
  return { column, written };
}
