/**
 * Where a dump keeps what it copies, for instance an ELF file. A sink gets pages while the process runs, some of them
 * several times. At the end it gets the state of the process, which says where the bytes of each page are.
 */
import type { Mapping } from '../proc/index.js';
import type { ProcessState } from './state.js';

/** Reads the pages that a sink asks for, and passes them to the sink's `write`, in the order of the requests. */
export interface PageCopier {
  /** Copies pages of the stopped process. Ranges are start and end in turns. */
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
   * Whether it keeps memory that is mapped several times only once (see `StateMapping.sameAs`). Then it gets pages of
   * one of these mappings only.
   */
  readonly keepsViewsOnce?: boolean | undefined;
  /** Bytes that there is room for; infinite where that is not known. */
  readonly freeBytes: number;
  /** The folder or device that has this room, for messages. */
  readonly place: string;
  /**
   * Announces memory whose pages may come later. The calls come in address order, as far as that is known. A sink that
   * lays memory out needs them; others may ignore them.
   */
  reserve(start: number, end: number): void;
  /** Announces a part of a mapping. More of the mapping may follow. */
  expect(mapping: Mapping, start: number, end: number): void;
  /**
   * Takes copied pages. They replace earlier copies of the same pages.
   *
   * @param ranges addresses, start and end in turns; their bytes lie one behind the other in `bytes`
   * @returns undefined when the bytes may be overwritten at once, otherwise when they may
   */
  write(bytes: Uint8Array<ArrayBuffer>, ranges: readonly number[]): Promise<void> | undefined;
  /**
   * Begins to bring to the disk what it was given, and returns. It comes once nearly all pages were given. What fails is reported by
   * `finish`.
   */
  flush?(): void;
  /** Drops its copies of these pages. In the state they are zero, or they are left out. */
  discard(start: number, end: number): void;
  /**
   * Keeps the state. The sink asks `pages` for pages, and gets them by `write`. When more states follow, the pages in
   * memory of one state count as given for the next ones.
   */
  finish(state: ProcessState, pages: PageCopier): Promise<Stored>;
}
