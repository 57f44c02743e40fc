/**
 * The file has memory in the order of its addresses, as far as that is known when the first of it is copied: readers that go
 * through a core file from its beginning expect that (elfutils, and what stands on it, finds no modules otherwise). What comes
 * later stands behind it.
 */
import { PAGE_SIZE } from '../abi/index.js';
import { isVdso } from './filter.js';
import type { Planned } from './plan.js';

export interface Contents {
  /** It has the first page of a program or library. */
  readonly hasHeader: boolean;
  /** A private mapping of a file: it has pages of the process's own. */
  hasOwnPages(): boolean;
  /** It is private memory, of which only what is there gets a place. */
  readonly isPlacedByPages: boolean;
}

/** The part of a mapping that is going to be in the file as a whole, bytes; undefined for none, or when its pages decide. */
export function reservation(
  { mapping, share }: Planned,
  { hasHeader, hasOwnPages, isPlacedByPages }: Contents,
): readonly [start: number, end: number] | undefined {
  const { start, end, name } = mapping;
  if (share === 'none') return undefined;
  if (isVdso(name)) return [start, end];
  if (share !== 'header') {
    if (isPlacedByPages) return undefined;
    if (share === 'all' || hasOwnPages()) return [start, end];
  }
  return hasHeader ? [start, start + PAGE_SIZE] : undefined;
}

/** Gives segments without bytes a place, too: where the one before them ends. */
export class RunningOffset {
  /** Bytes. */
  at: number;
  readonly #end: number;

  /** @param end where what is in order ends */
  constructor(start: number, end: number) {
    this.at = start;
    this.#end = end;
  }

  pass(offset: number, bytes: number): void {
    if (bytes > 0 && offset >= this.at && offset + bytes <= this.#end) this.at = offset + bytes;
  }
}
