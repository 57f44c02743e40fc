/** What the page knows: a model, and what has come since. No drawing, no document. */
import { PAGE_SIZE } from '../../abi/index.js';
import type {
  AboutModel,
  BandModel,
  ColumnModel,
  MappingKind,
  MappingModel,
  OwnerKind,
  PageModel,
  StreamMessage,
  TrackingModel,
} from '../../model/index.js';
import { PAGE_KINDS } from '../../query/internal.js';
import { Moments } from './moments.js';

/** As many columns as the server keeps. */
const MOST_COLUMNS = 600;

/** A band and its writes. */
export interface Band {
  model: BandModel;
  /** By column number: pairs (bucket, pages). */
  readonly cells: Map<number, readonly number[]>;
  /** By column number: pages of all buckets. */
  readonly pages: Map<number, number>;
  total: number;
}

/** A column and its number, which it keeps. */
export interface Column extends ColumnModel {
  readonly number: number;
  readonly pages: number;
}

/** A kind of owner, or none. */
export type OwnerKey = OwnerKind | typeof NO_OWNER;
export const NO_OWNER = '';

export function ownerKey({ ownerKind }: { ownerKind?: OwnerKind | undefined }): OwnerKey {
  return ownerKind ?? NO_OWNER;
}

/** What the reader has chosen to see. Empty sets are no restriction. */
export interface Filter {
  readonly mappingKinds: ReadonlySet<MappingKind>;
  /** `NO_OWNER` among them stands for memory of which nothing is known. */
  readonly ownerKinds: ReadonlySet<OwnerKey>;
  /** Indices into PAGE_KINDS. */
  readonly pageKinds: ReadonlySet<number>;
  readonly text: string;
}

export const NO_FILTER: Filter = {
  mappingKinds: new Set(),
  ownerKinds: new Set(),
  pageKinds: new Set(),
  text: '',
};

export function isFiltered({ mappingKinds, ownerKinds, pageKinds, text }: Filter): boolean {
  return mappingKinds.size + ownerKinds.size + pageKinds.size + text.length > 0;
}

type Filtered = Pick<MappingModel, 'name' | 'owner' | 'ownerKind' | 'kind'>;

export function passes(filter: Filter, mapping: Filtered): boolean {
  const { name, owner = '', kind } = mapping;
  const isWanted = (text: string) => text.toLowerCase().includes(filter.text.toLowerCase());
  return (
    (filter.mappingKinds.size === 0 || filter.mappingKinds.has(kind)) &&
    (filter.ownerKinds.size === 0 || filter.ownerKinds.has(ownerKey(mapping))) &&
    (filter.text === '' || isWanted(name || '[anon]') || isWanted(owner))
  );
}

export interface TimeRange {
  readonly fromMs: number;
  readonly toMs: number;
}

export type StoreEvent = 'model' | 'layout' | 'heat' | 'tracking' | 'filter' | 'selection';

export class Store {
  about: AboutModel | undefined;
  tracking: TrackingModel = { state: 'starting' };
  notes: readonly string[] = [];
  windows: readonly number[] = [];
  generation = 0;
  ownShare: number | undefined;
  targetShare: number | undefined;
  filter: Filter = NO_FILTER;
  /** Of a report of snapshots: `mappings` are those of the one that is shown. */
  moments: Moments | undefined;
  /** The brushed time; undefined for all that is shown. */
  selection: TimeRange | undefined;
  columns: Column[] = [];
  readonly bands = new Map<number, Band>();
  #mappings = new Map<number, MappingModel>();
  #sorted: MappingModel[] | undefined;
  #nextColumn = 0;
  readonly #listeners: [ReadonlySet<StoreEvent>, () => void][] = [];

  on(events: readonly StoreEvent[], listener: () => void): void {
    this.#listeners.push([new Set(events), listener]);
  }

  #tell(event: StoreEvent): void {
    for (const [events, listener] of this.#listeners) if (events.has(event)) listener();
  }

  /** In address order. */
  get mappings(): readonly MappingModel[] {
    this.#sorted ??= [...this.#mappings.values()].sort((a, b) => a.start - b.start);
    return this.#sorted;
  }

  mappingAt(start: number): MappingModel | undefined {
    return this.#mappings.get(start);
  }

  /** A band with its owner: that of the mapping that begins where it does. */
  owned(band: BandModel): BandModel & Pick<MappingModel, 'owner' | 'ownerKind'> {
    const { owner, ownerKind } = this.#mappings.get(band.start) ?? {};
    return { ...band, owner, ownerKind };
  }

  setFilter(filter: Partial<Filter>): void {
    this.filter = { ...this.filter, ...filter };
    this.#tell('filter');
  }

  toggleMappingKind(kind: MappingKind): void {
    const mappingKinds = new Set(this.filter.mappingKinds);
    if (!mappingKinds.delete(kind)) mappingKinds.add(kind);
    this.setFilter({ mappingKinds });
  }

  toggleOwnerKind(key: OwnerKey): void {
    const ownerKinds = new Set(this.filter.ownerKinds);
    if (!ownerKinds.delete(key)) ownerKinds.add(key);
    this.setFilter({ ownerKinds });
  }

  togglePageKind(kind: number): void {
    const pageKinds = new Set(this.filter.pageKinds);
    if (!pageKinds.delete(kind)) pageKinds.add(kind);
    this.setFilter({ pageKinds });
  }

  /** Shows another snapshot, by its place in the report. */
  showMoment(index: number): void {
    if (this.moments === undefined) return;
    this.moments.go(index);
    this.#takeMoment(this.moments);
    this.#tell('layout');
  }

  #takeMoment({ mappings }: Moments): void {
    this.#mappings = new Map([...mappings].map((mapping) => [mapping.start, mapping]));
    this.#sorted = undefined;
    this.generation++;
  }

  select(selection: TimeRange | undefined): void {
    this.selection = selection;
    this.#tell('selection');
  }

  take(message: StreamMessage): void {
    switch (message.type) {
      case 'model':
        this.load(message.model);
        break;
      case 'layout':
        for (const start of message.gone) this.#mappings.delete(start);
        for (const mapping of message.changed) this.#mappings.set(mapping.start, mapping);
        this.#sorted = undefined;
        this.generation = message.generation;
        this.#tell('layout');
        break;
      case 'column': {
        for (const band of message.bands) this.#takeBand(band);
        const cells = new Map<number, readonly number[]>();
        for (const [id, ...pairs] of message.cells) cells.set(id!, pairs);
        this.#addColumn(message.column, cells);
        while (this.columns.length > MOST_COLUMNS) this.#dropColumn();
        this.ownShare = message.ownShare;
        this.targetShare = message.targetShare;
        this.#tell('heat');
        break;
      }
      case 'tracking':
        this.tracking = message.tracking;
        this.#tell('tracking');
        break;
    }
  }

  /** Begins anew with a whole model. */
  load(model: PageModel): void {
    this.about = model.about;
    this.tracking = model.tracking;
    this.notes = model.notes;
    this.#mappings = new Map((model.layout?.mappings ?? []).map((mapping) => [mapping.start, mapping]));
    this.#sorted = undefined;
    this.generation++;
    const { layout, moments = [] } = model;
    this.moments = layout === null || moments.length === 0 ? undefined : new Moments(layout, moments);
    if (this.moments !== undefined) this.#takeMoment(this.moments);
    this.columns = [];
    this.bands.clear();
    this.selection = undefined;
    const heat = model.heat;
    this.windows = heat?.windows ?? [];
    const byColumn = (heat?.columns ?? []).map(() => new Map<number, number[]>());
    for (const { cells, ...band } of heat?.bands ?? []) {
      this.#takeBand(band);
      for (let at = 0; at < cells.length; at += 3) {
        const column = byColumn[cells[at]!]!;
        const pairs = column.get(band.id);
        if (pairs === undefined) column.set(band.id, [cells[at + 1]!, cells[at + 2]!]);
        else pairs.push(cells[at + 1]!, cells[at + 2]!);
      }
    }
    heat?.columns.forEach((column, index) => {
      this.#addColumn(column, byColumn[index]!);
    });
    this.#tell('model');
    this.#tell('layout');
    this.#tell('heat');
    this.#tell('tracking');
  }

  #takeBand(model: BandModel): void {
    const band = this.bands.get(model.id);
    if (band === undefined) {
      this.bands.set(model.id, { model, cells: new Map(), pages: new Map(), total: 0 });
      return;
    }
    const ratio = model.bucketBytes / band.model.bucketBytes;
    if (ratio > 1) {
      for (const [column, pairs] of band.cells) band.cells.set(column, coarser(pairs, ratio));
    }
    band.model = model;
  }

  #addColumn(model: ColumnModel, cells: ReadonlyMap<number, readonly number[]>): void {
    const number = this.#nextColumn++;
    let all = 0;
    for (const [id, pairs] of cells) {
      const band = this.bands.get(id);
      if (band === undefined) continue;
      let pages = 0;
      for (let at = 1; at < pairs.length; at += 2) pages += pairs[at]!;
      band.cells.set(number, pairs);
      band.pages.set(number, pages);
      band.total += pages;
      all += pages;
    }
    this.columns.push({ ...model, number, pages: all });
  }

  #dropColumn(): void {
    const { number } = this.columns.shift()!;
    for (const [id, band] of this.bands) {
      band.cells.delete(number);
      band.pages.delete(number);
      if (band.model.gone && band.cells.size === 0) this.bands.delete(id);
    }
  }

  /** The time that the columns cover. */
  get timeRange(): TimeRange {
    return { fromMs: this.columns[0]?.startMs ?? 0, toMs: this.columns.at(-1)?.endMs ?? 0 };
  }

  /** The columns that lie in a range for the most part. */
  columnsIn({ fromMs, toMs }: TimeRange): Column[] {
    return this.columns.filter(({ startMs, endMs }) => {
      const middle = (startMs + endMs) / 2;
      return middle >= fromMs && middle < toMs;
    });
  }
}

/** Buckets `ratio` times as large. */
function coarser(pairs: readonly number[], ratio: number): number[] {
  const result: number[] = [];
  for (let at = 0; at < pairs.length; at += 2) {
    const bucket = Math.floor(pairs[at]! / ratio);
    if (result.length > 0 && result[result.length - 2] === bucket)
      result[result.length - 1]! += pairs[at + 1]!;
    else result.push(bucket, pairs[at + 1]!);
  }
  return result;
}

/** Pages by PAGE_KINDS, added up; what cannot be told adds nothing. */
export function sumPages(mappings: readonly MappingModel[]): number[] {
  const totals = PAGE_KINDS.map(() => 0);
  for (const { pages } of mappings) {
    if (pages === undefined) continue;
    for (let kind = 0; kind < totals.length; kind++) totals[kind]! += pages[kind] ?? 0;
  }
  return totals;
}

/** An address range and how much was written there. */
export interface HotRange {
  readonly start: number;
  readonly end: number;
  readonly band: Band;
  readonly pages: number;
}

/**
 * The ranges that were written most in some columns: runs of neighbouring buckets that have at least a quarter of what their
 * hottest one has.
 */
export function hottestRanges(store: Store, columns: readonly Column[], most: number): HotRange[] {
  const ranges: HotRange[] = [];
  for (const band of store.bands.values()) {
    if (!passes(store.filter, store.owned(band.model))) continue;
    const buckets = new Map<number, number>();
    for (const { number } of columns) {
      const pairs = band.cells.get(number);
      if (pairs === undefined) continue;
      for (let at = 0; at < pairs.length; at += 2) {
        buckets.set(pairs[at]!, (buckets.get(pairs[at]!) ?? 0) + pairs[at + 1]!);
      }
    }
    const { origin, bucketBytes } = band.model;
    const sorted = [...buckets].sort((a, b) => a[0] - b[0]);
    for (let at = 0; at < sorted.length; ) {
      let peak = sorted[at]![1];
      let pages = peak;
      let next = at + 1;
      for (; next < sorted.length && sorted[next]![0] === sorted[next - 1]![0] + 1; next++) {
        const value = sorted[next]![1];
        if (value * 4 < peak || value > peak * 4) break;
        peak = Math.max(peak, value);
        pages += value;
      }
      const start = Math.max(origin + sorted[at]![0] * bucketBytes, band.model.start);
      const end = Math.min(origin + (sorted[next - 1]![0] + 1) * bucketBytes, band.model.end);
      ranges.push({ start, end, band, pages });
      at = next;
    }
  }
  return ranges.sort((a, b) => b.pages - a.pages || a.start - b.start).slice(0, most);
}

/** Seconds that columns cover. */
export function secondsOf(columns: readonly ColumnModel[]): number {
  return columns.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0) / 1000;
}

export function bytesPerSecond(pages: number, columns: readonly ColumnModel[]): number {
  const seconds = secondsOf(columns);
  return seconds === 0 ? 0 : (pages * PAGE_SIZE) / seconds;
}
