/**
 * Large parts of memory that hold little, at the stop. There a look takes as long as the page tables are long, however little is in
 * them, and two of them twice as long: so one look tells both what there is and what was written.
 */
import {
  PAGE_IS_GUARD,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  type Pagemap,
  PM_SCAN_CHECK_WPASYNC,
  type RegionBuffer,
} from '../abi/index.js';
import { scanLegs } from '../query/index.js';
import type { PageSet } from './page-set.js';
import { isPrivateFile, isShared } from './plan.js';
import type { RunVisitor } from './presence.js';
import type { JudgedPart } from './selection.js';

/** Of smaller ones, two looks are short, too. */
const LEAST_BYTES = 2 ** 30;
/** One page in so many at most: of full memory, a look for what was written alone takes a thirtieth of one for both. */
const LEAST_PAGES_A_COPIED_ONE = 64;

/** Says whether a part is large, and what was copied of it little. */
export function isSparse({ start, end, trusted, planned }: JudgedPart, copied: PageSet): boolean {
  if (!trusted || end - start < LEAST_BYTES) return false;
  if (planned.traits.huge || isPrivateFile(planned) || isShared(planned)) return false;
  const most = Math.floor((end - start) / PAGE_SIZE / LEAST_PAGES_A_COPIED_ONE);
  return copied.count(start, end, most) <= most;
}

export class SparseParts {
  readonly #pagemap: Pagemap;
  readonly #buffer: RegionBuffer;
  readonly #without: number;
  /** Parts that were looked at, ascending, and what there is in them: start and end in turns. */
  readonly #looked: { start: number; end: number; present: readonly number[] }[] = [];

  /** @param accepted the categories that the kernel knows */
  constructor(pagemap: Pagemap, buffer: RegionBuffer, accepted: number) {
    this.#pagemap = pagemap;
    this.#buffer = buffer;
    this.#without = PAGE_IS_PFNZERO | (accepted & PAGE_IS_GUARD);
  }

  /**
   * Looks at a part. Gives what was written, as bounds. Parts have to come in the order of addresses.
   *
   * @throws PagemapError EPERM when not all of it is tracked
   */
  look(start: number, end: number): number[] {
    const query = {
      start,
      end,
      categoryInverted: this.#without,
      categoryMask: this.#without,
      categoryAnyofMask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
      returnMask: PAGE_IS_WRITTEN,
      flags: PM_SCAN_CHECK_WPASYNC,
    };
    const present: number[] = [];
    const written: number[] = [];
    const add = (runs: number[], from: number, to: number) => {
      if (runs[runs.length - 1] === from) runs[runs.length - 1] = to;
      else runs.push(from, to);
    };
    for (const found of scanLegs(this.#pagemap, query, { buffer: this.#buffer })) {
      for (let index = 0; index < found.length; index++) {
        add(present, found.start(index), found.end(index));
        if (found.categories(index) & PAGE_IS_WRITTEN) add(written, found.start(index), found.end(index));
      }
    }
    this.#looked.push({ start, end, present });
    return written;
  }

  /** Visits what there is between two addresses, as far as that was looked at, and calls `rest` for what was not, in order. */
  visit(start: number, end: number, visit: RunVisitor, rest: RunVisitor): void {
    let at = start;
    for (const looked of this.#looked) {
      if (looked.end <= at || looked.start >= end) continue;
      if (looked.start > at) rest(at, looked.start);
      const first = Math.max(at, looked.start);
      at = Math.min(end, looked.end);
      const { present } = looked;
      for (let index = 0; index < present.length; index += 2) {
        const from = Math.max(first, present[index]!);
        const to = Math.min(at, present[index + 1]!);
        if (from < to) visit(from, to);
      }
    }
    if (at < end) rest(at, end);
  }
}
