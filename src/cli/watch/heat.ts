/** What the live view shows: for each mapping its writes by address and by time. */
import { pageSize } from '../../live/index.js';
import type { Owner } from '../../owners/index.js';

/** Parts of a mapping's address range that are told apart; a strip on screen shows one or more of them per cell. */
export const BUCKETS = 256;
/** Intervals that a mapping remembers. */
export const HISTORY = 120;
/** What is left of a bucket's heat after an interval without writes: long enough for the eye, short enough to tell. */
const AFTERGLOW = 0.6;

/** A mapping with what was written in one interval. */
export interface WrittenMapping {
  readonly start: number;
  readonly end: number;
  readonly name: string;
  readonly writtenPages: number;
}

/** Everything that is known of one mapping. */
export class MappingHeat {
  readonly start: number;
  end: number;
  name: string;
  owner: Owner | undefined;
  /** Pages per second by part of the address range, with afterglow. */
  heat = new Float64Array(BUCKETS);
  /** Pages per second, by interval, newest last. */
  readonly history: number[] = [];
  /** Pages per second in the last interval. */
  rate = 0;
  totalPages = 0;
  readonly #fresh = new Float64Array(BUCKETS);

  readonly #pageSize: number;

  /** @param pageBytes how large the pages are; as this machine's by default */
  constructor(start: number, end: number, name: string, pageBytes: number = pageSize()) {
    this.#pageSize = pageBytes;
    this.start = start;
    this.end = end;
    this.name = name;
  }

  get pages(): number {
    return (this.end - this.start) / this.#pageSize;
  }

  /** Takes written pages of the current interval, bytes; what lies outside the mapping is ignored. */
  add(start: number, end: number): void {
    const from = Math.max(start, this.start) - this.start;
    const to = Math.min(end, this.end) - this.start;
    if (to <= from) return;
    const bucketBytes = (this.end - this.start) / BUCKETS;
    const first = Math.min(Math.floor(from / bucketBytes), BUCKETS - 1);
    const last = Math.min(Math.ceil(to / bucketBytes), BUCKETS);
    // A page may cover several buckets of a small mapping: each gets its share.
    for (let bucket = first; bucket < last; bucket++) {
      const low = Math.max(from, bucket * bucketBytes);
      const high = Math.min(to, (bucket + 1) * bucketBytes);
      this.#fresh[bucket]! += Math.max(0, high - low) / this.#pageSize;
    }
  }

  /** Ends the interval. */
  endInterval(writtenPages: number, seconds: number): void {
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      this.heat[bucket] = Math.max(this.#fresh[bucket]! / seconds, this.heat[bucket]! * AFTERGLOW);
      // Below a page a minute nothing is to be seen; tiny numbers are slow to compute with.
      if (this.heat[bucket]! < 0.01) this.heat[bucket] = 0;
    }
    this.#fresh.fill(0);
    this.rate = writtenPages / seconds;
    this.totalPages += writtenPages;
    this.history.push(this.rate);
    if (this.history.length > HISTORY) this.history.shift();
  }

  /** Follows a mapping that grew or shrank at its end. */
  resize(end: number): void {
    const scale = (end - this.start) / (this.end - this.start);
    const old = this.heat;
    this.heat = new Float64Array(BUCKETS);
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const target = Math.floor((bucket + 0.5) / scale);
      if (target < BUCKETS) this.heat[Math.max(target, 0)] = Math.max(this.heat[target] ?? 0, old[bucket]!);
    }
    this.end = end;
  }

  /** The heat as `cells` cells, pages per second each. */
  strip(cells: number): number[] {
    const result = new Array<number>(cells).fill(0);
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const value = this.heat[bucket]!;
      if (value === 0) continue;
      // A bucket's heat goes to the cells that it overlaps, in proportion.
      const from = (bucket * cells) / BUCKETS;
      const to = ((bucket + 1) * cells) / BUCKETS;
      for (let cell = Math.floor(from); cell < to; cell++) {
        const overlap = Math.min(to, cell + 1) - Math.max(from, cell);
        result[cell]! += (value * overlap) / (to - from);
      }
    }
    return result;
  }
}

/** All mappings of a process over time. */
export class HeatModel {
  #mappings = new Map<number, MappingHeat>();
  #sorted: MappingHeat[] = [];
  #cursor = 0;
  intervals = 0;
  totalPages = 0;
  /** Pages per second in the last interval. */
  rate = 0;
  /** Pages per second by interval, newest last. */
  readonly history: number[] = [];

  /** In address order. */
  get mappings(): readonly MappingHeat[] {
    return this.#sorted;
  }

  /** Begins an interval with the mappings that there are; those that are gone are forgotten. */
  begin(mappings: readonly WrittenMapping[], ownerOf?: (mapping: WrittenMapping) => Owner | undefined): void {
    const next = new Map<number, MappingHeat>();
    for (const mapping of mappings) {
      const { start, end, name } = mapping;
      let found = this.#mappings.get(start);
      if (found === undefined || found.name !== name) found = new MappingHeat(start, end, name);
      else if (found.end !== end) found.resize(end);
      found.owner = ownerOf?.(mapping);
      next.set(start, found);
    }
    this.#mappings = next;
    this.#sorted = [...next.values()].sort((a, b) => a.start - b.start);
    this.#cursor = 0;
  }

  /** Takes written pages, bytes, in address order within an interval. */
  add(start: number, end: number): void {
    const list = this.#sorted;
    if (this.#cursor > 0 && list[this.#cursor - 1]!.end > start) this.#cursor = 0;
    while (this.#cursor < list.length && list[this.#cursor]!.end <= start) this.#cursor++;
    for (let index = this.#cursor; index < list.length && list[index]!.start < end; index++) {
      list[index]!.add(start, end);
    }
  }

  /** Ends the interval that `begin` began. */
  end(mappings: readonly WrittenMapping[], seconds: number): void {
    let pages = 0;
    for (const { start, writtenPages } of mappings) {
      this.#mappings.get(start)?.endInterval(writtenPages, seconds);
      pages += writtenPages;
    }
    this.totalPages += pages;
    this.rate = pages / seconds;
    this.history.push(this.rate);
    if (this.history.length > HISTORY) this.history.shift();
    this.intervals++;
  }
}

/** Steps of the scale; 0 is nothing. */
export const LEVELS = 9;

/** A logarithmic scale from one page per second up to `most`. */
export class LogScale {
  readonly most: number;

  constructor(most: number) {
    this.most = Math.max(most, 2);
  }

  /** 0 for nothing, else 1 to 9. */
  level(value: number): number {
    if (value <= 0) return 0;
    const share = Math.log(Math.max(value, 1)) / Math.log(this.most);
    return Math.min(LEVELS, 1 + Math.floor(share * (LEVELS - 1) + 1e-9));
  }

  /** The least value of a level, pages per second. */
  least(level: number): number {
    return level <= 1 ? 0 : this.most ** ((level - 1) / (LEVELS - 1));
  }
}
