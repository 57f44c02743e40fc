/** Snapshots of a process as one model: the layout of the first, and for each of the others what differs from the one before. */
import { setImmediate } from 'node:timers/promises';
import { PAGE_SIZE, RegionBuffer } from '../abi/index.js';
import {
  type LayoutModel,
  type MappingModel,
  MODEL_SCHEMA,
  MOMENT_LIMITS,
  type MomentModel,
  type PageModel,
  REPORT_LIMITS,
} from '../model/index.js';
import type { Owner } from '../owners/internal.js';
import {
  humanBytes,
  humanCount,
  legRanges,
  lookMasks,
  lookWith,
  plural,
  scanLegs,
  withUnknown,
} from '../query/internal.js';
import { type Snapshot, SnapshotError, type Snapshots } from '../snapshot/index.js';
import { type WalkedSnapshot, walkSnapshots } from '../snapshot/internal.js';
import { LayoutGrid, mostCells } from './grid.js';
import { HeatStore } from './heat.js';
import { isSameMapping, modelOf, wordsText } from './layout.js';

/** Address space that is scanned at a time, bytes. */
const LEG_BYTES = 2 ** 40;
/** What a row of a mapping takes, as many numbers. */
const ROW_NUMBERS = 24;
const HEAT = { columns: REPORT_LIMITS.columns, numbers: 2 * REPORT_LIMITS.heatCells, full: 'join' } as const;

/** What is tried until it fits: so many cells, and so many snapshots. */
const ATTEMPTS: readonly (readonly [cells: number, moments: number])[] = [
  [1 << 16, MOMENT_LIMITS.moments],
  [1 << 14, MOMENT_LIMITS.moments],
  [1 << 12, MOMENT_LIMITS.moments],
  [1 << 10, MOMENT_LIMITS.moments],
  [1 << 10, MOMENT_LIMITS.moments / 4],
  [1 << 10, MOMENT_LIMITS.moments / 20],
];

export interface SnapshotsModelOptions {
  /** One of them alone, as `Snapshots.find` takes it. All where it is left out. */
  readonly which?: string | undefined;
  /** Whose memory it is, by the starts of mappings. */
  readonly ownersOf?: ((snapshot: Snapshot) => ReadonlyMap<number, Owner>) | undefined;
  /** Called between snapshots; throws to end it. */
  readonly onStep?: (() => Promise<void>) | undefined;
}

/** A mapping with its cells. */
interface Placed {
  readonly row: MappingModel;
  readonly cellBytes: number;
  readonly words: Uint16Array;
}

type Layout = ReadonlyMap<number, Placed>;

/** Evenly chosen ones, the first and the last among them. */
function thin(numbers: readonly number[], most: number): readonly number[] {
  if (numbers.length <= most) return numbers;
  const step = (numbers.length - 1) / (most - 1);
  return Array.from({ length: most }, (_, index) => numbers[Math.round(index * step)]!);
}

/** Looks at all pages of a snapshot. Where it cannot tell what they were, cells are empty and counts are left out. */
function lookAt(
  snapshot: Snapshot,
  owners: ReadonlyMap<number, Owner>,
  most: number,
): Promise<Map<number, Placed>> {
  const { mappings, categories } = snapshot;
  const attempts = [...lookMasks({ provider: 'fallback', categories }), undefined];
  return lookWith(attempts, async (masks) => {
    const grid = new LayoutGrid(mappings, 0, undefined, most);
    if (masks !== undefined) scan(snapshot, grid, masks);
    return new Map(
      mappings.map((mapping, index): [number, Placed] => {
        const { start, end } = mapping;
        const pages = masks === undefined ? undefined : withUnknown(grid.pages(index), masks.unknown);
        const cellBytes = grid.cellBytes(start)!;
        const words = grid.cells(start, cellBytes, 0, Math.ceil((end - start) / cellBytes));
        return [start, { row: modelOf(mapping, owners.get(start), pages, undefined), cellBytes, words }];
      }),
    );
  });
}

function scan(
  snapshot: Snapshot,
  grid: LayoutGrid,
  { categoryAnyofMask, returnMask }: { categoryAnyofMask: number; returnMask: number },
): void {
  const buffer = new RegionBuffer(8192);
  for (const range of legRanges(snapshot.mappings, LEG_BYTES))
    for (const found of scanLegs(snapshot, { ...range, categoryAnyofMask, returnMask }, { buffer }))
      for (let at = 0; at < found.length; at++)
        grid.add(found.start(at), found.end(at), found.categories(at));
}

function withGrid({ row, cellBytes, words }: Placed): MappingModel {
  return { ...row, grid: { cellBytes, cells: wordsText(words) } };
}

/** What differs between two layouts, and how many numbers it takes. */
function differ(before: Layout, after: Layout) {
  const changed: MappingModel[] = [];
  const cells: number[][] = [];
  let numbers = 0;
  for (const [start, placed] of after) {
    const old = before.get(start);
    if (old === undefined || old.row.end !== placed.row.end || old.cellBytes !== placed.cellBytes) {
      changed.push(withGrid(placed));
      numbers += ROW_NUMBERS + placed.words.length / 2;
      continue;
    }
    if (!isSameMapping(old.row, placed.row)) {
      changed.push(placed.row);
      numbers += ROW_NUMBERS;
    }
    const pairs = [start];
    placed.words.forEach((word, cell) => {
      if (word !== old.words[cell]) pairs.push(cell, word);
    });
    if (pairs.length > 1) cells.push(pairs);
    numbers += pairs.length - 1;
  }
  const gone = [...before.keys()].filter((start) => !after.has(start));
  return { changed, gone, cells, numbers: numbers + gone.length };
}

/** Changed pages by cell, for each mapping that has any. Runs and mappings ascend. */
function heatOf(layout: Layout, runs: WalkedSnapshot['changed']): number[][] {
  const heat: number[][] = [];
  let index = 0;
  for (const { row, cellBytes } of layout.values()) {
    const pages = new Map<number, number>();
    while (index < runs.length && runs[index]![1] <= row.start) index++;
    for (let run = index; run < runs.length && runs[run]![0] < row.end; run++) {
      const end = Math.min(row.end, runs[run]![1]);
      for (let at = Math.max(row.start, runs[run]![0]); at < end; ) {
        const cell = Math.floor((at - row.start) / cellBytes);
        const next = Math.min(end, row.start + (cell + 1) * cellBytes);
        pages.set(cell, (pages.get(cell) ?? 0) + (next - at) / PAGE_SIZE);
        at = next;
      }
    }
    if (pages.size > 0) heat.push([row.start, ...[...pages].flat()]);
  }
  return heat;
}

/** Owners, looked for anew when mappings have changed: the same mappings have the same owners. */
function ownersByMappings({ ownersOf }: SnapshotsModelOptions) {
  let key = '';
  let owners: ReadonlyMap<number, Owner> = new Map();
  return (snapshot: Snapshot): ReadonlyMap<number, Owner> => {
    const next = snapshot.mappings.map(({ start, end, name }) => `${start} ${end} ${name}`).join('\n');
    if (next !== key && ownersOf !== undefined) owners = ownersOf(snapshot);
    key = next;
    return owners;
  };
}

interface Collected {
  readonly beganAt: number;
  readonly layout: LayoutModel;
  readonly moments: readonly MomentModel[];
  readonly heat: HeatStore;
  /** The smallest and the largest cell, bytes. */
  readonly cellBytes: readonly [number, number];
}

/** Undefined when it is more than a file is to hold. */
async function collect(
  snapshots: Snapshots,
  numbers: readonly number[],
  cells: number,
  options: SnapshotsModelOptions,
): Promise<Collected | undefined> {
  const ownersOf = ownersByMappings(options);
  const heat = new HeatStore(HEAT);
  const moments: MomentModel[] = [];
  let first: { beganAt: number; most: number; layout: LayoutModel } | undefined;
  let before: Layout = new Map();
  let total = 0;
  let [finest, coarsest] = [Number.POSITIVE_INFINITY, 0];
  for (const { snapshot, changed } of walkSnapshots(snapshots, numbers)) {
    await options.onStep?.();
    await setImmediate();
    const { number, time } = snapshot.info;
    const beganAt = first?.beganAt ?? time.getTime();
    const most = first?.most ?? mostCells(snapshot.mappings, cells);
    const after = await lookAt(snapshot, ownersOf(snapshot), most);
    for (const { cellBytes } of after.values()) {
      finest = Math.min(finest, cellBytes);
      coarsest = Math.max(coarsest, cellBytes);
    }
    const atMs = time.getTime() - beganAt;
    if (first === undefined) {
      first = { beganAt, most, layout: { atMs, mappings: [...after.values()].map(withGrid) } };
      moments.push({ number, atMs, changedPages: 0, changed: [], gone: [], cells: [], heat: [] });
      total = after.size * ROW_NUMBERS;
    } else {
      const { numbers: count, ...difference } = differ(before, after);
      const hot = heatOf(after, changed);
      const changedPages = changed.reduce((sum, [start, end]) => sum + (end - start) / PAGE_SIZE, 0);
      moments.push({ number, atMs, changedPages, ...difference, heat: hot });
      total += count + hot.reduce((sum, { length }) => sum + length, 0);
      for (const [start, end] of changed) heat.add(start, end);
      const rows = [...after.values()].map(({ row }) => ({ ...row, writtenPages: 0, isNew: false }));
      heat.endInterval(rows, moments.at(-2)!.atMs, atMs, (start) => after.get(start)!.row.perms);
    }
    if (total > MOMENT_LIMITS.numbers) return undefined;
    before = after;
  }
  return first && { ...first, moments, heat, cellBytes: [finest, coarsest] };
}

function notesOf(
  all: readonly number[],
  damaged: readonly number[],
  { moments, cellBytes: [finest, coarsest] }: Collected,
): string[] {
  const shown = moments.length;
  const range = finest === coarsest ? humanBytes(finest) : `${humanBytes(finest)} to ${humanBytes(coarsest)}`;
  const notes = [`Pages of ${plural(shown, 'snapshot')}, in cells of ${range}.`];
  if (shown < all.length)
    notes.push(
      `The page shows ${humanCount(shown)} of ${humanCount(all.length)} snapshots, at even distances. Changes include those of the snapshots in between.`,
    );
  if (damaged.length > 0) notes.push(`The page leaves out damaged snapshots: ${damaged.join(', ')}.`);
  return notes;
}

/**
 * The model for a report of snapshots. It holds a few megabytes at most: cells get larger until it does, then there are fewer snapshots.
 *
 * @throws SnapshotError 'not-found' when there is none, or it would be too much even so; 'damaged', 'version'
 */
export async function snapshotsModel(
  snapshots: Snapshots,
  options: SnapshotsModelOptions = {},
): Promise<PageModel> {
  const { which } = options;
  const all = which === undefined ? snapshots.list().map(({ number }) => number) : [snapshots.find(which)];
  const damaged = which === undefined ? snapshots.damaged().map(({ number }) => number) : [];
  if (all.length === 0)
    throw new SnapshotError(
      'not-found',
      `Cannot show the snapshots in ${snapshots.folder}: ${damaged.length === 0 ? 'there are none yet' : 'all of them are damaged'}`,
    );
  for (const [cells, most] of ATTEMPTS) {
    const collected = await collect(snapshots, thin(all, most), cells, options);
    if (collected === undefined) continue;
    const { beganAt, layout, moments, heat } = collected;
    const { pid, name, commandLine } = snapshots.process;
    const spanMs = moments.at(-1)!.atMs;
    return {
      schema: MODEL_SCHEMA,
      about: {
        pid,
        name,
        commandLine,
        source: 'snapshots',
        beganAt,
        intervalMs: moments.length < 2 ? 0 : spanMs / (moments.length - 1),
      },
      tracking: { state: 'ended' },
      layout,
      heat: heat.model(),
      moments,
      notes: notesOf(all, damaged, collected),
    };
  }
  throw new SnapshotError(
    'not-found',
    `Cannot show all snapshots in ${snapshots.folder}: their differences do not fit into one page; name one snapshot: ${snapshots.folder}@latest`,
  );
}
