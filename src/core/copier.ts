/** Copies memory to a sink: reads here, while the system's threads write what was read before. */
import { readSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { PAGE_SIZE } from '../abi/index.js';
import { bufferAddress, dataRanges, type ProcessMemory } from '../live/internal.js';
import type { PageCopier, StateSink } from './sink.js';

/** Bytes of each buffer, of which a disk wants several at a time. Smaller ones keep it waiting; larger ones bring nothing. */
const BUFFER_BYTES = 8 << 20;
const BUFFERS = 4;
/** For how long nothing else gets a turn, milliseconds. */
const DEAF_MS = 20;

interface Slot {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly address: number;
}

function newSlot(): Slot {
  const buffer = new ArrayBuffer(BUFFER_BYTES + PAGE_SIZE);
  const address = bufferAddress(buffer);
  const aligned = Math.ceil(address / PAGE_SIZE) * PAGE_SIZE;
  return { bytes: new Uint8Array(buffer, aligned - address, BUFFER_BYTES), address: aligned };
}

export interface CopyHooks {
  /** So many bytes were copied. */
  progress(bytes: number): void;
  /** Throws when the work is to end. */
  check(): void;
  unreadable(page: number): void;
}

export class Copier implements PageCopier {
  readonly #memory: ProcessMemory;
  readonly #sink: StateSink;
  readonly #hooks: CopyHooks;
  readonly #free: Slot[] = [];
  #slots = 1;
  readonly #pending = new Set<Promise<void>>();
  #failure: unknown;
  #listened = performance.now();

  constructor(memory: ProcessMemory, sink: StateSink, hooks: CopyHooks) {
    this.#memory = memory;
    this.#sink = sink;
    this.#hooks = hooks;
    this.#free.push(newSlot());
  }

  /** Lets signals and finished writes arrive. */
  async breathe(): Promise<void> {
    if (performance.now() - this.#listened >= DEAF_MS) {
      await setImmediate();
      this.#listened = performance.now();
    }
    this.#hooks.check();
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #take(): Promise<Slot> {
    for (;;) {
      await this.breathe();
      const slot = this.#free.pop();
      if (slot !== undefined) return slot;
      if (this.#slots < BUFFERS) {
        // Not before it is needed: a small process, and one whose pages are kept in memory, needs one.
        const another = newSlot();
        this.#slots++;
        return another;
      }
      await Promise.race(this.#pending);
    }
  }

  async drain(): Promise<void> {
    while (this.#pending.size > 0) await Promise.race(this.#pending);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async copy(ranges: readonly number[]): Promise<void> {
    let batch: number[] = [];
    let bytes = 0;
    for (let index = 0; index < ranges.length; index += 2) {
      const end = ranges[index + 1]!;
      for (let at = ranges[index]!; at < end; ) {
        const to = Math.min(end, at + BUFFER_BYTES - bytes);
        batch.push(at, to);
        bytes += to - at;
        at = to;
        if (bytes < BUFFER_BYTES) continue;
        await this.#copyBatch(batch, bytes);
        batch = [];
        bytes = 0;
      }
    }
    if (bytes > 0) await this.#copyBatch(batch, bytes);
  }

  async #copyBatch(batch: readonly number[], bytes: number): Promise<void> {
    const slot = await this.#take();
    this.#memory.read(batch, slot.bytes, slot.address, this.#hooks.unreadable);
    this.#write(slot, batch);
    this.#hooks.progress(bytes);
  }

  async copyFile(fd: number, start: number, end: number, fileOffset: number): Promise<void> {
    for (const [from, to] of dataRanges(fd, fileOffset, fileOffset + (end - start))) {
      for (let at = from; at < to; at += BUFFER_BYTES) {
        const slot = await this.#take();
        const bytes = Math.min(BUFFER_BYTES, to - at);
        readFully(fd, slot.bytes, 0, bytes, at);
        const address = start + (at - fileOffset);
        this.#write(slot, [address, address + bytes]);
        this.#hooks.progress(bytes);
      }
    }
  }

  #write(slot: Slot, batch: readonly number[]): void {
    const writing = this.#sink.write(slot.bytes, batch);
    if (writing === undefined) {
      this.#free.push(slot);
      return;
    }
    const done: Promise<void> = writing
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => {
        this.#pending.delete(done);
        this.#free.push(slot);
      });
    this.#pending.add(done);
  }
}

/** Reads part of a file; what is behind its end is zero. */
export function readFully(fd: number, into: Uint8Array, from: number, length: number, offset: number): void {
  for (let done = 0; done < length; ) {
    const got = readSync(fd, into, from + done, length - done, offset + done);
    if (got === 0) {
      into.fill(0, from + done, from + length);
      return;
    }
    done += got;
  }
}
