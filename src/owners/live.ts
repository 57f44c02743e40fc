/// <reference lib="esnext.disposable" preserve="true" />
/** Gathers evidence of a live process: its threads, and words of its memory. It neither stops nor changes the process. */
import { closeSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { ProcessError, type ProcessHandle, pageSize, readPagemap } from '../live/internal.js';
import { decodeName, type Mapping, parseStatus, parseTaskSyscall } from '../proc/internal.js';
import { type Evidence, type ThreadEvidence, Words } from './evidence.js';
import type { Owner } from './owner.js';
import { recogniseOwners } from './recognise.js';

/** Of more threads than this, the others' stacks are found by their place alone. */
const MOST_THREADS = 4096;
/** So many times memory is read for one look: a process with a million mappings must not make a look slow. */
const MOST_READS = 50_000;
/** In the upper half of a word of /proc/PID/pagemap. */
const PRESENT = 0x80000000;
const NEWLINE = 0x0a;

/** Reads words of another process's memory, only where they are in memory already: a page that is read would be brought in otherwise. */
class MemoryWords implements Disposable {
  readonly #memory: number;
  readonly #pagemap: number;
  readonly #word = new Uint32Array(2);
  #readsLeft = MOST_READS;

  constructor(memory: number, pagemap: number) {
    this.#memory = memory;
    this.#pagemap = pagemap;
  }

  /** Undefined where the process's memory may not be read. */
  static open(handle: ProcessHandle): MemoryWords | undefined {
    let memory: number | undefined;
    try {
      memory = handle.open('mem');
      return new MemoryWords(memory, handle.open('pagemap'));
    } catch (error) {
      if (memory !== undefined) closeSync(memory);
      if (error instanceof ProcessError && error.reason === 'ended') throw error;
      return undefined;
    }
  }

  read(address: number, count: number): Words | undefined {
    if (this.#readsLeft <= 0 || !Number.isSafeInteger(address) || address % 8 !== 0) return undefined;
    this.#readsLeft--;
    const end = address + count * 8;
    const words = new Uint32Array(count * 2);
    const pageBytes = pageSize();
    try {
      for (let page = address - (address % pageBytes); page < end; page += pageBytes) {
        if (readPagemap(this.#pagemap, this.#word, page) < 8 || (this.#word[1]! & PRESENT) === 0)
          return undefined;
      }
      return readSync(this.#memory, words, 0, words.byteLength, address) === words.byteLength
        ? new Words(words)
        : undefined;
    } catch {
      // Unmapped since, or memory of a device: the recogniser does without.
      return undefined;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#memory);
    closeSync(this.#pagemap);
  }
}

/** The stack pointer in /proc/PID/task/TID/syscall, undefined of a thread that runs. */
export function parseStackPointer(text: string): number | undefined {
  const pointer = parseTaskSyscall(text)?.stackPointer;
  return pointer === undefined ? undefined : Number(pointer);
}

/** The bytes of a file of a thread; none where the thread has ended, or where we may not see it. */
function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}

/** A thread's name, by its /proc/PID/task/TID/comm: any bytes, and a newline behind them. */
export function parseThreadName(comm: Uint8Array): string {
  return decodeName(comm, 0, comm.at(-1) === NEWLINE ? comm.length - 1 : comm.length);
}

/** The number of a process or thread in its own PID namespace; undefined where that is the reader's, and where it is not told. */
function ownNumber(status: Uint8Array): number | undefined {
  try {
    const { nspid } = parseStatus(status);
    return nspid.length > 1 ? nspid.at(-1) : undefined;
  } catch {
    // It has ended.
    return undefined;
  }
}

function threadsOf(handle: ProcessHandle): ThreadEvidence[] {
  let numbers: string[];
  try {
    numbers = readdirSync(handle.path('task'));
  } catch {
    return [];
  }
  // All threads of a process are in the same PID namespace. So where it is the reader's, one look is enough.
  const isElsewhere = ownNumber(readBytes(handle.path('status'))) !== undefined;
  return numbers.slice(0, MOST_THREADS).map((tid) => ({
    tid: Number(tid),
    ...(isElsewhere && { ownTid: ownNumber(readBytes(handle.path(`task/${tid}/status`))) }),
    name: parseThreadName(readBytes(handle.path(`task/${tid}/comm`))),
    stackPointer: parseStackPointer(readBytes(handle.path(`task/${tid}/syscall`)).toString('latin1')),
  }));
}

/** As the names of mappings are decoded, with which it is compared. */
function programOf(handle: ProcessHandle): string | undefined {
  try {
    const path = readlinkSync(handle.path('exe'), 'buffer');
    return decodeName(path, 0, path.length).replace(/ \(deleted\)$/, '');
  } catch {
    return undefined;
  }
}

/** Evidence of a live process, as of now. */
export class LiveEvidence implements Evidence, Disposable {
  readonly pid: number;
  readonly pageSize: number = pageSize();
  readonly mappings: readonly Mapping[];
  readonly threads: readonly ThreadEvidence[];
  readonly program: string | undefined;
  readonly #memory: MemoryWords | undefined;

  /**
   * @param mappings all of the process
   * @throws ProcessError 'ended'
   */
  constructor(handle: ProcessHandle, mappings: readonly Mapping[]) {
    this.pid = handle.pid;
    this.mappings = mappings;
    this.threads = threadsOf(handle);
    this.program = programOf(handle);
    this.#memory = MemoryWords.open(handle);
  }

  read(address: number, count: number): Words | undefined {
    return this.#memory?.read(address, count);
  }

  [Symbol.dispose](): void {
    this.#memory?.[Symbol.dispose]();
  }
}

/**
 * The owner of each of a process's mappings, in their order; undefined where nothing is known. What needs the process's memory is left
 * out where that may not be read.
 *
 * @param mappings all of the process
 * @throws ProcessError 'ended'
 */
export function findOwners(
  handle: ProcessHandle,
  mappings: readonly Mapping[],
): readonly (Owner | undefined)[] {
  using evidence = new LiveEvidence(handle, mappings);
  return recogniseOwners(evidence);
}

/** Of the time, looking for owners takes no more than this share. */
const MOST_SHARE = 0.02;
/** V8 moves whole chunks from one space to another, so that what was found is looked at again, milliseconds. */
const LOOK_AGAIN_MS = 5000;

interface Range {
  readonly start: number;
  readonly end: number;
}

/** The owners of a process's mappings over time: found anew when mappings have changed, but not too often. */
export class OwnerNames {
  readonly #handle: ProcessHandle;
  #isFixed = false;
  readonly #owners = new Map<number, { readonly end: number; readonly owner: Owner | undefined }>();
  #lookedAt = Number.NEGATIVE_INFINITY;
  #notBefore = Number.NEGATIVE_INFINITY;

  /**
   * @param handle stays the caller's
   * @param isOnce looks now and never again, for who is about to track accesses: to look would be some
   */
  constructor(handle: ProcessHandle, isOnce = false) {
    this.#handle = handle;
    if (isOnce) this.look([]);
    this.#isFixed = isOnce;
  }

  /**
   * Looks again when one of these mappings is new, or a while has passed. There are no owners once the process has
   * ended, or without the permission.
   */
  look(mappings: readonly Range[]): void {
    const now = performance.now();
    if (this.#isFixed || now < this.#notBefore) return;
    if (now - this.#lookedAt < LOOK_AGAIN_MS && mappings.every((mapping) => this.#isKnown(mapping))) return;
    this.#owners.clear();
    try {
      const listed = this.#handle.mappings();
      const owners = findOwners(this.#handle, listed);
      for (const [index, { start, end }] of listed.entries())
        this.#owners.set(start, { end, owner: owners[index] });
    } catch {
      // Nobody is told of it: the one who tracks the process finds out by himself.
    }
    this.#lookedAt = performance.now();
    this.#notBefore = this.#lookedAt + (this.#lookedAt - now) / MOST_SHARE;
  }

  #isKnown({ start, end }: Range): boolean {
    return this.#owners.get(start)?.end === end;
  }

  /** The owner of a mapping; undefined where none is known, and for a mapping that has changed since. */
  of(mapping: Range): Owner | undefined {
    return this.#isKnown(mapping) ? this.#owners.get(mapping.start)!.owner : undefined;
  }
}
