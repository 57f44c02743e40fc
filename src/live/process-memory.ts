/// <reference lib="esnext.disposable" preserve="true" />
/** Reading another process's memory, and the files that are mapped in it, in large pieces. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { errnoNumber, storeU64 } from '../abi/index.js';
import type { Mapping } from '../proc/index.js';
import { type Libc, lastError, libc, pageSize } from './libc.js';
import type { ProcessHandle } from './process.js';

const ENXIO = errnoNumber('ENXIO')!;

/** IOV_MAX */
const MOST_RANGES = 1024;
/** Reading by the file is slow, and goes back to the other way after this much, bytes. */
const MOST_BY_FILE = 1 << 18;

/** Ranges of addresses: start and end in turns, bytes, in ascending order. */
export type Ranges = readonly number[];

/** A process's memory, to be read. */
export class ProcessMemory implements Disposable {
  readonly #libc: Libc = libc();
  readonly #handle: ProcessHandle;
  #thread: number;
  readonly #fd: number;
  readonly #local = new Uint32Array(new ArrayBuffer(16));
  readonly #localAddress = this.#libc.address(this.#local.buffer);
  readonly #remote = new Uint32Array(new ArrayBuffer(MOST_RANGES * 16));
  readonly #remoteAddress = this.#libc.address(this.#remote.buffer);
  #open = true;

  /** @throws ProcessError 'not-permitted' */
  constructor(handle: ProcessHandle) {
    this.#handle = handle;
    this.#thread = handle.thread;
    this.#fd = handle.open('mem');
  }

  /**
   * Reads ranges, one behind the other, into `into`, which must have room for them. Pages that cannot be read become zero
   * and are told to `unreadable`.
   *
   * Of a process that has ended, or has replaced its program, none can be, or others: ask afterwards whether it lives.
   *
   * @param address the address of `into`'s first byte (`bufferAddress`)
   */
  read(
    ranges: Ranges,
    into: Uint8Array<ArrayBuffer>,
    address: number,
    unreadable: (page: number) => void,
  ): void {
    const { syscall, numbers } = this.#libc;
    const pageBytes = pageSize();
    let filled = 0;
    let index = 0;
    // Bytes of the range at `index` that are done.
    let done = 0;
    while (index < ranges.length) {
      let count = 0;
      let wanted = 0;
      for (let next = index; next < ranges.length && count < MOST_RANGES; next += 2, count++) {
        const start = ranges[next]! + (next === index ? done : 0);
        const bytes = ranges[next + 1]! - start;
        storeU64(this.#remote, count * 4, start);
        storeU64(this.#remote, count * 4 + 2, bytes);
        wanted += bytes;
      }
      storeU64(this.#local, 0, address + filled);
      storeU64(this.#local, 2, wanted);
      let got: number = syscall(
        numbers.process_vm_readv,
        this.#thread,
        this.#localAddress,
        1,
        this.#remoteAddress,
        count,
        0,
      );
      if (got < pageBytes) {
        // The thread has ended by which it was read: the next one.
        const before = this.#thread;
        this.#thread = this.#handle.thread;
        if (this.#thread !== before) continue;
        // Memory that its process itself may not read: this way is not open to us, the file is.
        const page = ranges[index]! + done;
        got = this.#readFile(page, into, filled, Math.min(ranges[index + 1]! - page, MOST_BY_FILE));
        if (got < pageBytes) {
          into.fill(0, filled, filled + pageBytes);
          unreadable(page);
          got = pageBytes;
        }
      }
      got -= got % pageBytes;
      filled += got;
      while (got > 0) {
        const rest = ranges[index + 1]! - ranges[index]! - done;
        if (got < rest) {
          done += got;
          break;
        }
        got -= rest;
        index += 2;
        done = 0;
      }
    }
  }

  #readFile(start: number, into: Uint8Array, offset: number, bytes: number): number {
    try {
      return readSync(this.#fd, into, offset, bytes, start);
    } catch {
      return 0;
    }
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#fd);
  }
}

/**
 * Opens the file that is mapped, for reading: by the mapping itself where that is permitted (CAP_SYS_ADMIN or
 * CAP_CHECKPOINT_RESTORE), else by its path, if that still leads to it. The caller closes the descriptor.
 *
 * @returns undefined where neither works
 */
export function openMappedFile(handle: ProcessHandle, mapping: Mapping): number | undefined {
  const range = `${mapping.start.toString(16)}-${mapping.end.toString(16)}`;
  const { thread } = handle;
  const paths = [handle.path(`map_files/${range}`), handle.path(`task/${thread}/root${mapping.name}`)];
  // Only processes have the folder; by its number, any thread has. What it leads to is looked at below.
  if (thread !== handle.pid) paths[0] = `/proc/${thread}/map_files/${range}`;
  for (const path of paths) {
    try {
      // Not to be kept waiting by what is no plain file.
      const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const { ino } = fstatSync(fd);
      if (ino === mapping.inode) return fd;
      closeSync(fd);
    } catch {
      // The next way.
    }
  }
  return undefined;
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** The parts of a file between two offsets that are no holes, widened to whole pages. */
export function* dataRanges(
  fd: number,
  start: number,
  end: number,
): Generator<[number, number], void, undefined> {
  const { syscall, numbers, errno } = libc();
  const pageBytes = pageSize();
  for (let at = start; at < end; ) {
    const data: number = syscall(numbers.lseek, fd, at, SEEK_DATA, 0, 0, 0);
    if (data < 0) {
      // ENXIO: a hole up to the end. Whatever else is wrong must not turn into zeros.
      if (errno() === ENXIO) return;
      throw lastError('find the data of a mapped file', 'lseek', {});
    }
    if (data >= end) return;
    const hole: number = syscall(numbers.lseek, fd, data, SEEK_HOLE, 0, 0, 0);
    const from = Math.max(start, Math.floor(data / pageBytes) * pageBytes);
    at = hole < 0 ? end : Math.min(end, Math.ceil(hole / pageBytes) * pageBytes);
    yield [from, at];
  }
}
