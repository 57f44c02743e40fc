/// <reference lib="esnext.disposable" preserve="true" />
/** Reading a store: its snapshots, one by one. */
import type { Pagemap, RegionBuffer, ScanRequest, ScanResult } from '../abi/index.js';
import { MOST_USER_SPACE_END, PAGE_SIZE } from '../abi/internal.js';
import { coreArchitectureOf, PageSet, pointersOf, programAddresses } from '../core/internal.js';
import type { Mapping } from '../proc/index.js';
import { mappingAt, readsAsZeros } from './content.js';
import { writeCoreFile } from './core-file.js';
import { compareSnapshots, type DiffOptions, type SnapshotDifference } from './diff.js';
import { SnapshotError } from './errors.js';
import { listStore } from './files.js';
import { type HistoryEntry, type HistoryOptions, readHistory } from './history.js';
import { describeSnapshot, type SnapshotInfo } from './info.js';
import { type DamagedSnapshot, isLost, keptNumbers, Listing } from './listing.js';
import { type Point, Replay, readManifest } from './log.js';
import { ABSENT, decodeRanges, pageOf } from './page-table.js';
import { type PageRanges, SnapshotPagemap } from './pagemap.js';
import { PageReader } from './pages.js';
import { machineOfRegisters, readStoreFile, type StoreMachine, type StoreProcess } from './store-file.js';
import { type Verification, type VerifyOptions, verifyStore } from './verify.js';

/** A thread at the moment of the snapshot. */
export interface SnapshotThread {
  readonly tid: number;
  /** Its number in its own PID namespace, which is the one that it knows itself by: the two differ in containers. */
  readonly ownTid: number;
  /**
   * Its name, chosen by the process; read a moment after the snapshot. Empty when the thread had ended by then, and in
   * snapshots of version 0.2.0 and before.
   */
  readonly name: string;
  /** An address. */
  readonly stackPointer: number;
}

/**
 * A process as it was at one moment. It is a `Pagemap`: scans give the categories of its pages, with WRITTEN for pages
 * that were written or changed since the snapshot before. PagemapError EOPNOTSUPP refuses scans that protect, and
 * categories that were not noted, for instance WRITTEN in the first snapshot of a run. It is valid as long as its
 * {@link Snapshots}.
 */
export interface Snapshot extends Pagemap {
  readonly info: SnapshotInfo;
  /** The main one first. */
  readonly threads: readonly SnapshotThread[];
  /** The file of its program, by the name of its mapping; undefined where it is not mapped. */
  readonly program: string | undefined;
  /** The process's mappings, in the order of addresses. */
  readonly mappings: readonly Mapping[];
  /** The categories that scans can tell, as a bit set. */
  readonly categories: number;
  /**
   * Reads memory, of any length and at any address that is mapped.
   *
   * @throws SnapshotError 'no-bytes' for memory that is not mapped or not kept; 'damaged'
   */
  read(address: number, lengthBytes: number): Uint8Array;
  /** The page that an address lies in; undefined when the snapshot does not hold it. */
  page(address: number): Uint8Array | undefined;
  /**
   * Writes an ELF core file, for gdb and other debuggers: the same that `dumpCore` would have written at the moment of
   * the snapshot.
   *
   * @returns its length, and its size on the disk, bytes
   * @throws SnapshotError 'damaged', 'space'
   */
  writeCore(file: string): Promise<{ readonly bytes: number; readonly storedBytes: number }>;
}

/** How {@link Snapshots.find} looks for a snapshot. */
export interface FindOptions {
  /**
   * Called for each damaged snapshot that the choice leaves out, ascending: one of them would be found, or would count, if it
   * were whole.
   */
  readonly onDamaged?: ((number: number) => void) | undefined;
}

/** A snapshot, from the data that a reader found. */
export class StoredSnapshot implements Snapshot {
  readonly info: SnapshotInfo;
  readonly mappings: readonly Mapping[];
  readonly #point: Point;
  readonly #pages: PageReader;
  readonly #machine: StoreMachine;
  readonly #changed: PageRanges | undefined;
  #pagemap: SnapshotPagemap | undefined;

  constructor(point: Point, pages: PageReader, machine: StoreMachine, changed: PageRanges | undefined) {
    this.info = describeSnapshot(point.manifest.head);
    this.mappings = point.mappings.map(({ mapping }) => mapping);
    this.#point = point;
    this.#pages = pages;
    this.#machine = machine;
    this.#changed = changed;
  }

  get threads(): readonly SnapshotThread[] {
    const arch = coreArchitectureOf(this.#machine.architecture)!;
    return this.#point.manifest.head.threads.map((thread) => ({
      tid: thread.tid,
      ownTid: thread.ids.pid,
      name: thread.name ?? '',
      stackPointer: pointersOf(arch, thread).stack,
    }));
  }

  get program(): string | undefined {
    for (const address of programAddresses(this.#point.manifest.head.facts.auxv)) {
      const name = mappingAt(this.#point.mappings, address)?.mapping.name;
      if (name?.startsWith('/')) return name;
    }
    return undefined;
  }

  get categories(): number {
    return this.#map.categories;
  }

  get pageSize(): number {
    return this.#map.pageSize;
  }

  scan(request: ScanRequest, output: RegionBuffer | null): ScanResult {
    return this.#map.scan(request, output);
  }

  get #map(): SnapshotPagemap {
    this.#pagemap ??= new SnapshotPagemap({
      mappings: this.mappings,
      categories: decodeRanges(this.#point.categories),
      known: this.#point.manifest.head.categories,
      written: this.#changed,
      userSpaceEnd: this.#machine.userSpaceEnd,
    });
    return this.#pagemap;
  }

  read(address: number, lengthBytes: number): Uint8Array {
    const bytes = new Uint8Array(lengthBytes);
    for (let done = 0; done < lengthBytes; ) {
      const at = address + done;
      const page = this.#page(at);
      if (page === undefined)
        throw new SnapshotError(
          'no-bytes',
          `Cannot read 0x${at.toString(16)} of snapshot ${this.info.number}: it is not mapped there, or its content is not kept`,
        );
      const from = at % PAGE_SIZE;
      const length = Math.min(PAGE_SIZE - from, lengthBytes - done);
      bytes.set(page.subarray(from, from + length), done);
      done += length;
    }
    return bytes;
  }

  page(address: number): Uint8Array | undefined {
    return this.#page(address)?.slice();
  }

  /** It is valid until others are read. */
  #page(address: number): Uint8Array | undefined {
    const reference = this.#point.table.get(pageOf(address));
    if (reference !== ABSENT) return this.#pages.read(reference);
    const stored = mappingAt(this.#point.mappings, address);
    return stored !== undefined && readsAsZeros(stored) ? this.#pages.read(ABSENT) : undefined;
  }

  writeCore(file: string): Promise<{ readonly bytes: number; readonly storedBytes: number }> {
    return writeCoreFile(this.#point, this.#pages, this.#machine, file);
  }
}

/**
 * The snapshots of a process in a folder. Made by {@link openSnapshots}.
 *
 * @example
 * ```ts
 * import { spawn } from 'node:child_process';
 * import { once } from 'node:events';
 * import { mkdtempSync, rmSync } from 'node:fs';
 * import { openSnapshots, type Snapshots, startSnapshots } from 'pagemap-scan/snapshot';
 * const folder = mkdtempSync('/tmp/snapshots-');
 * const child = spawn('sleep', ['60']);
 * await once(child, 'spawn');
 * {
 *   using snapshotter = await startSnapshots(child.pid!, folder);
 *   for (let count = 0; count < 2; count++) await snapshotter.take();
 * }
 * child.kill();
 * {
 *   using snapshots: Snapshots = openSnapshots(folder);
 *   console.assert(snapshots.numbers().join() === '1,2' && snapshots.find('-1') === 2);
 *   const { end } = snapshots.open(1).mappings.find(({ name }) => name === '[stack]')!;
 *   console.assert(Buffer.from(snapshots.open(1).read(end - 4096, 4096)).includes('sleep')); // its program's path
 * }
 * rmSync(folder, { recursive: true });
 * ```
 */
export class Snapshots implements Disposable {
  readonly folder: string;
  readonly process: StoreProcess;
  readonly machine: StoreMachine;
  readonly #pages: PageReader;
  readonly #listing: Listing;

  /** Use {@link openSnapshots}. */
  constructor(folder: string, process: StoreProcess, machine: StoreMachine) {
    this.folder = folder;
    this.process = process;
    this.machine = machine;
    this.#pages = new PageReader(folder);
    this.#listing = new Listing(folder);
  }

  /**
   * Numbers of the kept snapshots, damaged ones included, ascending.
   *
   * @throws SnapshotError 'version', 'not-permitted'
   */
  numbers(): number[] {
    return keptNumbers(this.folder);
  }

  /**
   * All intact snapshots, the oldest first; {@link Snapshots.damaged} lists the others.
   *
   * @throws SnapshotError 'version', 'not-permitted'
   */
  list(): SnapshotInfo[] {
    return this.#listing.look(this.numbers()).infos;
  }

  /**
   * The snapshots that cannot be read, the oldest first: their manifest is damaged, or one that they build on. Only
   * {@link Snapshots.verify} checks the bytes of pages, too.
   *
   * @throws SnapshotError 'version', 'not-permitted'
   */
  damaged(): DamagedSnapshot[] {
    return this.#listing.look(this.numbers()).damaged;
  }

  /**
   * Finds the number of a snapshot by `latest`, by a number, by `-3` (the third from the end), or by a time such as
   * `2026-11-29T10:00` (the last one that is not later). The time is in this machine's time zone, unless it names
   * another. Only a number finds a damaged snapshot: all else means whole ones.
   *
   * @throws SnapshotError 'not-found', and 'damaged' when all of them are
   */
  find(which: string, { onDamaged = () => undefined }: FindOptions = {}): number {
    const numbers = this.numbers();
    const missing = (why: string) =>
      new SnapshotError('not-found', `Cannot find snapshot ${which} in ${this.folder}: ${why}`);
    if (numbers.length === 0) throw missing('there is none');
    const range = `there are ${numbers[0]} to ${numbers.at(-1)}`;
    if (/^\d+$/.test(which)) {
      if (numbers.includes(Number(which))) return Number(which);
      throw missing(range);
    }
    const found = this.#findWhole(which, numbers, missing);
    if (found.number === undefined) {
      if (found.damaged.length === numbers.length)
        throw new SnapshotError(
          'damaged',
          `Cannot find snapshot ${which} in ${this.folder}: all snapshots are damaged; \`pmscan snap verify\` says what is wrong`,
        );
      const lost = found.damaged.length === 0 ? '' : `; damaged: ${found.damaged.join(', ')}`;
      throw missing(`${found.why ?? range}${lost}`);
    }
    for (const each of found.damaged) onDamaged(each);
    return found.number;
  }

  /** Finds one among the whole snapshots, and tells which damaged ones could be meant. */
  #findWhole(
    which: string,
    numbers: readonly number[],
    missing: (why: string) => SnapshotError,
  ): { number: number | undefined; damaged: readonly number[]; why?: string } {
    if (which === 'latest' || /^-\d+$/.test(which)) {
      let left = which === 'latest' ? 1 : -Number(which);
      const damaged: number[] = [];
      if (left > 0)
        for (const number of this.#listing.newestFirst(numbers, (each) => damaged.unshift(each)))
          if (--left === 0) return { number, damaged };
      return { number: undefined, damaged };
    }
    const time = Date.parse(/^\d{4}-\d\d-\d\d$/.test(which) ? `${which}T00:00` : which);
    if (Number.isNaN(time) || !/^\d{4}-/.test(which))
      throw missing('give a number, latest, -1 for the last, or a time: 2026-11-29T10:00');
    const { infos, damaged } = this.#listing.look(numbers);
    // All of them: a clock may have been set back.
    const number = infos.filter((info) => info.time.getTime() <= time).at(-1)?.number;
    const from = number ?? 0;
    // Nobody knows the moment of a damaged one: those up to the next whole one are in question.
    const to = infos.find((info) => info.number > from)?.number ?? Number.POSITIVE_INFINITY;
    const between = damaged.map((each) => each.number).filter((each) => each > from && each < to);
    return { number, damaged: between, why: 'all of them are later' };
  }

  /**
   * Opens a snapshot, by all that {@link Snapshots.find} knows. `info.number` of the result says which one it is.
   *
   * @throws SnapshotError 'not-found', 'damaged', 'version'
   */
  open(which: number | string): Snapshot {
    const number = this.find(String(which));
    const before = number - 1;
    const changed = new PageSet();
    let replay = new Replay(this.folder);
    let isRunsFirst = true;
    try {
      if (this.#isFollowed(number)) {
        replay.to(before);
        isRunsFirst = false;
      }
    } catch (error) {
      // This one may be whole, even so.
      if (!isLost(error)) throw error;
      replay = new Replay(this.folder);
    }
    const point = replay.to(number, (page) => changed.add(page * PAGE_SIZE, (page + 1) * PAGE_SIZE));
    return new StoredSnapshot(
      point,
      this.#pages,
      this.machine,
      isRunsFirst ? undefined : union(decodeRanges(point.manifest.sections.written), changed),
    );
  }

  /**
   * Compares two snapshots; `from` is the earlier one.
   *
   * @throws SnapshotError 'not-found', 'damaged', 'version'
   */
  async diff(
    from: number | string,
    to: number | string,
    options: DiffOptions = {},
  ): Promise<SnapshotDifference> {
    const [first, last] = [this.find(String(from)), this.find(String(to))];
    if (first >= last)
      throw new SnapshotError(
        'not-found',
        `Cannot compare snapshot ${first} with ${last}: give the earlier one first`,
      );
    const before = new Replay(this.folder).to(first);
    const replay = new Replay(this.folder);
    const isBetween = (number: number) => number >= first && number <= last;
    const infos = this.list().filter(({ number }) => isBetween(number));
    // Of one that is damaged, or that its owner has deleted, nobody knows what was written before it.
    const isAllKnown = infos.length === last - first + 1 && infos.every(({ run }) => run === infos[0]!.run);
    const written: Uint8Array[] = [];
    if (isAllKnown)
      for (const { number } of infos.slice(1))
        written.push(readManifest(this.folder, number).sections.written);
    const after = replay.to(last);
    return await compareSnapshots(before, after, this.folder, isAllKnown ? written : undefined, options);
  }

  /**
   * Tells when bytes changed, and from what to what. It leaves out damaged snapshots, unless it is known that they do
   * not touch these bytes.
   *
   * @param address of the first byte; it need not be page-aligned
   * @throws SnapshotError 'damaged' when pages are, 'version'
   */
  history(address: number, lengthBytes: number, options: HistoryOptions = {}): HistoryEntry[] {
    return readHistory(this.folder, this.numbers(), this.#pages, address, lengthBytes, options);
  }

  /** Checks that all bytes are as they were written. */
  verify(options: VerifyOptions = {}): Promise<Verification> {
    return verifyStore(this.folder, options);
  }

  /** Whether the snapshot before it is kept, and of the same run. */
  #isFollowed(number: number): boolean {
    const runOf = (each: number) => readManifest(this.folder, each).head.run;
    return this.numbers().includes(number - 1) && runOf(number - 1) === runOf(number);
  }

  [Symbol.dispose](): void {
    this.#pages[Symbol.dispose]();
  }
}

/** Ranges, and pages besides them, as ranges. */
function union(ranges: PageRanges, pages: PageSet): PageRanges {
  for (const [page, count] of ranges) pages.add(page * PAGE_SIZE, (page + count) * PAGE_SIZE);
  const found: [page: number, count: number, value: number][] = [];
  pages.runs(0, MOST_USER_SPACE_END, true, (start, end) =>
    found.push([pageOf(start), (end - start) / PAGE_SIZE, 0]),
  );
  return found;
}

/**
 * Opens a folder of snapshots; that also works while snapshots are being taken. Dispose it to close its files.
 *
 * @throws SnapshotError 'not-found', 'damaged', 'version', 'not-permitted'
 * @example
 * ```ts
 * import { spawn } from 'node:child_process';
 * import { once } from 'node:events';
 * import { mkdtempSync, rmSync } from 'node:fs';
 * import { openSnapshots, startSnapshots } from 'pagemap-scan/snapshot';
 * const folder = mkdtempSync('/tmp/snapshots-');
 * const child = spawn('sleep', ['60']);
 * await once(child, 'spawn');
 * {
 *   using snapshotter = await startSnapshots(child.pid!, folder);
 *   await snapshotter.take();
 * }
 * child.kill();
 * {
 *   using snapshots = openSnapshots(folder);
 *   const { mappings } = snapshots.open('latest');
 *   console.assert(snapshots.process.pid === child.pid && mappings.some(({ name }) => name === '[stack]'));
 * }
 * rmSync(folder, { recursive: true });
 * ```
 */
export function openSnapshots(folder: string): Snapshots {
  const { manifests } = listStore(folder);
  const store = readStoreFile(folder);
  if (store === undefined)
    throw new SnapshotError('not-found', `Cannot open ${folder}: there are no snapshots in it`);
  const { process, machine = machineOfThreads(folder, manifests) } = store;
  return new Snapshots(folder, process, machine);
}

/** The machine of a store that does not tell it, by the newest snapshot that can be read. */
function machineOfThreads(folder: string, numbers: readonly number[]): StoreMachine {
  for (const number of [...numbers].reverse())
    try {
      return machineOfRegisters(readManifest(folder, number).head.threads[0]?.registers);
    } catch (error) {
      // Who looks at it is told so; other snapshots may be whole.
      if (!(error instanceof SnapshotError)) throw error;
    }
  return machineOfRegisters(undefined);
}
