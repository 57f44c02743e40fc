/**
 * Where a dump keeps what it copies: an ELF file is one way, and knows its own format alone. A sink gets pages while the
 * process runs, some of them several times, and in the end the state of the process, which says of each page where its bytes
 * are.
 */
import type { Mapping } from '../proc/index.js';
import type { ProcessState } from './state.js';

/** Reads what a sink asks for, and calls the sink's `write` with it, in the order of the requests. */
export interface PageCopier {
  /** Copies pages of the process, which stands still meanwhile. Ranges are start and end in turns. */
  copy(ranges: readonly number[]): Promise<void>;
  /** Copies a file, from `fileOffset` on, as the bytes from `start` to `end`. Skips holes. */
  copyFile(fd: number, start: number, end: number, fileOffset: number): Promise<void>;
  /** Waits until all that was given is written. */
  drain(): Promise<void>;
}

/** What became of a dump, bytes. */
export interface Stored {
  /** The length of the result, holes included, before compression. */
  readonly bytes: number;
  /** What it takes where it is kept. */
  readonly storedBytes: number;
}

export interface StateSink {
  /** Whether it takes each page once, in order. Then it gets the state while the process stands still, and no page before. */
  readonly isSequential: boolean;
  /**
   * Whether it keeps memory once that is mapped several times (see `StateMapping.sameAs`). Then it gets pages of one of these
   * mappings only.
   */
  readonly keepsViewsOnce?: boolean | undefined;
  /** Bytes that there is room for; infinite where that is not known. */
  readonly freeBytes: number;
  /** The folder or device that has this room, for messages. */
  readonly place: string;
  /**
   * Announces memory, all of which may be given later. The calls come in the order of addresses, as far as that is known. A
   * sink that lays memory out needs them; another one may ignore them.
   */
  reserve(start: number, end: number): void;
  /** Announces a part of a mapping. More of the mapping may follow. */
  expect(mapping: Mapping, start: number, end: number): void;
  /**
   * Takes copied pages. What it was given before of the same pages counts no more.
   *
   * @param ranges addresses, start and end in turns; their bytes lie one behind the other in `bytes`
   * @returns undefined when the bytes may be overwritten at once, otherwise when they may
   */
  write(bytes: Uint8Array<ArrayBuffer>, ranges: readonly number[]): Promise<void> | undefined;
  /** Drops what it was given of these pages. In the state they are zero, or they are left out. */
  discard(start: number, end: number): void;
  /**
   * Keeps the state. The sink asks `pages` for pages, and gets them by `write`. When more states follow, what one of them
   * has in memory counts as given in those behind it.
   */
  finish(state: ProcessState, pages: PageCopier): Promise<Stored>;
}
