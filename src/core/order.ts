/**
 * A sink is told of memory in the order of addresses, as far as that is known when the first of it is copied: readers that go
 * through a core file from its beginning expect that (elfutils, and what stands on it, finds no modules otherwise). What comes
 * later stands behind it.
 */

import { PAGE_SIZE } from '../abi/index.js';
import { isVdso } from '../proc/internal.js';
import type { MappedFiles } from './mapped-files.js';
import { isPrivateFile, isShared, type Planned } from './plan.js';
import type { Part } from './selection.js';
import type { StateSink } from './sink.js';

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
  if (share === 'none' || share === 'zeros' || share === 'parts') return undefined;
  if (isVdso({ name })) return [start, end];
  if (share !== 'header') {
    if (isPlacedByPages) return undefined;
    if (share === 'all' || hasOwnPages()) return [start, end];
  }
  return hasHeader ? [start, start + PAGE_SIZE] : undefined;
}

/** Tells a sink of a mapping before it is told of those behind it. */
export function reserve(
  sink: StateSink,
  files: MappedFiles,
  planned: Planned,
  hasOwnPages: () => boolean,
): void {
  const range = reservation(planned, {
    hasHeader: files.header(planned.mapping.start) !== undefined,
    isPlacedByPages: !isShared(planned) && !isPrivateFile(planned),
    hasOwnPages,
  });
  if (range !== undefined) sink.reserve(...range);
}

/**
 * Tells a sink of all that was found at the stop, or of the whole of it when nothing was copied before.
 *
 * @param taken private memory, and `shared` what is read from files; ascending
 */
export function reserveAll(
  sink: StateSink,
  files: MappedFiles,
  plan: readonly Planned[],
  { taken, shared }: { readonly taken: readonly Part[]; readonly shared: readonly Part[] },
  wasCopied: (start: number, end: number) => boolean,
): void {
  const hasShared = new Set(shared.map(({ planned }) => planned.mapping.start));
  let index = 0;
  for (const planned of plan) {
    const { start, end } = planned.mapping;
    const first = index;
    while (index < taken.length && taken[index]!.start < end) index++;
    const isTaken = index > first;
    if (!isShared(planned) || hasShared.has(start))
      reserve(sink, files, planned, () => isTaken || wasCopied(start, end));
    for (const part of taken.slice(first, index)) {
      // Nothing else of the mapping is going to follow.
      if (planned.share === 'parts') sink.reserve(part.start, part.end);
      else sink.expect(part.planned.mapping, part.start, part.end);
    }
  }
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
