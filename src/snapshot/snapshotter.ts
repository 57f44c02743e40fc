/// <reference lib="esnext.disposable" preserve="true" />
/** Takes snapshots of a running process on request. */
import { readFileSync } from 'node:fs';
import {
  BASE_CATEGORIES,
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_SOFT_DIRTY,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  RegionBuffer,
} from '../abi/index.js';
import { type CoreOptions, type DumpHooks, Follower } from '../core/internal.js';
import {
  kernelCategories,
  type LivePagemap,
  ProcessHandle,
  requireSmallPages,
  userSpaceEnd,
} from '../live/internal.js';
import { isPrivateAnonymous, type Mapping, parseStatStartTime } from '../proc/internal.js';
import { forEachRegion } from '../query/index.js';
import type { SnapshotCompression } from './block.js';
import { describeSnapshot, type SnapshotInfo } from './info.js';
import { encodeRanges, pageOf } from './page-table.js';
import { SnapshotSink } from './sink.js';
import { type StoreOptions, StoreWriter } from './store.js';
import type { StoreProcess } from './store-file.js';

export interface SnapshotterOptions
  extends Pick<
    CoreOptions,
    | 'filter'
    | 'only'
    | 'without'
    | 'zero'
    | 'maxPauseMs'
    | 'overPause'
    | 'maxRounds'
    | 'shared'
    | 'signal'
    | 'onProgress'
  > {
  /** The most snapshots to keep: the oldest ones are dropped. All by default. */
  readonly keep?: number | undefined;
  /** The most bytes that the folder may take: the oldest snapshots are dropped. The newest one always stays. */
  readonly keepBytes?: number | undefined;
  /** How pages are compressed; `none` by default. */
  readonly compression?: SnapshotCompression | undefined;
}

function describeProcess(handle: ProcessHandle): StoreProcess {
  return {
    pid: handle.pid,
    startTime: parseStatStartTime(handle.read('stat')).startTimeTicks,
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    name: handle.name(),
    commandLine: handle.commandLine(),
  };
}

/** The categories that are kept of each page: that it was written is known from its bytes. */
function keptCategories(): number {
  const all = BASE_CATEGORIES | PAGE_IS_SOFT_DIRTY | PAGE_IS_GUARD;
  return kernelCategories() & all & ~(PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED);
}

/** Private anonymous mappings of at least so many bytes are asked without FILE. */
const LARGE_BYTES = 16 << 20;

/**
 * Reads the categories of the pages. FILE makes the kernel look at each page, which takes four times as long as all the
 * rest. So it is not asked for in large private anonymous mappings, which have no file pages.
 */
function readCategories(
  pagemap: LivePagemap,
  buffer: RegionBuffer,
  mappings: readonly { readonly mapping: Mapping }[],
): Uint8Array {
  const kept = keptCategories();
  const ranges: [number, number, number][] = [];
  const read = (start: number, end: number, mask: number) =>
    forEachRegion(
      pagemap,
      { start, end, categoryAnyofMask: mask, returnMask: mask },
      (from, to, categories) => ranges.push([pageOf(from), (to - from) / PAGE_SIZE, categories]),
      { buffer },
    );
  let at = 0;
  for (const { mapping } of mappings) {
    const { start, end } = mapping;
    if (end - start < LARGE_BYTES || !isPrivateAnonymous(mapping)) continue;
    if (at < start) read(at, start, kept);
    read(start, end, kept & ~PAGE_IS_FILE);
    at = end;
  }
  read(at, userSpaceEnd(), kept);
  return encodeRanges(ranges);
}

/** Takes snapshots of one process into one folder. Made by {@link startSnapshots}. */
export interface Snapshotter extends Disposable {
  /** The process's pages. It belongs to this. */
  readonly pagemap: LivePagemap;
  /** The size of the folder on the disk, bytes. */
  readonly storedBytes: number;
  /** The oldest snapshot that is kept, and the newest; 0 for none yet. */
  readonly kept: { readonly oldest: number; readonly newest: number };
  /**
   * Takes a snapshot: the state of the process at one moment. The process is stopped for a moment. When the promise
   * resolves, the snapshot is on the disk. After an error, no more snapshots can be taken; earlier ones are intact.
   *
   * @throws what `dumpCore` throws; SnapshotError 'space'
   */
  take(): Promise<SnapshotInfo>;
  /** Call it now and then between snapshots, like a tracker's: it helps processes that grow memory by mremap. */
  lookForNeighbours(): void;
}

export class ProcessSnapshotter implements Snapshotter {
  readonly #follower: Follower;
  readonly #store: StoreWriter;
  readonly #sink: SnapshotSink;
  readonly #stopped: { timeMs: number };
  #failure: unknown;

  private constructor(
    follower: Follower,
    store: StoreWriter,
    sink: SnapshotSink,
    stopped: { timeMs: number },
  ) {
    this.#follower = follower;
    this.#store = store;
    this.#sink = sink;
    this.#stopped = stopped;
  }

  /** Use {@link startSnapshots}. */
  static async start(
    pid: number,
    folder: string,
    options: SnapshotterOptions = {},
    hooks: DumpHooks = {},
  ): Promise<ProcessSnapshotter> {
    const { keep, keepBytes, compression, ...follow } = options;
    requireSmallPages(`take snapshots of process ${pid}`);
    const about = aboutProcess(pid);
    const storeOptions: StoreOptions = { keep, keepBytes, compression };
    const stopped = { timeMs: 0 };
    const buffer = new RegionBuffer(8192);
    let pagemap: LivePagemap | undefined;
    let store: StoreWriter | undefined;
    let sink: SnapshotSink | undefined;
    // Only once the process is attached to: of one that cannot be, no folder is left.
    const open = () => {
      store = StoreWriter.open(folder, about, storeOptions);
      sink = new SnapshotSink(store, (mappings) => readCategories(pagemap!, buffer, mappings));
      return sink;
    };
    try {
      const follower = await Follower.attach(pid, open, follow, {
        ...hooks,
        whileStopped: (process) => {
          stopped.timeMs = Date.now() - process.elapsedMs;
          hooks.whileStopped?.(process);
        },
      });
      pagemap = follower.pagemap;
      return new ProcessSnapshotter(follower, store!, sink!, stopped);
    } catch (error) {
      store?.[Symbol.dispose]();
      throw error;
    }
  }

  get pagemap(): LivePagemap {
    return this.#follower.pagemap;
  }

  get storedBytes(): number {
    return this.#store.storedBytes;
  }

  get kept(): { readonly oldest: number; readonly newest: number } {
    return { oldest: this.#store.oldest, newest: this.#store.newest };
  }

  async take(): Promise<SnapshotInfo> {
    if (this.#failure !== undefined)
      throw new Error('Cannot take another snapshot: the last one failed; start snapshots anew', {
        cause: this.#failure,
      });
    try {
      return await this.#take();
    } catch (error) {
      // What the store and the tracking know is of two moments by now.
      this.#failure = error;
      throw error;
    }
  }

  async #take(): Promise<SnapshotInfo> {
    const result = await this.#follower.take();
    const { state, ...kept } = this.#sink.take();
    const head = await this.#store.add({
      ...kept,
      categories: keptCategories(),
      facts: state.facts,
      threads: state.threads,
      timeMs: Math.round(this.#stopped.timeMs),
      pauseMs: result.pauseMs,
      totalMs: result.totalMs,
      doubts: result.doubts ?? [],
      unreadablePages: result.unreadablePages,
    });
    return describeSnapshot(head);
  }

  lookForNeighbours(): void {
    this.#follower.lookForNeighbours();
  }

  [Symbol.dispose](): void {
    try {
      if (!this.#follower.pagemap.ended) this.#follower.release();
    } finally {
      this.#follower[Symbol.dispose]();
      this.#store[Symbol.dispose]();
    }
  }
}

function aboutProcess(pid: number): StoreProcess {
  using handle = new ProcessHandle(pid);
  return describeProcess(handle);
}

/**
 * Begins to take snapshots of a running process. The first `take` copies all of its memory, each later one only written
 * pages. Each stops the process for milliseconds. It needs Linux 6.7 and the permissions of a debugger.
 *
 * @param folder of the snapshots; it is made when it does not exist. Memory holds secrets, so only its owner may read
 * it
 * @throws SnapshotError for a folder that cannot be used, and the errors of `dumpCore`
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
 *   const { number, changedPages, pauseMs } = await snapshotter.take();
 *   console.assert(number === 2 && changedPages < 100 && pauseMs > 0);
 * }
 * child.kill();
 * using snapshots = openSnapshots(folder);
 * console.assert(snapshots.list().length === 2);
 * rmSync(folder, { recursive: true });
 * ```
 */
export async function startSnapshots(
  pid: number,
  folder: string,
  options?: SnapshotterOptions,
): Promise<Snapshotter> {
  return await ProcessSnapshotter.start(pid, folder, options);
}
