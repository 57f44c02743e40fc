/** What a dump is asked for, and what it tells. */
import type { Writable } from 'node:stream';
import type { Compression } from './send.js';

/** How far a dump has come. */
export interface CoreProgress {
  /** 1 for what was there, then what was written meanwhile; 'stop' while the process is stopped. */
  readonly round: number | 'stop';
  /** Of this round, bytes. */
  readonly copiedBytes: number;
  readonly totalBytes: number;
  readonly elapsedMs: number;
}

export interface CoreOptions {
  /**
   * The file to write; it gets this name when it is whole, and replaces what had it. Or a stream: what is written before the
   * process's last writes are known has to stay open to change, so that it is kept in a nameless file of the folder for
   * temporary files (TMPDIR) until then. With `stop` or `stacks`, nothing is kept: it is sent as it is read.
   */
  readonly file: string | Writable;
  /** Compress it; of zstd, Node has had the streaming kind since 22.15 and 23.8. */
  readonly compress?: Compression | undefined;
  /** Which mappings to dump, as in /proc/PID/coredump_filter (man core(5)); the process's own by default. */
  readonly filter?: number | undefined;
  /**
   * Of what `filter` lets through, only mappings with one of these in their names. A pattern with `*` or `?` is for the whole
   * name; unnamed memory is `[anon]`. Of programs and libraries, the first page is always there, so that they can be told.
   */
  readonly only?: readonly string[] | undefined;
  /** Leaves out mappings with such names, even if `only` names them. */
  readonly without?: readonly string[] | undefined;
  /** Mappings with such names are in the file, with all bytes zero. The process's bytes are never read. */
  readonly zero?: readonly string[] | undefined;
  /**
   * Only what backtraces need: registers, stacks, and what tells debuggers which libraries there are. The process is stopped
   * for as long as that takes, and its writes are not tracked. Not with `only` and `without`.
   */
  readonly stacks?: boolean | undefined;
  /** Most rounds of copying while it runs; 30 by default. */
  readonly maxRounds?: number | undefined;
  /**
   * The longest pause that is wanted, milliseconds. When a stop would take longer, the process goes on and is copied once more, a few times.
   * No limit by default.
   */
  readonly maxPauseMs?: number | undefined;
  /** What happens when the pause would be longer still, or others track much of the memory: 'fail' (default), or 'accept' the longer pause. */
  readonly overPause?: 'fail' | 'accept' | undefined;
  /** Stop the process for all of the copying: where writes cannot be tracked. */
  readonly stop?: boolean | undefined;
  /**
   * Memory that others may write to, since they have it mapped or open: 'stop' copies it while the process is stopped, so
   * that it is no older than all else; 'running' copies it before, with a shorter pause. 'stop' by default.
   */
  readonly shared?: 'stop' | 'running' | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CoreProgress) => void) | undefined;
}

/** The same without what a core file alone needs. */
export type StateOptions = Omit<CoreOptions, 'file' | 'compress'>;

/** What was dumped. */
export interface CoreResult extends StateResult {
  /** Undefined for a stream. */
  readonly file: string | undefined;
}

/** What became of the state of a process. */
export interface StateResult {
  readonly pid: number;
  /** The core's length, holes included; before compression. */
  readonly bytes: number;
  /** What the file takes on the disk; of a stream, what was written to it. */
  readonly storedBytes: number;
  /**
   * For how long the process was stopped at the longest, milliseconds; starting to track stops one thread for about half of
   * one more. When it turns out to have written more than expected, it is let go after some of them, and stopped once more.
   */
  readonly pauseMs: number;
  readonly totalMs: number;
  /** Copying while it ran. */
  readonly rounds: readonly { readonly pages: number; readonly ms: number }[];
  /** Copied while it was stopped. */
  readonly stoppedPages: number;
  readonly threads: number;
  /** Pages that could not be read; they are zero in the file. */
  readonly unreadablePages: number;
  /** Devices may have written to memory unseen, after it was copied and before the stop; `doubts` says which. */
  readonly mayBeTorn?: true | undefined;
  /** Why it may be torn, as parts of a sentence: "it has a GPU open". */
  readonly doubts?: readonly string[] | undefined;
}
