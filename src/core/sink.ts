/**
 * Where a dump keeps what it copies: an ELF file is one way, and knows its own format alone. A sink gets pages while the
 * process runs, some of them several times, and in the end the state of the process, which says of each page where its bytes
 * are.
 */
import type { Mapping } from '../proc/index.js';
import type { ProcessState } from './state.js';

/** Gives a sink what it asks for, by its own `write`, in the order in which it asks. */
export interface PageCopier {
  /** Pages of the process, while it stands still: start and end in turns. */
  copy(ranges: readonly number[]): Promise<void>;
  /** Bytes from `start` to `end` are those of the file from `fileOffset` on. Holes are not given. */
  copyFile(fd: number, start: number, end: number, fileOffset: number): Promise<void>;
  /** Waits until all that was given is written. */
  drain(): Promise<void>;
}

/** What became of a dump, bytes. */
export interface Stored {
  /** The length of what was made, holes included, before compression. */
  readonly bytes: number;
  /** What it takes where it is kept. */
  readonly storedBytes: number;
}

export interface StateSink {
  /** It takes pages once and in order only: it gets the state while the process stands still, and no page before. */
  readonly isSequential: boolean;
  /** Bytes that there is room for; infinite where that is not known. */
  readonly freeBytes: number;
  /** Where that is, for messages. */
  readonly place: string;
  /**
   * All of this memory may be given later. Called in the order of addresses, as far as that is known, for a sink that lays it
   * out; another one need do nothing.
   */
  reserve(start: number, end: number): void;
  /** The same of a part of a mapping, more of which may follow. */
  expect(mapping: Mapping, start: number, end: number): void;
  /**
   * Takes copied pages. What it was given before of the same pages counts no more.
   *
   * @param ranges addresses, start and end in turns; their bytes lie one behind the other in `bytes`
   * @returns undefined when the bytes may be overwritten at once, otherwise when they may
   */
  write(bytes: Uint8Array<ArrayBuffer>, ranges: readonly number[]): Promise<void> | undefined;
  /** What it was given of these pages is not part of the state: they are zero, or not to be kept. */
  discard(start: number, end: number): void;
  /** Keeps the state; `write` is called meanwhile, when it asks for pages. */
  finish(state: ProcessState, pages: PageCopier): Promise<Stored>;
}
