/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The writing side of a store. A snapshot's pages are appended to data files and brought to the disk; then its manifest
 * gets its name. So every manifest, at any moment, is of a complete snapshot. Everything else was left by a killed
 * writer, and the next writer removes it.
 */
import { closeSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE_SIZE } from '../abi/index.js';
import { lockFile } from '../live/internal.js';
import { checkValue, compressionKind, type SnapshotCompression } from './block.js';
import { BlockIndex } from './block-index.js';
import { DataFiles } from './data-files.js';
import { SnapshotError } from './errors.js';
import { indexFile, listStore, manifestFile, type StoreFiles } from './files.js';
import { isDamage } from './listing.js';
import { fileBytes, type Point, Replay, readManifest } from './log.js';
import { encodeManifest, type ManifestHead, type StoredMapping } from './manifest.js';
import { makeOwnFolder, openLockFile } from './own-folder.js';
import { addToSpans, PageIndexer } from './page-indexer.js';
import { decodeRanges, encodeRanges, PageTable, ZERO } from './page-table.js';
import { PageReader } from './pages.js';
import {
  readStoreFile,
  type StoreMachine,
  type StoreProcess,
  thisMachine,
  writeStoreFile,
} from './store-file.js';
import type { PageSpan } from './touches.js';
import { writeWhole } from './write.js';

export interface StoreOptions {
  /** The most snapshots that are kept. */
  readonly keep?: number | undefined;
  /** The most bytes that are kept; the newest snapshot stays in any case. */
  readonly keepBytes?: number | undefined;
  /** `none` by default. */
  readonly compression?: SnapshotCompression | undefined;
  /** The machine that the process runs on; this one by default. */
  readonly machine?: StoreMachine | undefined;
}

/** A snapshot that is to be kept. */
export interface NewSnapshot
  extends Pick<
    ManifestHead,
    'timeMs' | 'pauseMs' | 'totalMs' | 'doubts' | 'unreadablePages' | 'categories' | 'facts' | 'threads'
  > {
  readonly mappings: readonly StoredMapping[];
  readonly table: PageTable;
  /** Ranges of pages that were written since the last one; undefined for the first. */
  readonly written: readonly (readonly [page: number, count: number, value: number])[] | undefined;
  /** Categories of pages, as `Sections` has them. */
  readonly pageCategories: Uint8Array;
}

/** So many manifests in a row tell changes, at most: a reader of the last one reads all. */
const MOST_CHANGES = 128;
/** Changes up to so many bytes are always worth telling as such. */
const LEAST_FULL_BYTES = 4096;

const ZEROS = new Uint8Array(PAGE_SIZE);

const manifestName = (number: number) => manifestFile('', number);

/** Numbers in ascending order, those in a row as a range. */
function rangesText(numbers: readonly number[], name: (number: number) => string): string {
  const runs: [number, number][] = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run?.[1] === number - 1) run[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([from, to]) => (from === to ? name(from) : `${name(from)} to ${name(to)}`)).join(', ');
}

export class StoreWriter implements Disposable {
  readonly folder: string;
  readonly #lock: number;
  readonly #options: StoreOptions;
  readonly #index = new BlockIndex();
  readonly #data: DataFiles;
  #indexer: PageIndexer;
  /** What the newest snapshot shows. */
  #table: PageTable = new PageTable();
  #mappings = '';
  #categories: Uint8Array = new Uint8Array();
  #number = 0;
  #first = 1;
  #run = 1;
  /** Numbers of manifests that are there, of which only the first tells all, in groups. */
  readonly #groups: number[][] = [];
  #manifestBytes = new Map<number, number>();
  #fullBytes = 0;
  #changesBytes = 0;
  #newPages = 0;
  #isOpen = true;

  private constructor(folder: string, lock: number, options: StoreOptions) {
    this.folder = folder;
    this.#lock = lock;
    this.#options = options;
    const kind = compressionKind(options.compression ?? 'none');
    this.#data = new DataFiles(folder, kind, this.#index);
    this.#indexer = new PageIndexer(folder);
  }

  /**
   * Opens a store to add snapshots of a process, or makes one. Removes what a writer that was killed has left there.
   *
   * @throws SnapshotError 'busy', 'other-process', 'not-empty', 'version', 'damaged', 'unsafe', 'not-permitted'
   */
  static open(folder: string, about: StoreProcess, options: StoreOptions = {}): StoreWriter {
    compressionKind(options.compression ?? 'none');
    makeOwnFolder(folder);
    const files = listStore(folder);
    const known = readStoreFile(folder);
    const owner = known?.process;
    if (
      owner === undefined &&
      files.data.length + files.manifests.length + files.indexes.length + files.others.length > 0
    )
      throw new SnapshotError(
        'not-empty',
        `Cannot keep snapshots in ${folder}: it holds other files; give another folder`,
      );
    const isSame =
      owner === undefined ||
      (owner.pid === about.pid && owner.startTime === about.startTime && owner.bootId === about.bootId);
    if (!isSame)
      throw new SnapshotError(
        'other-process',
        `Cannot keep snapshots of process ${about.pid} in ${folder}: those of another process, ${owner.pid}, are there; give another folder`,
      );
    const lock = openLockFile(folder);
    try {
      if (!lockFile(lock))
        throw new SnapshotError(
          'busy',
          `Cannot keep snapshots in ${folder}: another pmscan writes there; end it, or give another folder`,
        );
      const tellMachine = () => writeStoreFile(folder, owner ?? about, options.machine ?? thisMachine());
      if (known === undefined) tellMachine();
      const writer = new StoreWriter(folder, lock, options);
      writer.#load(listStore(folder));
      // What is added to a store of format 1 is of the present one. Its process runs since the same start of the machine: on this one.
      if (known !== undefined && known.machine === undefined) tellMachine();
      return writer;
    } catch (error) {
      closeSync(lock);
      throw error;
    }
  }

  get newest(): number {
    return this.#number;
  }

  /** The oldest one that is kept. */
  get oldest(): number {
    return this.#first;
  }

  /** What all of it takes on the disk, bytes, holes not counted. */
  get storedBytes(): number {
    let bytes = this.#index.bytes + this.#indexer.bytes;
    for (const each of this.#manifestBytes.values()) bytes += each;
    return bytes;
  }

  #load({ manifests, indexes, parts }: StoreFiles): void {
    for (const name of parts) unlinkSync(join(this.folder, name));
    const sizes = indexes.map((number) => [number, fileBytes(indexFile(this.folder, number))] as const);
    this.#indexer = new PageIndexer(this.folder, new Map(sizes));
    const newest = manifests.at(-1);
    if (newest !== undefined) {
      this.#learnManifests(manifests);
      const { head } = readManifest(this.folder, newest);
      this.#number = newest;
      // The user may have deleted the oldest ones.
      this.#first = manifests.find((number) => number >= head.first)!;
      this.#run = head.run + 1;
      this.#indexer.remove(this.#first, this.#number);
      this.#count(manifests.filter((number) => number >= this.#first));
      this.#removeGroups();
    } else this.#indexer.remove(0, 0);
    this.#data.removeUnknown();
  }

  /**
   * Learns sizes and groups of the manifests.
   *
   * @throws SnapshotError 'damaged' when any is, or one that it is told by. Nobody knows which blocks such a snapshot needs. To
   *   go on would give their space back, and a manifest that somebody restores would be worth nothing.
   */
  #learnManifests(manifests: readonly number[]): void {
    const whole = new Set<number>();
    for (const number of manifests) {
      const base = this.#baseOf(number);
      if (base === undefined || (base > 0 && !whole.has(base))) continue;
      whole.add(number);
      this.#manifestBytes.set(number, fileBytes(manifestFile(this.folder, number)));
      if (base === 0) this.#groups.push([number]);
      else this.#groups.at(-1)!.push(number);
    }
    const lost = manifests.filter((number) => !whole.has(number));
    if (lost.length > 0)
      throw new SnapshotError(
        'damaged',
        `Cannot keep snapshots in ${this.folder}: snapshots there are damaged: ${rangesText(lost, String)}; \`pmscan snap verify\` says what is wrong; give another folder, or delete the damaged ones and go on without them: the files ${rangesText(lost, manifestName)}`,
      );
  }

  /** The snapshot that another one is told by, 0 for one that tells all; undefined where its manifest is damaged. */
  #baseOf(number: number): number | undefined {
    try {
      return readManifest(this.folder, number).base;
    } catch (error) {
      if (isDamage(error)) return undefined;
      throw error;
    }
  }

  /** Finds out which blocks the snapshots need. */
  #count(numbers: readonly number[]): void {
    try {
      this.#countBlocks(numbers);
    } catch (error) {
      if (!isDamage(error)) throw error;
      throw new SnapshotError(
        'damaged',
        `Cannot keep snapshots in ${this.folder}: ${error.message}; \`pmscan snap verify\` lists the damaged snapshots; give another folder, or delete the files of those and go on without them: ${manifestName(this.#number)} is that of snapshot ${this.#number}`,
        { cause: error },
      );
    }
  }

  #countBlocks(numbers: readonly number[]): void {
    using pages = new PageReader(this.folder);
    const replay = new Replay(this.folder);
    let last: Point | undefined;
    for (const number of numbers) {
      const lastNumber = last?.manifest.number ?? 0;
      const visit = (_: number, before: number, now: number) => this.#change(before, now, lastNumber);
      const learn = (reference: number) => {
        if (reference <= ZERO || this.#index.has(reference)) return;
        const { head, bytes } = pages.head(reference);
        this.#data.learn(reference, bytes, head.checks);
      };
      if (lastNumber === number - 1 && last !== undefined) {
        const changed: [number, number][] = [];
        last = replay.to(number, (page, before, now) => {
          learn(now);
          visit(page, before, now);
          addToSpans(changed, page);
        });
        const { manifest, mappings } = last;
        const written = decodeRanges(manifest.sections.written);
        this.#indexer.note(number, {
          changed,
          written,
          mappings: manifest.hasMappings ? mappings : undefined,
        });
        continue;
      }
      // The first one, or the first behind some that the user has deleted: it tells all.
      const before = last?.table ?? new PageTable();
      last = replay.to(number);
      this.#indexer.begin(number, last.mappings);
      last.table.differences(before, (page, now, earlier) => {
        learn(now);
        visit(page, earlier, now);
      });
    }
    this.#table = last!.table;
  }

  #change(before: number, now: number, last: number): void {
    if (now > ZERO) this.#index.use(now);
    if (before > ZERO) this.#index.release(before, last);
  }

  /** Keeps a page, unless the store has its bytes already. Returns its reference. */
  put(page: Uint8Array): number {
    if (Buffer.compare(page, ZEROS) === 0) return ZERO;
    const check = checkValue(page);
    const known = this.#index.find(check) ?? this.#data.findPending(check);
    if (known !== undefined) return known;
    this.#newPages++;
    return this.#data.append(page, check);
  }

  /** Adds a snapshot: it is whole, and on the disk, once this has ended. */
  async add(snapshot: NewSnapshot): Promise<ManifestHead> {
    const { table, written = [], mappings, pageCategories, ...rest } = snapshot;
    const grownBytes = this.#data.finish();
    await this.#data.sync();
    const number = this.#number + 1;
    const isFirst = this.#groups.length === 0 || snapshot.written === undefined;
    const changes = isFirst ? undefined : table.encode(this.#table);
    const isFull =
      changes === undefined ||
      this.#groups.at(-1)!.length > MOST_CHANGES ||
      this.#changesBytes + changes.length > Math.max(LEAST_FULL_BYTES, this.#fullBytes);
    const { changed, ...counts } = this.#compare(table, number);
    const mappingsText = JSON.stringify(mappings);
    const hasSameMappings = mappingsText === this.#mappings;
    const hasSameCategories = !isFull && Buffer.compare(pageCategories, this.#categories) === 0;
    const pages = isFull ? table.encode(new PageTable()) : changes;
    this.#first = this.#chooseFirst(number);
    const head: ManifestHead = {
      number,
      base: isFull ? 0 : this.#number,
      first: this.#first,
      run: this.#run,
      ...rest,
      ...counts,
      writtenPages: written.reduce((sum, [, count]) => sum + count, 0),
      newPages: this.#newPages,
      storedBytes: grownBytes,
      mappings: hasSameMappings && !isFull ? undefined : mappings,
    };
    const sections = {
      pages,
      written: encodeRanges(written),
      categories: hasSameCategories ? undefined : pageCategories,
    };
    const bytes = encodeManifest({ head, sections });
    writeWhole(manifestFile(this.folder, number), bytes);
    if (isFull) {
      this.#groups.push([number]);
      this.#fullBytes = pages.length;
      this.#changesBytes = 0;
    } else {
      this.#groups.at(-1)!.push(number);
      this.#changesBytes += pages.length;
    }
    this.#manifestBytes.set(number, bytes.length);
    [this.#number, this.#table, this.#mappings, this.#categories] = [
      number,
      table,
      mappingsText,
      pageCategories,
    ];
    this.#newPages = 0;
    this.#indexer.note(number, { changed, written, mappings: hasSameMappings ? undefined : mappings });
    // Only now does nobody need them any more.
    this.#data.drop(this.#first);
    this.#indexer.remove(this.#first, number);
    this.#removeGroups();
    return { ...head, mappings };
  }

  /** Notes which pages the snapshot needs, and counts them. */
  #compare(
    table: PageTable,
    number: number,
  ): { pages: number; changedPages: number; changed: readonly PageSpan[] } {
    let changedPages = 0;
    const changed: [number, number][] = [];
    table.differences(this.#table, (page, now, before) => {
      changedPages++;
      addToSpans(changed, page);
      this.#change(before, now, number - 1);
    });
    return { pages: table.count(), changedPages, changed };
  }

  /** The oldest snapshot that stays when this one is there, too. */
  #chooseFirst(number: number): number {
    const { keepBytes } = this.#options;
    // The newest one stays in any case.
    const keep = Math.max(1, this.#options.keep ?? Number.POSITIVE_INFINITY);
    let first = this.#first;
    const drop = () => {
      const bytes = this.#index.bytesOf(first);
      first++;
      return bytes;
    };
    // Numbers have gaps where damaged ones were deleted.
    let held = 1;
    for (let each = first; each < number; each++) if (this.#manifestBytes.has(each)) held++;
    while (held > keep) {
      if (this.#manifestBytes.has(first)) held--;
      drop();
    }
    if (keepBytes === undefined) return first;
    let bytes = this.storedBytes;
    for (let dropped = this.#first; dropped < first; dropped++) bytes -= this.#index.bytesOf(dropped);
    while (bytes > keepBytes && first < number) bytes -= drop();
    return first;
  }

  /** Removes manifests of dropped snapshots, as far as no other one is told as a change of them. */
  #removeGroups(): void {
    while (this.#groups.length > 1 && this.#groups[1]![0]! <= this.#first) {
      // From the end, so that none is left that is told as a change of one that is gone, whenever this is ended.
      for (const number of this.#groups.shift()!.reverse()) {
        unlinkSync(manifestFile(this.folder, number));
        this.#manifestBytes.delete(number);
      }
    }
  }

  /** Removes pages that were put and are in no snapshot. */
  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      this.#data[Symbol.dispose]();
    } finally {
      closeSync(this.#lock);
    }
  }
}
