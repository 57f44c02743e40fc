/** What recognisers look at. They ask no kernel: the live rim (`live.ts`) gathers evidence, and tests make it up. */
import type { Mapping } from '../proc/index.js';

/** A few words of 64 bits, as numbers: exact up to 2^53, which every address is. */
export class Words {
  readonly #halves: Uint32Array;

  /** @param halves two for each word, the lower one first */
  constructor(halves: Uint32Array) {
    this.#halves = halves;
  }

  get length(): number {
    return this.#halves.length / 2;
  }

  /** The word at `index`. */
  at(index: number): number {
    return this.#halves[2 * index + 1]! * 2 ** 32 + this.#halves[2 * index]!;
  }

  /** The lower 32 bits of the word at `index`. */
  low(index: number): number {
    return this.#halves[2 * index]!;
  }

  /** The upper 32 bits of the word at `index`. */
  high(index: number): number {
    return this.#halves[2 * index + 1]!;
  }
}

/** What is searched is read in pieces of so many words, 4 KiB: none lies in two pages, whatever their size. */
export const PIECE_WORDS = 512;

/** A thread, as far as its stack can be told by it. */
export interface ThreadEvidence {
  readonly tid: number;
  /** Its number in its own PID namespace, which is the one that it knows itself by. `tid` where left out: the two differ in containers. */
  readonly ownTid?: number | undefined;
  /** As in /proc/PID/task/TID/comm: chosen by the process. */
  readonly name: string;
  /** Where its stack was, undefined while it runs and where that may not be seen. */
  readonly stackPointer?: number | undefined;
}

/** Everything that is known of a process. */
export interface Evidence {
  readonly pid: number;
  /** How large the process's pages are, bytes: what it maps is a multiple of that. */
  readonly pageSize: number;
  /** In address order. */
  readonly mappings: readonly Mapping[];
  readonly threads: readonly ThreadEvidence[];
  /** Path of the program's file, as /proc/PID/exe tells it. */
  readonly program?: string | undefined;
  /**
   * Reads `count` words from `address` on, a multiple of 8. Undefined where they are not in memory, may not be read, or when enough has
   * been read: reading must neither bring pages into the process nor take long.
   */
  read(address: number, count: number): Words | undefined;
}
