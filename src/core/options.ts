/** The options of a dump, and its result. */
import type { Writable } from 'node:stream';
import type { Compression } from './send.js';

/** How far a dump has come. */
export interface CoreProgress {
  /** Round 1 copies all pages, later rounds those written meanwhile; 'stop' while the process is stopped. */
  readonly round: number | 'stop';
  /** Bytes copied in this round. */
  readonly copiedBytes: number;
  readonly totalBytes: number;
  readonly elapsedMs: number;
}

export interface CoreOptions {
  /**
   * The file to write: it gets this name when it is complete, and replaces an older file. Or a stream: the dump is kept
   * in a nameless file in the folder for temporary files (TMPDIR) until the process's last writes are known, and sent
   * then. With `stop` or `stacks`, nothing is kept: bytes are sent as they are read.
   */
  readonly file: string | Writable;
  /** Compress it. zstd needs Node 22.15 or 23.8. */
  readonly compress?: Compression | undefined;
  /** Which mappings to dump, as in /proc/PID/coredump_filter (man core(5)); the process's own by default. */
  readonly filter?: number | undefined;
  /**
   * Dump only mappings with one of these texts in their names, of those that `filter` lets through. A pattern with `*`
   * or `?` is for the whole name; unnamed memory is `[anon]`. The first page of programs and libraries is always
   * dumped, so that debuggers can identify them.
   */
  readonly only?: readonly string[] | undefined;
  /** Leave out mappings with such names, even if `only` names them. */
  readonly without?: readonly string[] | undefined;
  /** Write mappings with such names as zeros. The process's bytes are never read. */
  readonly zero?: readonly string[] | undefined;
  /**
   * Dump only what backtraces need: registers, stacks, and the list of libraries for debuggers. The process is stopped
   * for as long as that takes, and its writes are not tracked. Not with `only` and `without`.
   */
  readonly stacks?: boolean | undefined;
  /** The most rounds of copying while the process runs; 30 by default. */
  readonly maxRounds?: number | undefined;
  /**
   * The longest pause, milliseconds. When a stop would take longer, the process runs on and another round copies it, a
   * few times. No limit by default.
   */
  readonly maxPauseMs?: number | undefined;
  /**
   * What to do when the pause would still be longer, or others track much of the memory: 'fail' (default), or 'accept'
   * the longer pause.
   */
  readonly overPause?: 'fail' | 'accept' | undefined;
  /** Stop the process while everything is copied: for kernels that cannot track writes. */
  readonly stop?: boolean | undefined;
  /**
   * When to copy memory that others may write, because they have it mapped or open. 'stop' (default) copies it while
   * the process is stopped, so that it is as of that moment. 'running' copies it before, with a shorter pause.
   */
  readonly shared?: 'stop' | 'running' | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CoreProgress) => void) | undefined;
}

/** The same without the options for core files. */
export type StateOptions = Omit<CoreOptions, 'file' | 'compress'>;

/** The result of a core dump. */
export interface CoreResult extends StateResult {
  /** Undefined for a stream. */
  readonly file: string | undefined;
}

/** The result of dumping the state of a process. */
export interface StateResult {
  readonly pid: number;
  /** The core's length, holes included; before compression. */
  readonly bytes: number;
  /** Bytes on the disk; for a stream, bytes written to it. */
  readonly storedBytes: number;
  /**
   * The longest stop of the process, milliseconds. It may be stopped more than once: when it has written more than
   * expected, it is let go and stopped again later. Starting to track also stops one thread, for about half a
   * millisecond.
   */
  readonly pauseMs: number;
  readonly totalMs: number;
  /** Rounds of copying while the process ran. */
  readonly rounds: readonly { readonly pages: number; readonly ms: number }[];
  /** Pages copied while it was stopped. */
  readonly stoppedPages: number;
  readonly threads: number;
  /** Pages that could not be read; they are zero in the file. */
  readonly unreadablePages: number;
  /**
   * Devices may have written to memory after it was copied and before the stop, without being noticed; `doubts` says
   * which.
   */
  readonly mayBeTorn?: true | undefined;
  /** Why the dump may be torn, as parts of a sentence: "it has a GPU open". */
  readonly doubts?: readonly string[] | undefined;
}
