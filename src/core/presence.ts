/** Which pages of a process hold something of their own: the others are zero, or a file's. */
import {
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  RegionBuffer,
} from '../abi/index.js';
import { kernelCategories, type LivePagemap } from '../live/internal.js';
import { isPagemapFile, isPagemapGuard, isPagemapPresent, isPagemapSwapped } from '../proc/index.js';
import { forEachRegion } from '../query/index.js';
import { isPrivateFile, type Planned } from './plan.js';

/** Runs of pages, in address order. */
export type RunVisitor = (start: number, end: number) => void;

/** Much longer than the kernel takes to move a page, milliseconds. */
const MOVING_MS = 2;

const WORD = new Int32Array(new SharedArrayBuffer(4));
function sleep(milliseconds: number): void {
  Atomics.wait(WORD, 0, 0, milliseconds);
}

const WORDS_AT_A_TIME = 65536;

export class Presence {
  readonly #pagemap: LivePagemap;
  /** None where the ioctl is not asked. */
  readonly #accepted: number;
  readonly #buffer = new RegionBuffer(8192);
  #words: Uint32Array | undefined;

  constructor(pagemap: LivePagemap) {
    this.#pagemap = pagemap;
    this.#accepted = pagemap.provider === 'ioctl' ? kernelCategories() : 0;
  }

  /**
   * Pages between `start` and `end` that are in memory or swapped out, and are neither the zero page nor guards.
   *
   * @param ownOnly not those that are a file's
   */
  visit(start: number, end: number, ownOnly: boolean, visit: RunVisitor): void {
    if (this.#accepted === 0) {
      this.#visitWords(start, end, ownOnly, visit);
      return;
    }
    const without = PAGE_IS_PFNZERO | (ownOnly ? PAGE_IS_FILE : 0) | (this.#accepted & PAGE_IS_GUARD);
    const query = {
      start,
      end,
      categoryInverted: without,
      categoryMask: without,
      categoryAnyofMask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
    };
    forEachRegion(this.#pagemap, query, visit, { buffer: this.#buffer });
  }

  /** The pages of a part of a private mapping that hold something of the process's own. */
  visitOwn(planned: Planned, start: number, end: number, visit: RunVisitor): void {
    if (planned.traits.huge) this.visitHuge(start, end, visit);
    else this.visit(start, end, isPrivateFile(planned), visit);
  }

  /** Whether a mapping has any page that is not a file's. */
  hasOwn({ mapping: { start, end } }: Planned): boolean {
    let some = false;
    this.visit(start, end, true, () => {
      some = true;
    });
    return some;
  }

  /** Pages between `start` and `end` that are swapped out, or were discarded although they were protected. */
  visitSwapped(start: number, end: number, visit: RunVisitor): void {
    const query = { start, end, categoryMask: PAGE_IS_SWAPPED };
    forEachRegion(this.#pagemap, query, visit, { buffer: this.#buffer });
  }

  /**
   * Pages of a private mapping of a file that were discarded although they were protected: a mark is left, which looks as if the
   * page was swapped out. Once it was read again, the file's page is there, protected in its turn. Scans protect no page of a file.
   */
  visitDiscarded(start: number, end: number, visit: RunVisitor): void {
    const query = {
      start,
      end,
      categoryInverted: PAGE_IS_WRITTEN,
      categoryMask: PAGE_IS_WRITTEN,
      categoryAnyofMask: PAGE_IS_SWAPPED | PAGE_IS_FILE,
    };
    forEachRegion(this.#pagemap, query, visit, { buffer: this.#buffer });
  }

  /**
   * As `visit`, for hugetlb memory, which is never swapped out: what looks like it is a mark where a protected page was
   * discarded, or a page that the kernel moves just now.
   */
  visitHuge(start: number, end: number, visit: RunVisitor): void {
    if (this.#accepted === 0) {
      this.#visitWords(start, end, false, visit);
      return;
    }
    let moved = false;
    this.visitSwapped(start, end, () => {
      moved = true;
    });
    if (moved) sleep(MOVING_MS);
    const query = { start, end, categoryMask: PAGE_IS_PRESENT };
    forEachRegion(this.#pagemap, query, visit, { buffer: this.#buffer });
  }

  /** Where there is no ioctl. The zero page cannot be told there; it is copied. */
  #visitWords(start: number, end: number, ownOnly: boolean, visit: RunVisitor): void {
    this.#words ??= new Uint32Array(WORDS_AT_A_TIME * 2);
    let from = -1;
    for (let at = start; at < end; ) {
      const pages = Math.min(WORDS_AT_A_TIME, (end - at) / PAGE_SIZE);
      const got = this.#pagemap.readWords(at, this.#words.subarray(0, pages * 2));
      if (got === 0) break;
      for (let page = 0; page < got; page++) {
        const high = this.#words[page * 2 + 1]!;
        const is =
          (isPagemapPresent(high) || isPagemapSwapped(high)) &&
          !isPagemapGuard(high) &&
          !(ownOnly && isPagemapFile(high));
        if (is === from >= 0) continue;
        if (is) from = at + page * PAGE_SIZE;
        else {
          visit(from, at + page * PAGE_SIZE);
          from = -1;
        }
      }
      at += got * PAGE_SIZE;
    }
    if (from >= 0) visit(from, end);
  }
}
