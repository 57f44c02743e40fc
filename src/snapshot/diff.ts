/** What differs between two snapshots of one process. */
import { firstIndex, MOST_USER_SPACE_END, PAGE_SIZE } from '../abi/internal.js';
import { PageSet } from '../core/internal.js';
import type { Mapping } from '../proc/index.js';
import type { Point } from './log.js';
import { ABSENT, decodeRanges, pageOf } from './page-table.js';
import { BatchBlocks, type PageOfBatch, readAhead } from './read-ahead.js';

/** A range of bytes that differ. Ranges up to 8 bytes apart are joined. */
export interface ChangedRange {
  readonly start: number;
  readonly end: number;
}

/** The differences in one mapping. */
export interface MappingDifference {
  readonly start: number;
  readonly end: number;
  readonly name: string;
  /** In only one of the snapshots: `new` in the later one, `gone` in the earlier one. */
  readonly state?: 'new' | 'gone' | undefined;
  /** Pages with other bytes. */
  readonly changedPages: number;
  /** Bytes that differ. For memory in only one of the snapshots: its bytes that are not zero. */
  readonly changedBytes: number;
  /** Pages that were written, but with the same bytes as before. */
  readonly rewrittenPages: number;
  readonly ranges: readonly ChangedRange[];
}

/** The difference of two snapshots. */
export interface SnapshotDifference {
  readonly from: number;
  readonly to: number;
  readonly changedPages: number;
  readonly changedBytes: number;
  /**
   * Pages that were written between the two snapshots and have the same bytes in both. Undefined when not all writes
   * are known: a snapshot between them is not kept, or is the first of a run.
   */
  readonly rewrittenPages: number | undefined;
  readonly mappings: readonly MappingDifference[];
}

/** Bytes that differ and are so near each other are told as one range. */
const NEAR_BYTES = 8;
/** So many ranges of a mapping are told, at most. */
const MOST_RANGES = 10_000;

interface Row {
  readonly start: number;
  readonly end: number;
  readonly name: string;
  readonly state: 'new' | 'gone' | undefined;
  changedPages: number;
  changedBytes: number;
  rewrittenPages: number;
  readonly ranges: { start: number; end: number }[];
}

/** A page as words of 4 bytes. Those of a block lie at multiples of 4. */
function wordsOf(page: Uint8Array): Uint32Array {
  return page.byteOffset % 4 === 0
    ? new Uint32Array(page.buffer, page.byteOffset, PAGE_SIZE / 4)
    : new Uint32Array(page.slice().buffer);
}

/** Appends the bytes that differ between two pages. Word by word: most of a page is as it was. */
function comparePages(
  row: Row,
  address: number,
  one: Uint8Array,
  other: Uint8Array,
  withRanges: boolean,
): void {
  const [ones, others] = [wordsOf(one), wordsOf(other)];
  let changedBytes = 0;
  for (let word = 0; word < ones.length; word++) {
    const differing = ones[word]! ^ others[word]!;
    if (differing === 0) continue;
    if ((differing & 0xff) !== 0) changedBytes++;
    if ((differing & 0xff00) !== 0) changedBytes++;
    if ((differing & 0xff0000) !== 0) changedBytes++;
    if (differing >>> 24 !== 0) changedBytes++;
    if (!withRanges) continue;
    for (let at = word * 4; at < word * 4 + 4; at++) if (one[at] !== other[at]) addRange(row, address + at);
  }
  row.changedBytes += changedBytes;
}

function addRange({ ranges }: Row, address: number): void {
  const last = ranges.at(-1);
  if (last !== undefined && address - last.end <= NEAR_BYTES) last.end = address + 1;
  else if (ranges.length < MOST_RANGES) ranges.push({ start: address, end: address + 1 });
}

/** The rows of all mappings of both, by address; of one that is in both, with the later one's borders. */
function rowsOf(before: readonly Mapping[], after: readonly Mapping[]): Row[] {
  const counts = { changedPages: 0, changedBytes: 0, rewrittenPages: 0 };
  const isSame = (one: Mapping, other: Mapping) =>
    one.start < other.end && one.end > other.start && one.inode === other.inode && one.name === other.name;
  const row = ({ start, end, name }: Mapping, state: Row['state']): Row => ({
    start,
    end,
    name,
    state,
    ...counts,
    ranges: [],
  });
  const rows: Row[] = [];
  let at = 0;
  for (const mapping of after) {
    while (at < before.length && before[at]!.end <= mapping.start) at++;
    let isOld = false;
    for (let next = at; next < before.length && before[next]!.start < mapping.end; next++)
      isOld ||= isSame(before[next]!, mapping);
    rows.push(row(mapping, isOld ? undefined : 'new'));
  }
  at = 0;
  for (const mapping of before) {
    while (at < after.length && after[at]!.end <= mapping.start) at++;
    let isThere = false;
    for (let next = at; next < after.length && after[next]!.start < mapping.end; next++)
      isThere ||= isSame(after[next]!, mapping);
    if (!isThere) rows.push(row(mapping, 'gone'));
  }
  return rows.sort((one, other) => one.start - other.start);
}

/** Finds the row of a page; several may have it when a mapping was replaced by another. */
function finder(rows: readonly Row[]): (address: number, isThere: boolean) => Row | undefined {
  const current = rows.filter(({ state }) => state !== 'gone');
  const gone = rows.filter(({ state }) => state === 'gone');
  const find = (list: readonly Row[], address: number): Row | undefined => {
    const row = list[firstIndex(list.length, (index) => list[index]!.end > address)];
    return row !== undefined && row.start <= address ? row : undefined;
  };
  return (address, isThere) => {
    const row = find(current, address);
    if (isThere) return row;
    // What is there no more belongs to what has gone.
    return row?.state === 'new' || row === undefined ? (find(gone, address) ?? row) : row;
  };
}

export interface DiffOptions {
  /** Find out which bytes differ, not only how many. */
  readonly ranges?: boolean | undefined;
}

/** Pages that differ, with their references in both snapshots, in turns. */
interface DifferingPages {
  readonly pages: number[];
  /** Of a page, that of the later snapshot, then that of the earlier one. */
  readonly references: number[];
}

/** So many pages are compared together, at most: their blocks are full where each has one of them. */
const BATCH_PAGES = 512;

/** @param differences page, reference, earlier reference, in turns */
function* batchesOf(differences: readonly number[]): Generator<DifferingPages, void, void> {
  const blocks = new BatchBlocks();
  let batch: DifferingPages = { pages: [], references: [] };
  for (let at = 0; at < differences.length; at += 3) {
    const [page, now, then] = [differences[at]!, differences[at + 1]!, differences[at + 2]!];
    if (batch.pages.length === BATCH_PAGES || !blocks.take(now, then)) {
      yield batch;
      batch = { pages: [], references: [] };
      blocks.clear();
      blocks.take(now, then);
    }
    batch.pages.push(page);
    batch.references.push(now, then);
  }
  yield batch;
}

/** Compares pages, and adds what differs to their rows. */
function compareBatch(
  { pages, references }: DifferingPages,
  find: ReturnType<typeof finder>,
  read: PageOfBatch,
  withRanges: boolean,
): void {
  pages.forEach((page, index) => {
    const [now, then] = [references[index * 2]!, references[index * 2 + 1]!];
    const address = page * PAGE_SIZE;
    const row = find(address, now !== ABSENT)!;
    const bytes = row.changedBytes;
    // What is not there reads as zeros: only what is not zero differs.
    comparePages(row, address, read(then), read(now), withRanges);
    if (row.changedBytes > bytes) row.changedPages++;
  });
}

/**
 * Compares two snapshots.
 *
 * @param folder of the store
 * @param between the manifests' sections of what was written, from the one behind `before` to that of `after`; undefined when not all are known
 */
export async function compareSnapshots(
  before: Point,
  after: Point,
  folder: string,
  between: readonly Uint8Array[] | undefined,
  { ranges = false }: DiffOptions = {},
): Promise<SnapshotDifference> {
  const mappingsOf = (point: Point) => point.mappings.map(({ mapping }) => mapping);
  const rows = rowsOf(mappingsOf(before), mappingsOf(after));
  const find = finder(rows);
  const changed = new PageSet();
  const differences: number[] = [];
  after.table.differences(before.table, (page, now, then) => {
    const address = page * PAGE_SIZE;
    if (find(address, now !== ABSENT) === undefined) return;
    changed.add(address, address + PAGE_SIZE);
    differences.push(page, now, then);
  });
  await readAhead(folder, batchesOf(differences), (batch, read) => compareBatch(batch, find, read, ranges));
  countRewritten(after, changed, between ?? [], find);
  const sum = (key: 'changedPages' | 'changedBytes' | 'rewrittenPages') =>
    rows.reduce((total, row) => total + row[key], 0);
  return {
    from: before.manifest.head.number,
    to: after.manifest.head.number,
    changedPages: sum('changedPages'),
    changedBytes: sum('changedBytes'),
    rewrittenPages: between === undefined ? undefined : sum('rewrittenPages'),
    mappings: rows.filter((row) => row.changedPages + row.rewrittenPages > 0),
  };
}

/** Counts the pages that were written and are not among those that changed. */
function countRewritten(
  after: Point,
  changed: PageSet,
  between: readonly Uint8Array[],
  find: ReturnType<typeof finder>,
): void {
  const written = new PageSet();
  for (const section of between)
    for (const [page, count] of decodeRanges(section))
      written.add(page * PAGE_SIZE, (page + count) * PAGE_SIZE);
  written.runs(0, MOST_USER_SPACE_END, true, (from, to) =>
    changed.runs(from, to, false, (start, end) => {
      for (let address = start; address < end; address += PAGE_SIZE) {
        const row = after.table.get(pageOf(address)) === ABSENT ? undefined : find(address, true);
        if (row !== undefined) row.rewrittenPages++;
      }
    }),
  );
}
