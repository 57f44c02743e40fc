/** A recording of any length as a model of bounded size, for the report's page. */
import { PAGE_SIZE } from '../abi/index.js';
import {
  type BandHeat,
  type ColumnModel,
  type HeatModel,
  kindsText,
  type LayoutModel,
  type MappingModel,
  MODEL_SCHEMA,
  mappingKind,
  OWNER_KINDS,
  type OwnerKind,
  type PageModel,
  REPORT_LIMITS,
  SUBJECT_TITLES,
  unknownKinds,
} from '../model/index.js';
import { ownerSaysMore } from '../owners/internal.js';
import { humanBytes } from '../query/internal.js';
import type { Recording } from './read.js';
import { type ColumnName, PART_ROWS } from './schema.js';

export type AggregateLimits = { readonly [limit in keyof typeof REPORT_LIMITS]: number };

export interface AggregateOptions {
  readonly limits?: AggregateLimits | undefined;
  /** Called with the number of rows that were read so far, and of all rows. */
  readonly progress?: ((done: number, all: number) => void) | undefined;
}

/** While reading, cells may be so many times what is allowed in the end, before buckets are joined. */
const SLACK = 2;

/** Mappings that are told apart while reading: a process that maps anew all the time has any number of them. */
const MOST_CANDIDATES = 50_000;

const NEARLY_ALL = 0.9;

/** Layouts within so long before the last one are looked through for the cells of the address map. */
const CELLS_BACK_MS = 1_300_000;

/** The intervals, joined to columns. */
class Columns {
  readonly models: ColumnModel[] = [];
  readonly joined: number;
  readonly #ends: number[] = [];

  constructor(intervals: Intervals, most: number) {
    const { elapsed, lengths, workingSets } = intervals;
    this.joined = Math.max(1, Math.ceil(elapsed.length / most));
    for (let first = 0; first < elapsed.length; first += this.joined) {
      const last = Math.min(first + this.joined, elapsed.length) - 1;
      const workingSet = workingSets.map((values) => values[last]!);
      this.models.push({
        startMs: Math.max(0, elapsed[first]! - lengths[first]!),
        endMs: elapsed[last]!,
        ...(last > first ? { intervals: last - first + 1 } : {}),
        ...(workingSet.some(Number.isNaN) ? {} : { workingSet }),
      });
      this.#ends.push(elapsed[last]!);
    }
  }

  /** The column that holds a time. Asked for in time order for the most part. */
  at(elapsedMs: number): number {
    let low = 0;
    let high = this.#ends.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ends[middle]! < elapsedMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

interface Intervals {
  readonly elapsed: number[];
  readonly lengths: number[];
  readonly workingSets: number[][];
  late: number;
}

async function readIntervals(recording: Recording): Promise<Intervals> {
  const sets: ColumnName[] = ['working_set_10s_pages', 'working_set_1m_pages', 'working_set_10m_pages'];
  const found: Intervals = { elapsed: [], lengths: [], workingSets: sets.map(() => []), late: 0 };
  for await (const group of recording.groups('interval', ['elapsed_ms', 'interval_ms', 'late', ...sets])) {
    const late = await group.values('late');
    const append = async (column: ColumnName, to: number[]) => {
      for (const value of await group.numbers(column)) to.push(value);
    };
    await append('elapsed_ms', found.elapsed);
    await append('interval_ms', found.lengths);
    for (const [index, set] of sets.entries()) await append(set, found.workingSets[index]!);
    for (let row = 0; row < group.rows; row++) if (late[row] === true) found.late++;
  }
  return found;
}

/** A mapping through time. */
interface Band {
  readonly name: string;
  start: number;
  end: number;
  writtenPages: number;
  /** Written pages by the size of the buckets that they were recorded in, bytes. */
  readonly bySize: Map<number, number>;
}

/** By which rows of one mapping are known as such: heap and stack may move their start. */
function bandKey(name: string, start: number): string {
  return name === '[heap]' || name === '[stack]' ? name : `${start} ${name}`;
}

/** The writes to all mappings that are not told apart. */
const REST = '(all other mappings)';

function newBand(name: string, start: number, end: number): Band {
  return { name, start, end, writtenPages: 0, bySize: new Map() };
}

/** Adds a band to that of the rest. */
function join(rest: Band | undefined, band: Band): Band {
  const joined = rest ?? newBand(REST, band.start, band.end);
  joined.start = Math.min(joined.start, band.start);
  joined.end = Math.max(joined.end, band.end);
  joined.writtenPages += band.writtenPages;
  return joined;
}

interface Bands {
  /** By key, the most written first. */
  readonly kept: readonly (readonly [string, Band])[];
  readonly rest: Band | undefined;
  /** Of both. */
  readonly count: number;
}

/** First pass over the writes: which mappings there are, and how much each is written. */
async function readBands(recording: Recording, most: number, step: (rows: number) => void): Promise<Bands> {
  const bands = new Map<string, Band>();
  let rest: Band | undefined;
  let dropped = 0;
  const [part, pagesColumn] = PART_ROWS[recording.info.subject ?? 'writes'];
  const columns = ['start_address', 'size_bytes', 'name', 'bucket_bytes', pagesColumn] as const;
  for await (const group of recording.groups(part, columns)) {
    const starts = await group.numbers('start_address');
    const sizes = await group.numbers('size_bytes');
    const names = await group.values('name');
    const buckets = await group.numbers('bucket_bytes');
    const written = await group.numbers(pagesColumn);
    let band: Band | undefined;
    for (let row = 0; row < group.rows; row++) {
      const start = starts[row]!;
      const end = start + sizes[row]!;
      // The rows of a mapping's buckets follow each other.
      if (band === undefined || row === 0 || start !== starts[row - 1] || names[row] !== names[row - 1]) {
        const name = String(names[row] ?? '');
        const key = bandKey(name, start);
        band = bands.get(key);
        if (band === undefined) {
          band = newBand(name, start, end);
          bands.set(key, band);
        }
      }
      band.start = Math.min(band.start, start);
      band.end = Math.max(band.end, end);
      band.writtenPages += written[row]!;
      band.bySize.set(buckets[row]!, (band.bySize.get(buckets[row]!) ?? 0) + written[row]!);
    }
    if (bands.size > MOST_CANDIDATES) {
      const least = [...bands].sort(([, a], [, b]) => a.writtenPages - b.writtenPages);
      for (const [key, gone] of least.slice(0, bands.size - MOST_CANDIDATES / 2)) {
        bands.delete(key);
        rest = join(rest, gone);
        dropped++;
      }
    }
    step(group.rows);
  }
  const sorted = [...bands].sort(([, a], [, b]) => b.writtenPages - a.writtenPages);
  // The rest, if there is one, is a band, too.
  const own = rest === undefined && sorted.length <= most ? most : most - 1;
  for (const [, band] of sorted.slice(own)) rest = join(rest, band);
  return { kept: sorted.slice(0, own), rest, count: sorted.length + dropped };
}

/**
 * The size of the parts in which nearly all of a band's writes were recorded. Finer cells would be invented. A few
 * coarser rows, from intervals with very many writes, do not matter.
 */
function recordedSize({ bySize, writtenPages }: Band): number {
  let pages = 0;
  for (const [size, own] of [...bySize].sort(([a], [b]) => a - b)) {
    pages += own;
    if (pages >= writtenPages * NEARLY_ALL) return size;
  }
  return 0;
}

/** A band while its cells are collected. */
class Heat {
  readonly band: Band;
  bucketBytes: number;
  /** Pages by column * 2^20 + bucket. */
  cells = new Map<number, number>();

  constructor(band: Band, mostBuckets: number) {
    this.band = band;
    const least = (band.end - band.start) / mostBuckets;
    const fits = PAGE_SIZE * 2 ** Math.ceil(Math.log2(Math.max(1, least / PAGE_SIZE)));
    this.bucketBytes = Math.max(fits, recordedSize(band));
  }

  /** Pages that were written somewhere in a larger part; where is not known. */
  get spreadPages(): number {
    let pages = 0;
    for (const [size, own] of this.band.bySize) if (size > this.bucketBytes) pages += own;
    return pages;
  }

  add(column: number, offset: number, bytes: number, pages: number): void {
    const first = Math.floor(offset / this.bucketBytes);
    const last = Math.max(first, Math.ceil((offset + bytes) / this.bucketBytes) - 1);
    if (first === last || bytes <= this.bucketBytes) {
      this.#put(column, first, pages);
      return;
    }
    // Recorded more coarsely than it is shown: each bucket gets its share.
    const buckets = last - first + 1;
    for (let index = 0; index < buckets; index++) {
      const share = Math.floor((pages * (index + 1)) / buckets) - Math.floor((pages * index) / buckets);
      if (share > 0) this.#put(column, first + index, share);
    }
  }

  #put(column: number, bucket: number, pages: number): void {
    const key = column * 2 ** 20 + bucket;
    this.cells.set(key, (this.cells.get(key) ?? 0) + pages);
  }

  /** Joins buckets two by two. Returns whether there was anything to join. */
  coarsen(): boolean {
    if (this.bucketBytes >= this.band.end - this.band.start) return false;
    this.bucketBytes *= 2;
    const before = this.cells;
    this.cells = new Map();
    for (const [key, pages] of before)
      this.#put(Math.floor(key / 2 ** 20), Math.floor((key % 2 ** 20) / 2), pages);
    return true;
  }

  /** As triples, in order. */
  triples(): number[] {
    const sorted = [...this.cells].sort(([a], [b]) => a - b);
    return sorted.flatMap(([key, pages]) => [Math.floor(key / 2 ** 20), key % 2 ** 20, pages]);
  }
}

function cellsOf(heats: Iterable<Heat>): number {
  let cells = 0;
  for (const { cells: own } of heats) cells += own.size;
  return cells;
}

/** Joins buckets until the cells fit: first of those bands that have the most. Returns whether it had to. */
function keepWithin(heats: readonly Heat[], most: number): boolean {
  let cells = cellsOf(heats);
  if (cells <= most) return false;
  let open = [...heats];
  while (cells > most && open.length > 0) {
    open.sort((a, b) => b.cells.size - a.cells.size);
    // The upper quarter at a time.
    const part = open.slice(0, Math.max(1, Math.ceil(open.length / 4)));
    const done = new Set(part.filter((heat) => !heat.coarsen()));
    open = open.filter((heat) => !done.has(heat));
    cells = cellsOf(heats);
  }
  return true;
}

async function readHeat(
  recording: Recording,
  columns: Columns,
  heats: ReadonlyMap<string, Heat>,
  rest: Heat | undefined,
  limits: AggregateLimits,
  step: (rows: number) => void,
): Promise<boolean> {
  const list = [...heats.values()];
  // The rest has a cell in each column.
  const most = limits.heatCells - (rest === undefined ? 0 : columns.models.length);
  let coarser = false;
  const [part, pagesColumn] = PART_ROWS[recording.info.subject ?? 'writes'];
  const wanted = [
    'elapsed_ms',
    'start_address',
    'name',
    'bucket_offset',
    'bucket_bytes',
    pagesColumn,
  ] as const;
  for await (const group of recording.groups(part, wanted)) {
    const elapsed = await group.numbers('elapsed_ms');
    const starts = await group.numbers('start_address');
    const names = await group.values('name');
    const offsets = await group.numbers('bucket_offset');
    const buckets = await group.numbers('bucket_bytes');
    const written = await group.numbers(pagesColumn);
    let column = 0;
    let heat: Heat | undefined;
    for (let row = 0; row < group.rows; row++) {
      const start = starts[row]!;
      if (row === 0 || elapsed[row] !== elapsed[row - 1]) column = columns.at(elapsed[row]!);
      if (row === 0 || start !== starts[row - 1] || names[row] !== names[row - 1]) {
        heat = heats.get(bandKey(String(names[row] ?? ''), start)) ?? rest;
      }
      if (heat === rest) rest?.add(column, 0, 0, written[row]!);
      else heat?.add(column, start + offsets[row]! - heat.band.start, buckets[row]!, written[row]!);
    }
    if (cellsOf(list) > most * SLACK) coarser = keepWithin(list, most) || coarser;
    step(group.rows);
  }
  return keepWithin(list, most) || coarser;
}

const LAYOUT_COLUMNS = [
  'elapsed_ms',
  'start_address',
  'size_bytes',
  'name',
  'prot',
  'deleted',
  'kind_huge_pages',
  'kind_anonymous_pages',
  'kind_file_pages',
  'kind_zero_pages',
  'kind_swapped_pages',
  'kind_guard_pages',
  'cell_bytes',
  'cells',
] as const satisfies readonly ColumnName[];

/** What cannot be told adds nothing. */
function touchedPages(pages: readonly (number | null)[]): number {
  return pages.reduce<number>((sum, count) => sum + (count ?? 0), 0);
}

interface Grid {
  readonly cellBytes: number;
  readonly cells: Uint8Array;
  readonly ages: Uint8Array | undefined;
}

/** The owner of a mapping as the page has it. */
function ownerOf(name: string, owner: unknown, kind: unknown): Pick<MappingModel, 'owner' | 'ownerKind'> {
  return {
    ...(typeof owner === 'string' && ownerSaysMore(owner, name) ? { owner } : {}),
    ...(typeof kind === 'string' && kind in OWNER_KINDS ? { ownerKind: kind as OwnerKind } : {}),
  };
}

/** The last layout, with the last cells that there are. */
/** The last layout that there is, with the cells of those before it. */
async function readLayout(recording: Recording, until: number): Promise<LayoutModel | null> {
  // Of a process with very many mappings, or by request, layouts are rarer.
  return (
    (await readLayoutSince(recording, until - CELLS_BACK_MS)) ??
    (await readLayoutSince(recording, Number.NEGATIVE_INFINITY))
  );
}

async function readLayoutSince(recording: Recording, sinceMs: number): Promise<LayoutModel | null> {
  let atMs = Number.NEGATIVE_INFINITY;
  let mappings: MappingModel[] = [];
  let grids = new Map<string, Grid>();
  let gridsAt = Number.NEGATIVE_INFINITY;
  const key = (start: number, end: number) => `${start}-${end}`;
  // Files that were written before there were such columns have none.
  const own = recording.info.subject === 'accesses' ? (['age_cells'] as const) : [];
  const owned = recording.info.owners ? (['owner', 'owner_kind'] as const) : [];
  for await (const group of recording.groups('layout', [...LAYOUT_COLUMNS, ...own, ...owned], sinceMs)) {
    const numbers: Float64Array[] = [];
    for (const column of LAYOUT_COLUMNS.slice(6, 12)) numbers.push(await group.numbers(column));
    const elapsed = await group.numbers('elapsed_ms');
    const starts = await group.numbers('start_address');
    const sizes = await group.numbers('size_bytes');
    const names = await group.values('name');
    const prots = await group.values('prot');
    const deleted = await group.values('deleted');
    const cellBytes = await group.numbers('cell_bytes');
    const cells = await group.values('cells');
    const ages = own.length > 0 ? await group.values('age_cells') : [];
    const owners = owned.length > 0 ? await group.values('owner') : [];
    const ownerKinds = owned.length > 0 ? await group.values('owner_kind') : [];
    for (let row = 0; row < group.rows; row++) {
      if (elapsed[row] !== atMs) {
        atMs = elapsed[row]!;
        mappings = [];
      }
      const start = starts[row]!;
      const end = start + sizes[row]!;
      const name = String(names[row] ?? '');
      const perms = String(prots[row] ?? '');
      const pages = numbers.map((column) => (Number.isNaN(column[row]!) ? null : column[row]!));
      pages.push(sizes[row]! / PAGE_SIZE - touchedPages(pages));
      const kind = mappingKind(name, perms);
      mappings.push({
        start,
        end,
        perms,
        name,
        ...(deleted[row] === true ? { deleted: true } : {}),
        ...ownerOf(name, owners[row], ownerKinds[row]),
        kind,
        pages,
      });
      if (Number.isNaN(cellBytes[row]!)) continue;
      if (gridsAt !== atMs) {
        gridsAt = atMs;
        grids = new Map();
      }
      grids.set(key(start, end), {
        cellBytes: cellBytes[row]!,
        cells: cells[row] as Uint8Array,
        ages: (ages[row] ?? undefined) as Uint8Array | undefined,
      });
    }
  }
  if (mappings.length === 0) return null;
  return {
    atMs,
    mappings: mappings.map((mapping) => {
      const grid = grids.get(key(mapping.start, mapping.end));
      if (grid === undefined) return mapping;
      const { cellBytes, cells, ages } = grid;
      const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
      const agesToo = ages === undefined ? {} : { ages: base64(ages) };
      return { ...mapping, grid: { cellBytes, cells: base64(cells), ...agesToo } };
    }),
  };
}

/** The layout within the limits. */
function limitLayout(layout: LayoutModel, limits: AggregateLimits, notes: string[]): LayoutModel {
  let { mappings } = layout;
  if (mappings.length > limits.mappings) {
    const touched = ({ pages }: MappingModel) => touchedPages((pages ?? []).slice(0, -1));
    const kept = new Set([...mappings].sort((a, b) => touched(b) - touched(a)).slice(0, limits.mappings));
    notes.push(
      `Of ${mappings.length.toLocaleString('en-US')} mappings those ${limits.mappings.toLocaleString('en-US')} with most pages are shown.`,
    );
    mappings = mappings.filter((mapping) => kept.has(mapping));
  }
  const cells = mappings.reduce(
    (sum, { start, end, grid }) => sum + (grid ? Math.ceil((end - start) / grid.cellBytes) : 0),
    0,
  );
  if (cells > limits.gridCells) {
    mappings = mappings.map(({ grid: _, ...mapping }) => mapping);
    notes.push('The map of addresses is left out: it would be too large.');
  }
  return { ...layout, mappings };
}

function humanTime(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 120) return `${Number(seconds.toFixed(1))} s`;
  const minutes = seconds / 60;
  return minutes < 120
    ? `${Number(minutes.toFixed(1))} minutes`
    : `${Number((minutes / 60).toFixed(1))} hours`;
}

/**
 * Reads a recording and makes the data of the report's page: a few megabytes at most, however long the recording is and
 * however many mappings it has. `notes` says what was joined or left out. It reads the writes twice; memory does not
 * grow with the recording's length.
 *
 * @throws RecordingError where a file is damaged
 */
export async function aggregateRecording(
  recording: Recording,
  options: AggregateOptions = {},
): Promise<PageModel> {
  const { info } = recording;
  const limits = options.limits ?? REPORT_LIMITS;
  const notes: string[] = [];
  let done = 0;
  const all = recording.rows * 2;
  const step = (rows: number) => {
    done += rows;
    options.progress?.(Math.min(done, all), all);
  };

  const intervals = await readIntervals(recording);
  const lastMs = intervals.elapsed.at(-1) ?? 0;
  const found = await readLayout(recording, lastMs);
  const layout = found === null ? null : limitLayout(found, limits, notes);
  const heat =
    intervals.elapsed.length === 0 ? null : await makeHeat(recording, intervals, found, limits, notes, step);
  const unknown = unknownKinds(layout?.mappings ?? []);
  if (unknown.size > 0) notes.push(`Not known on the kernel that was recorded: ${kindsText(unknown)}.`);
  if (intervals.late > 0) {
    notes.push(
      `${intervals.late.toLocaleString('en-US')} of ${intervals.elapsed.length.toLocaleString('en-US')} intervals began late; nothing is lost by that, but times are less exact.`,
    );
  }
  if (info.sampled !== undefined) notes.push(sampledNote(info.sampled));
  if (info.end === undefined)
    notes.push('The recording has not been ended: it goes on, or its recorder was killed.');
  options.progress?.(all, all);
  return {
    schema: MODEL_SCHEMA,
    about: {
      pid: info.pid,
      name: info.process,
      commandLine: info.commandLine,
      source: 'recording',
      beganAt: Date.parse(info.startedAt),
      intervalMs: info.intervalMs,
      subject: info.subject,
      sampled: info.sampled,
    },
    tracking: info.layoutOnly
      ? { state: 'off', why: 'it was recorded with --layout-only' }
      : { state: 'ended', skipped: info.skipped },
    layout,
    heat,
    notes,
  };
}

function sampledNote(share: number): string {
  const percent = Number((share * 100).toPrecision(2));
  return `A random ${percent} % of the pages was looked at: numbers of pages are estimates, and places are those of the sample.`;
}

/** In what detail addresses are known. */
function partsNote(what: string, sizes: readonly number[], spread: number): string {
  const least = sizes.reduce((a, b) => Math.min(a, b));
  const most = sizes.reduce((a, b) => Math.max(a, b));
  const parts = least === most ? humanBytes(least) : `${humanBytes(least)} to ${humanBytes(most)}`;
  const share = spread < 0.001 ? 'less than 0.1' : (spread * 100).toFixed(1);
  const rest =
    spread === 0
      ? ''
      : `; ${share} % of them were recorded in larger parts, and are spread evenly over these`;
  return `${what} by parts of ${parts}: where in a part is not known${rest}.`;
}

async function makeHeat(
  recording: Recording,
  intervals: Intervals,
  layout: LayoutModel | null,
  limits: AggregateLimits,
  notes: string[],
  step: (rows: number) => void,
): Promise<HeatModel> {
  const columns = new Columns(intervals, limits.columns);
  const isAccesses = recording.info.subject === 'accesses';
  if (columns.joined > 1) {
    notes.push(
      `A step in time is ${columns.joined.toLocaleString('en-US')} intervals, about ${humanTime(columns.joined * recording.info.intervalMs)}; a page counts once in each interval.`,
    );
  }
  const { kept, rest, count } = await readBands(recording, limits.bands, step);
  const heats = new Map(kept.map(([key, band]) => [key, new Heat(band, limits.bucketsPerBand)]));
  const others = rest === undefined ? undefined : new Heat(rest, 1);
  if (rest !== undefined) {
    const all = kept.reduce((sum, [, band]) => sum + band.writtenPages, rest.writtenPages);
    notes.push(
      `Of ${count.toLocaleString('en-US')} mappings that were ${isAccesses ? 'accessed' : 'written'}, the ${kept.length} with most ${isAccesses ? 'accesses' : 'writes'} are told apart: ${(100 - (rest.writtenPages / all) * 100).toFixed(1)} % of all.`,
    );
  }
  if (await readHeat(recording, columns, heats, others, limits, step)) {
    notes.push('Addresses are shown more coarsely than they were recorded, to limit the size of the page.');
  }
  const told = [...heats.values()];
  const pages = told.reduce((sum, { band }) => sum + band.writtenPages, 0);
  const spread = told.reduce((sum, { spreadPages }) => sum + spreadPages, 0);
  if (pages > 0)
    notes.push(
      partsNote(
        SUBJECT_TITLES[recording.info.subject ?? 'writes'],
        told.map(({ bucketBytes }) => bucketBytes),
        spread / pages,
      ),
    );
  const known = new Map(layout?.mappings.map((mapping) => [bandKey(mapping.name, mapping.start), mapping]));
  const models = [...heats, ...(others === undefined ? [] : [['', others] as const])]
    .sort(([, a], [, b]) => a.band.start - b.band.start)
    .map(([key, heat], id): BandHeat => {
      const { name, start, end } = heat.band;
      const mapping = known.get(key);
      const perms = mapping?.perms ?? '';
      return {
        id,
        start,
        end,
        perms,
        name,
        kind: mappingKind(name, perms),
        origin: start,
        bucketBytes: heat.bucketBytes,
        ...(layout !== null && mapping === undefined && heat !== others ? { gone: true } : {}),
        cells: heat.triples(),
      };
    });
  return { columns: columns.models, bands: models, windows: recording.info.workingSetWindowsMs };
}
