/** Which pages of this process's own memory are written, or accessed. */
import {
  errnoNumber,
  PAGE_IS_ACCESSED,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  type RegionBuffer,
  uffd,
} from '../abi/index.js';
import {
  ASYNC_RWP_FEATURES,
  bufferAddress,
  type LivePagemap,
  mappingsCover,
  openPagemap,
  pageSize,
  Userfaultfd,
} from '../live/internal.js';
import { requireAccesses } from './attach.js';
import { disposedError } from './disposed.js';
import { ALL_WRITTEN } from './protected-scan.js';

/** The part of WebAssembly.Memory that is used here: not every TypeScript configuration knows its type. */
export interface WasmMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  grow(delta: number): number;
}

/** Options of `trackMemory` and `allocateTracked`. */
export interface OwnTrackOptions {
  /**
   * Track the pages that are accessed (read, written or executed), instead of those that are written: Linux
   * 7.3. Reads by this program's own code count, too. The first access to a page after each collect costs a
   * page fault.
   */
  readonly accesses?: boolean | undefined;
}

/** What can be tracked. */
export type TrackableMemory = ArrayBuffer | SharedArrayBuffer | ArrayBufferView | WasmMemory;

interface WasmMemoryOptions {
  readonly initial: number;
  readonly maximum: number;
  readonly shared: boolean;
}

const { WebAssembly } = globalThis as unknown as {
  WebAssembly: { Memory: new (options: WasmMemoryOptions) => WasmMemory };
};

/** The result of one `collect` or `peek`. */
export interface Collected {
  /** Runs of written pages in the output. */
  readonly regions: number;
  /** Pages in them. */
  readonly pages: number;
  /** False when the output was too small. Call again to go on where it stopped. */
  readonly done: boolean;
}

function isWasmMemory(memory: TrackableMemory): memory is WasmMemory {
  return 'grow' in memory && 'buffer' in memory && !ArrayBuffer.isView(memory);
}

const ACTION = 'track writes to memory';
const ACTION_ACCESSES = 'track accesses to memory';

function gone(hint: string): PagemapError {
  return new PagemapError(ACTION, { errno: errnoNumber('EFAULT')!, syscall: 'ioctl(PAGEMAP_SCAN)', hint });
}

/** Trackers by the first address of what they track: the write-watch calls find them by address. */
const trackers = new Map<number, MemoryTracker>();

/** The tracker that tracks all whole pages of [base, base + size), and undefined when there is none. */
export function trackerAt(base: number, sizeBytes: number): MemoryTracker | undefined {
  for (const tracker of trackers.values()) {
    if (tracker.start <= base && base + sizeBytes <= tracker.end) return tracker;
  }
  return undefined;
}

/**
 * Tracks which pages of a piece of this process's memory are written, by any of its threads and by the kernel for it. Made
 * by {@link trackMemory} and {@link allocateTracked}; dispose it to end the tracking.
 *
 * It keeps the memory alive. The memory can still go away, when its buffer is transferred or a WebAssembly
 * memory grows. Then every call throws an error that says so; take all of the memory as written.
 *
 * @example
 * ```ts
 * import { type MemoryTracker, pageSize, RegionBuffer, trackMemory } from 'pagemap-scan';
 * const bytes = new Uint8Array(100 * pageSize());
 * using tracker: MemoryTracker = trackMemory(bytes);
 * const output = new RegionBuffer(64);
 * bytes[tracker.offsetBytes] = 1;
 * console.assert(tracker.peek(output).pages === 1 && tracker.peek(output).pages === 1);
 * tracker.reset();
 * console.assert(tracker.peek(output).pages === 0);
 * ```
 */
export class MemoryTracker implements Disposable {
  /** Address of the first tracked page. */
  readonly start: number;
  /** Address behind the last tracked page. */
  readonly end: number;
  /** The offset of the first tracked page in the given memory, bytes. */
  readonly offsetBytes: number;
  readonly #memory: WasmMemory | undefined;
  readonly #buffer: ArrayBuffer | SharedArrayBuffer;
  readonly #neededBytes: number;
  readonly #pagemap: LivePagemap;
  readonly #faults: Userfaultfd;
  /** Accesses are tracked, instead of writes. */
  readonly #accesses: boolean;
  #collectAt: number;
  #peekAt: number;
  #open = true;

  /** Use {@link trackMemory}. */
  constructor(memory: TrackableMemory, { accesses = false }: OwnTrackOptions = {}) {
    if (accesses) requireAccesses(ACTION_ACCESSES);
    this.#accesses = accesses;
    const wasm = isWasmMemory(memory) ? memory : undefined;
    const view = wasm === undefined ? (memory as Exclude<TrackableMemory, WasmMemory>) : wasm.buffer;
    const buffer = ArrayBuffer.isView(view) ? (view.buffer as ArrayBuffer | SharedArrayBuffer) : view;
    const from = ArrayBuffer.isView(view) ? view.byteOffset : 0;
    const address = bufferAddress(buffer);
    const pageBytes = pageSize();
    this.start = Math.ceil((address + from) / pageBytes) * pageBytes;
    this.end = Math.floor((address + from + view.byteLength) / pageBytes) * pageBytes;
    if (this.end <= this.start) {
      throw new RangeError(
        `Cannot track ${view.byteLength} bytes: they hold no whole page of ${pageBytes} bytes`,
      );
    }
    this.offsetBytes = this.start - address - from;
    this.#memory = wasm;
    this.#buffer = buffer;
    this.#neededBytes = this.end - address;
    this.#collectAt = this.start;
    this.#peekAt = this.start;
    // Nothing else can: what the environment says of others' memory does not count here.
    this.#pagemap = openPagemap('self', { provider: 'ioctl' });
    try {
      this.#faults = accesses ? Userfaultfd.open({ features: ASYNC_RWP_FEATURES }) : Userfaultfd.open();
    } catch (error) {
      this.#pagemap[Symbol.dispose]();
      throw error;
    }
    try {
      const mode = accesses ? uffd.UFFDIO_REGISTER_MODE_RWP : uffd.UFFDIO_REGISTER_MODE_WP;
      this.#faults.register(this.start, this.lengthBytes, mode);
      // Every page is protected, those that do not exist yet included: reading does not make them look written.
      this.#protect(this.start, this.end);
    } catch (error) {
      this.#close();
      if (error instanceof PagemapError && error.code === 'EBUSY') {
        const hint = 'a part of it is tracked already; dispose that tracker first';
        throw new PagemapError(ACTION, { errno: error.errno, syscall: error.syscall, hint, cause: error });
      }
      throw error;
    }
    // The write-watch calls look for trackers of writes.
    if (!accesses) trackers.set(this.start, this);
  }

  /** How much is tracked, bytes; whole pages. */
  get lengthBytes(): number {
    return this.end - this.start;
  }

  /** @throws PagemapError EBADF when disposed, EFAULT when the memory is gone */
  #check(): void {
    if (!this.#open) throw disposedError(ACTION);
    // The memory cannot go away during a call: only this thread can detach its buffer.
    if (this.#memory !== undefined && this.#memory.buffer !== this.#buffer) {
      throw gone(
        'the WebAssembly memory has grown, and its buffer is another one; dispose this tracker, track it anew',
      );
    }
    if (this.#buffer.byteLength < this.#neededBytes) {
      throw gone('its buffer was transferred, detached (as growing a WebAssembly memory does) or shrunk');
    }
  }

  /**
   * Gives the pages that were written since they were last collected, in address order, each once. The same
   * step protects them again, so no write is lost between two calls.
   *
   * @param output where the runs of pages go. When it is too small, `done` is false, and the next call goes
   * on from there
   * @throws PagemapError EFAULT when the memory is gone: all of it is to be taken as written
   */
  collect(output: RegionBuffer): Collected {
    const result = this.#scan(output, this.#collectAt, this.end, PM_SCAN_WP_MATCHING, 0);
    this.#collectAt = result.next >= this.end ? this.start : result.next;
    return { regions: output.length, pages: result.pages, done: result.next >= this.end };
  }

  /**
   * Gives the same pages without protecting them: the next `collect` reports them again. After a full output,
   * the next call goes on, as with `collect`.
   */
  peek(output: RegionBuffer): Collected {
    const result = this.#scan(output, this.#peekAt, this.end, 0, 0);
    this.#peekAt = result.next >= this.end ? this.start : result.next;
    return { regions: output.length, pages: result.pages, done: result.next >= this.end };
  }

  /** Forgets what was written so far. */
  reset(): void {
    this.resetRange(this.start, this.end);
  }

  /** Forgets what was written so far in [start, end); addresses in bytes, of pages that are tracked. */
  resetRange(start: number, end: number): void {
    this.#check();
    if (start === this.start && end === this.end) this.#collectAt = this.#peekAt = this.start;
    this.#guard(() => this.#protect(start, end));
    this.#checkMapped();
  }

  /**
   * The first written pages of [start, end), in address order.
   *
   * @param maxPages at most so many; 0 is no limit but the output's
   * @param reset protects exactly those that are reported
   * @returns where it stopped: from there on, nothing was looked at
   */
  scanRange(output: RegionBuffer, start: number, end: number, maxPages: number, reset: boolean): number {
    return this.#scan(output, start, end, reset ? PM_SCAN_WP_MATCHING : 0, maxPages).next;
  }

  #protect(start: number, end: number): void {
    if (this.#accesses) this.#faults.rwProtect(start, end - start);
    else this.#faults.writeProtect(start, end - start);
  }

  #scan(
    output: RegionBuffer,
    start: number,
    end: number,
    flags: number,
    maxPages: number,
  ): { next: number; pages: number } {
    this.#check();
    const request = this.#accesses
      ? { start, end, categoryMask: PAGE_IS_ACCESSED, returnMask: PAGE_IS_ACCESSED, maxPages }
      : { start, end, ...ALL_WRITTEN, flags: flags | PM_SCAN_CHECK_WPASYNC, maxPages };
    const { regions, walkEnd } = this.#guard(() => this.#pagemap.scan(request, output));
    // No scan protects from reading. What is accessed between the two is in a page that is reported anyway.
    if (this.#accesses && flags & PM_SCAN_WP_MATCHING) {
      for (let index = 0; index < regions; index++)
        this.#guard(() => this.#protect(output.start(index), output.end(index)));
    }
    this.#checkMapped();
    const pages = output.totalPages();
    const full = regions === output.capacity || (maxPages > 0 && pages >= maxPages);
    // Only what is full stops early; otherwise walkEnd may be stale.
    const next = full && regions > 0 ? Math.max(walkEnd, output.end(regions - 1)) : end;
    return { next, pages };
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof PagemapError && (error.code === 'EPERM' || error.code === 'ENOENT')) {
        throw gone('it was unmapped, or something else was mapped in its place');
      }
      throw error;
    }
  }

  /** A scan passes over gaps without a word. */
  #checkMapped(): void {
    if (!mappingsCover(this.#pagemap.process, this.start, this.end)) throw gone('it was unmapped');
  }

  #close(): void {
    this.#open = false;
    this.#faults[Symbol.dispose]();
    this.#pagemap[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    if (trackers.get(this.start) === this) trackers.delete(this.start);
    this.#close();
  }
}

/**
 * Tracks the whole pages inside an existing Buffer, ArrayBuffer, typed array, SharedArrayBuffer or
 * WebAssembly.Memory. At first, nothing counts as written. Bytes before the first whole page and behind the
 * last are not tracked (see `offsetBytes` and `lengthBytes`).
 *
 * @throws RangeError when no whole page lies inside
 * @throws PagemapError EBUSY when a part of it is tracked already; EPERM, ENOSYS, EINVAL where write tracking is not
 * possible; the message says what to do
 * @example
 * ```ts
 * import { pageSize, RegionBuffer, trackMemory } from 'pagemap-scan';
 * const bytes = new Uint8Array(100 * pageSize());
 * using tracker = trackMemory(bytes);
 * bytes[tracker.offsetBytes + 7 * pageSize()] = 1;
 * const output = new RegionBuffer(64);
 * const { pages } = tracker.collect(output);
 * console.assert(pages === 1 && output.start(0) === tracker.start + 7 * pageSize());
 * console.assert(tracker.collect(output).pages === 0);
 * ```
 */
export function trackMemory(memory: TrackableMemory, options: OwnTrackOptions = {}): MemoryTracker {
  return new MemoryTracker(memory, options);
}

/** Memory on pages of its own, and its tracker. */
export interface TrackedMemory<B extends ArrayBuffer | SharedArrayBuffer> extends Disposable {
  /** Zeros at first. It cannot be transferred or resized, and lives as long as anything refers to it. */
  readonly buffer: B;
  readonly tracker: MemoryTracker;
}

const WASM_PAGE = 65536;
const MOST_WASM_PAGES = 65536;

/**
 * Allocates memory on whole pages of its own, and tracks it. It is the buffer of a WebAssembly memory:
 * page-aligned, owned by the garbage collector (so no view can outlive it), and impossible to detach.
 *
 * Disposing the result ends the tracking; the memory itself stays as long as it is used.
 *
 * @param lengthBytes bytes, rounded up to 64 KiB; at most 4 GiB (track a larger ArrayBuffer with `trackMemory`)
 * @param options.shared gives a SharedArrayBuffer, to be handed to worker threads
 * @throws RangeError for a size below 1 or above 4 GiB, or when there is no room for it
 * @throws PagemapError as `trackMemory` does
 * @example
 * ```ts
 * import { allocateTracked, pageSize, RegionBuffer } from 'pagemap-scan';
 * using memory = allocateTracked(1 << 20);
 * const bytes = new Uint8Array(memory.buffer);
 * bytes[5 * pageSize()] = 1;
 * bytes[6 * pageSize()] = 1;
 * const output = new RegionBuffer(64);
 * console.assert(memory.tracker.collect(output).pages === 2 && output.pages(0) === 2);
 * console.assert(output.start(0) - memory.tracker.start === 5 * pageSize());
 * ```
 */
export function allocateTracked(
  lengthBytes: number,
  options: OwnTrackOptions & { shared: true },
): TrackedMemory<SharedArrayBuffer>;
export function allocateTracked(
  lengthBytes: number,
  options?: OwnTrackOptions & { shared?: false | undefined },
): TrackedMemory<ArrayBuffer>;
export function allocateTracked(
  lengthBytes: number,
  options: OwnTrackOptions & { shared?: boolean | undefined } = {},
): TrackedMemory<ArrayBuffer | SharedArrayBuffer> {
  const pages = Math.ceil(lengthBytes / WASM_PAGE);
  if (!(pages >= 1 && pages <= MOST_WASM_PAGES)) {
    throw new RangeError(`Cannot allocate ${lengthBytes} bytes: from 1 byte to 4 GiB is possible`);
  }
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: options.shared ?? false });
  const tracker = new MemoryTracker(memory.buffer, options);
  return { buffer: memory.buffer, tracker, [Symbol.dispose]: () => tracker[Symbol.dispose]() };
}
