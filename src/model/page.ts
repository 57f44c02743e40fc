/**
 * What the page shows, be it of a live process or of a recording: plain data that JSON carries as it is. The page's code,
 * the server and whoever aggregates a recording share this file, so it imports nothing but the names of kinds.
 *
 * Addresses and sizes are bytes, times milliseconds since the look (or the recording) began, pages are of 4,096 bytes.
 * Names come from the process looked at and are data: whoever shows them treats them as text.
 */
import type { MappingKind } from '../proc/internal.js';
import { PAGE_KINDS } from '../query/internal.js';
import type { OwnerKind } from './owners.js';

export const MODEL_SCHEMA = 'pagemap-scan/page@1';

/** What is tracked, as a title or a sentence begins with it. */
export const SUBJECT_TITLES = { writes: 'Writes', accesses: 'Accesses' } as const;

/** A mapping as it is now (or was last). */
export interface MappingModel {
  readonly start: number;
  readonly end: number;
  /** As in /proc/PID/maps: `rw-p`. */
  readonly perms: string;
  readonly name: string;
  readonly deleted?: boolean | undefined;
  /** Whose memory it is, with a `?` where that is only likely. Left out where nothing is known, and for files. */
  readonly owner?: string | undefined;
  /** Its kind. Left out where nothing is known. */
  readonly ownerKind?: OwnerKind | undefined;
  readonly kind: MappingKind;
  /**
   * Pages by `PAGE_KINDS`, together all of the mapping's; null for kinds that cannot be told, which count as what else they are.
   * Left out where the pages were not looked at.
   */
  readonly pages?: readonly (number | null)[] | undefined;
  /** Where accesses are tracked: the pages in memory by how long they were left alone, in classes of `AGE_LIMITS_MS`. */
  readonly ages?: readonly number[] | undefined;
  /** For files only: what the pages are, in equal cells. The live page asks for cells as it needs them. */
  readonly grid?: GridModel | undefined;
}

/** A mapping's address range in cells of `cellBytes`, the last one maybe cut short. */
export interface GridModel {
  /** A power of two, from 4,096. */
  readonly cellBytes: number;
  /** Base64 of 16-bit little-endian words, one a cell, as `packCell` makes them. */
  readonly cells: string;
  /** Where accesses were tracked: the same cells by `AGE_LIMITS_MS`, in place of kinds. */
  readonly ages?: string | undefined;
}

export interface LayoutModel {
  readonly atMs: number;
  /** In address order. */
  readonly mappings: readonly MappingModel[];
}

/** One interval, or several that were joined. */
export interface ColumnModel {
  readonly startMs: number;
  readonly endMs: number;
  /** How many intervals were joined; 1 if left out. */
  readonly intervals?: number | undefined;
  /** Distinct pages written in the `windows` (see `HeatModel`) that end with this column. */
  readonly workingSet?: readonly number[] | undefined;
  /**
   * The same of single bands: for each its id and the pages of each window; those with the most in the longest window, largest
   * first. Where there are as many as fit (50), others have no more than the last one. Left out of recordings, which do not tell it.
   */
  readonly byBand?: readonly (readonly number[])[] | undefined;
}

/** A mapping through time. `start` and `end` hold all that it ever was while it was looked at. */
export interface BandModel {
  readonly id: number;
  readonly start: number;
  readonly end: number;
  readonly perms: string;
  readonly name: string;
  readonly kind: MappingKind;
  /** Bucket n holds the `bucketBytes` addresses from `origin + n * bucketBytes` on; n may be negative. */
  readonly origin: number;
  /** 4,096 times a power of two. */
  readonly bucketBytes: number;
  /** Gone by the end. */
  readonly gone?: boolean | undefined;
}

/** A band with its writes. */
export interface BandHeat extends BandModel {
  /**
   * Written pages as triples (column, bucket, pages), in order of columns, then of buckets; what is missing is 0. A page
   * counts once an interval, so in a column of several intervals maybe more than once.
   */
  readonly cells: readonly number[];
}

export interface HeatModel {
  /** In time order, without overlap; there may be gaps, where nobody looked. */
  readonly columns: readonly ColumnModel[];
  /** In address order of `start`. */
  readonly bands: readonly BandHeat[];
  /** Lengths of the working set's windows, milliseconds. */
  readonly windows: readonly number[];
}

/**
 * One of several snapshots that a file holds, by what differs from the one before it. Of the first, which `PageModel.layout` shows, nothing
 * differs.
 */
export interface MomentModel {
  /** The snapshot's number. */
  readonly number: number;
  readonly atMs: number;
  /** Pages whose bytes were others at any time since the one before. */
  readonly changedPages: number;
  /** Mappings that are new, or of which something is other than their cells. `grid` is left out where it is as before, but for `cells`. */
  readonly changed: readonly MappingModel[];
  /** Starts of mappings that are gone. */
  readonly gone: readonly number[];
  /** Cells that are others: for each mapping its start, then pairs (cell, word as `packCell` makes it). */
  readonly cells: readonly (readonly number[])[];
  /** Changed pages: for each mapping its start, then pairs (cell, pages). */
  readonly heat: readonly (readonly number[])[];
}

/** Whether writes are tracked, and if not, why, and what to do. */
export interface TrackingModel {
  readonly state: 'starting' | 'on' | 'off' | 'ended';
  readonly why?: string | undefined;
  /** By soft-dirty bits: the process is stopped at each interval, and only private memory is tracked. */
  readonly stops?: boolean | undefined;
  /** Writable mappings that are not tracked. */
  readonly skipped?:
    | readonly { readonly name: string; readonly start: number; readonly reason: string }[]
    | undefined;
}

export interface AboutModel {
  readonly pid: number;
  readonly name: string;
  readonly commandLine?: string | undefined;
  readonly source: 'live' | 'recording' | 'sample' | 'snapshots';
  /** Milliseconds since 1970 at time 0. */
  readonly beganAt: number;
  /** How often was looked, milliseconds. */
  readonly intervalMs: number;
  /** What is tracked: "written" stands for "accessed" in all numbers where it is accesses. Writes where it is left out. */
  readonly subject?: 'accesses' | undefined;
  /** The share of all pages that is looked at, from 0 to 1. All where it is left out. */
  readonly sampled?: number | undefined;
  /** What can be tracked here instead; left out where there is no choice. */
  readonly canChoose?: boolean | undefined;
}

/** All that one page can show. A report holds one; a live stream begins with one. */
export interface PageModel {
  readonly schema: typeof MODEL_SCHEMA;
  readonly about: AboutModel;
  readonly tracking: TrackingModel;
  /** Null where there is none: a recording without page states still has mappings here. */
  readonly layout: LayoutModel | null;
  readonly heat: HeatModel | null;
  /** Of snapshots: all of them, the oldest first; `layout` is that of the first. */
  readonly moments?: readonly MomentModel[] | undefined;
  /** How the data was made smaller, and what is missing: sentences to be shown. */
  readonly notes: readonly string[];
}

/** What the live stream sends, one JSON object an event. */
export type StreamMessage =
  | { readonly type: 'model'; readonly model: PageModel }
  | {
      readonly type: 'layout';
      readonly atMs: number;
      /** Mappings that are new or whose pages differ; those with the same `start` are replaced. */
      readonly changed: readonly MappingModel[];
      /** Starts of those that are gone. */
      readonly gone: readonly number[];
      /** Counts up whenever pages were looked at anew: cells that were fetched before are old. */
      readonly generation: number;
    }
  | {
      readonly type: 'column';
      readonly column: ColumnModel;
      /** Bands that are new, have changed their extent or bucket size, or are gone. */
      readonly bands: readonly BandModel[];
      /** By band: its id, then pairs (bucket, pages). */
      readonly cells: readonly (readonly number[])[];
      /** The share of a core that the tool itself took since the last column, 0 to 1. */
      readonly ownShare: number;
      /** What tracking cost the process in it, about, as a share of one core, 0 to 1; left out where that is not known. */
      readonly targetShare?: number | undefined;
    }
  | { readonly type: 'tracking'; readonly tracking: TrackingModel };

/** What a report may hold, so that it stays of a few megabytes whatever was recorded. */
export const REPORT_LIMITS = {
  columns: 600,
  bands: 400,
  bucketsPerBand: 256,
  /** Triples of all bands together. */
  heatCells: 300_000,
  mappings: 20_000,
  /** Cells of all grids together. */
  gridCells: 1 << 18,
} as const;

/** What a report of snapshots may hold besides. */
export const MOMENT_LIMITS = {
  moments: 200,
  /** Numbers in all differences together. */
  numbers: 600_000,
} as const;

/**
 * Ages of pages, milliseconds: how long they were left alone. A page is in class n when its age is below the n-th of these and no earlier
 * one, and in the last class, of `AGE_CLASSES`, when it is older.
 */
export const AGE_LIMITS_MS = [1000, 10_000, 60_000, 600_000, 3_600_000] as const;
export const AGE_CLASSES: number = AGE_LIMITS_MS.length + 1;

/** Pages that were left alone for at least so long are counted as idle, milliseconds; each of these is one of `AGE_LIMITS_MS`. */
export const IDLE_LIMITS_MS = [60_000, 600_000, 3_600_000] as const;

/**
 * Pages that were left alone for at least as long as each of `IDLE_LIMITS_MS`; null where nobody has looked for so long.
 *
 * @param ages pages by the classes of `AGE_LIMITS_MS`
 * @param elapsedMs since accesses are tracked
 */
export function idlePages(ages: ArrayLike<number>, elapsedMs: number): (number | null)[] {
  return IDLE_LIMITS_MS.map((limitMs) => {
    if (elapsedMs < limitMs) return null;
    let pages = 0;
    for (let age = AGE_LIMITS_MS.indexOf(limitMs) + 1; age < ages.length; age++) pages += ages[age]!;
    return pages;
  });
}

/** The untouched kind: a cell of which nothing is there. */
export const UNTOUCHED: number = PAGE_KINDS.indexOf('untouched');

/** The kinds, by index, that cannot be told of these mappings' pages. */
export function unknownKinds(mappings: readonly MappingModel[]): ReadonlySet<number> {
  const unknown = new Set<number>();
  // As one mapping, so all.
  const pages = mappings.find((mapping) => mapping.pages !== undefined)?.pages ?? [];
  pages.forEach((count, kind) => {
    if (count === null) unknown.add(kind);
  });
  return unknown;
}

/** Kinds of pages in words: `huge, guard`. */
export function kindsText(kinds: ReadonlySet<number>): string {
  return [...kinds].map((kind) => PAGE_KINDS[kind]).join(', ');
}

/**
 * What is in some pages, in 16 bits:
 *
 *     15        8 7      4 3      0
 *     +----------+--------+--------+
 *     |categories|  kind  | share  |
 *     +----------+--------+--------+
 *
 * `categories` are those of all its pages together, file to guard (bits 2 to 8 of the ioctl's); `kind` that which most of
 * its touched pages are, an index into `PAGE_KINDS`; `share` how much of the cell is touched, 1 to 15, and 0 for nothing.
 *
 * Cells by age have the same form, with the class of age in place of the kind.
 *
 * @param pages by `PAGE_KINDS`, touched ones; the untouched are what is missing of `total`
 */
export function packCell(pages: ArrayLike<number>, total: number, categories: number): number {
  let touched = 0;
  let kind = UNTOUCHED;
  for (let index = 0; index < UNTOUCHED; index++) {
    touched += pages[index]!;
    if (pages[index]! > (kind === UNTOUCHED ? 0 : pages[kind]!)) kind = index;
  }
  if (touched === 0) return UNTOUCHED << 4;
  const share = Math.max(1, Math.min(15, Math.round((touched / total) * 15)));
  return (((categories >> 2) & 0x7f) << 8) | (kind << 4) | share;
}

export function cellKind(cell: number): number {
  return (cell >> 4) & 15;
}

/** 0 to 1. */
export function cellShare(cell: number): number {
  return (cell & 15) / 15;
}

/** The ioctl's category bits. */
export function cellCategories(cell: number): number {
  return (cell >> 8) << 2;
}

/** A process that can be chosen. */
export interface ListedProcess {
  readonly pid: number;
  readonly name: string;
  readonly commandLine: string;
  readonly user: string;
  readonly residentBytes: number;
  readonly swappedBytes: number;
  /** Why its memory cannot be looked at; left out when it can. */
  readonly hidden?: string | undefined;
  /** Why its writes cannot be tracked; left out when they can. */
  readonly untracked?: string | undefined;
}
