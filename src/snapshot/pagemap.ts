/** The pages of a snapshot as they were, for scans: the engine walks what was noted of them. */
import {
  ALL_CATEGORIES,
  categoryNames,
  errnoNumber,
  NotSupportedError,
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SOFT_DIRTY,
  PAGE_IS_SWAPPED,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  type Pagemap,
  PagemapError,
  type RegionBuffer,
  type ScanRequest,
  type ScanResult,
} from '../abi/index.js';
import { firstIndex } from '../abi/internal.js';
import { CheckedRequest, defineScanner, FRAME_FILE, FRAME_ZERO } from '../engine/internal.js';
import { type BlockSource, pageWords, WordTables } from '../live/internal.js';
import type { Mapping } from '../proc/index.js';

const {
  BLOCK_PAGES,
  BLOCK_SLOTS,
  CLEAN,
  FRAME_KINDS,
  GUARD,
  HUGE,
  KIND_SHIFT,
  P,
  SOFT_DIRTY,
  SWAP,
  VOID,
  WORD_PROFILE,
} = pageWords;

const Scanner = defineScanner(pageWords.WORD_FORMAT);

/** Of a page that is not there: an empty entry would be WRITTEN. */
const NOT_THERE = VOID | CLEAN;

/** Ranges of pages with a number each, ascending. */
export type PageRanges = readonly (readonly [page: number, count: number, value: number])[];

function entryOf(categories: number): number {
  let entry = (categories & PAGE_IS_SOFT_DIRTY) !== 0 ? SOFT_DIRTY : 0;
  if ((categories & PAGE_IS_PRESENT) !== 0) {
    entry |= P;
    if ((categories & PAGE_IS_HUGE) !== 0) entry |= HUGE;
    if ((categories & PAGE_IS_PFNZERO) !== 0) entry |= FRAME_ZERO << KIND_SHIFT;
    else if ((categories & PAGE_IS_FILE) !== 0) entry |= FRAME_FILE << KIND_SHIFT;
  } else if ((categories & (PAGE_IS_SWAPPED | PAGE_IS_GUARD)) !== 0) {
    entry |= SWAP;
    if ((categories & PAGE_IS_GUARD) !== 0) entry |= GUARD;
  } else if (entry !== 0) entry |= VOID;
  return entry;
}

export interface PagesAsTheyWere {
  readonly mappings: readonly Pick<Mapping, 'start' | 'end'>[];
  /** Categories of pages. */
  readonly categories: PageRanges;
  /** The categories that were asked for: others are not known. */
  readonly known: number;
  /** What was written; undefined when that is not known. */
  readonly written: PageRanges | undefined;
  /** Where the memory of processes ends on their machine, bytes. */
  readonly userSpaceEnd: number;
}

export class SnapshotPagemap implements Pagemap, BlockSource {
  /** Snapshots are of pages of 4 KiB, wherever they are looked at. */
  readonly pageSize: number = PAGE_SIZE;
  readonly #pages: PagesAsTheyWere;
  readonly #entries: readonly number[];
  readonly #checked: CheckedRequest;
  readonly #tables = new WordTables(this);
  readonly #scanner: InstanceType<typeof Scanner>;

  constructor(pages: PagesAsTheyWere) {
    this.#pages = pages;
    this.#checked = new CheckedRequest(pages.userSpaceEnd);
    this.#entries = pages.categories.map(([, , categories]) => entryOf(categories));
    this.#scanner = new Scanner({
      userSpaceEnd: pages.userSpaceEnd,
      profile: WORD_PROFILE,
      tables: this.#tables,
      mappings: pages.mappings.map(({ start, end }) => ({
        start: start / PAGE_SIZE,
        end: end / PAGE_SIZE,
        uffdWp: false,
        uffdRwp: false,
        wpAllowed: pages.written !== undefined,
        softDirty: false,
        hugetlb: false,
        pfnMap: false,
      })),
      frameKinds: FRAME_KINDS,
      frameBase: 0,
      splitHuge: () => undefined,
    });
  }

  /** The categories that can be told. */
  get categories(): number {
    const tracked = PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED;
    return this.#pages.known | (this.#pages.written === undefined ? 0 : tracked);
  }

  scan(request: ScanRequest, output: RegionBuffer | null): ScanResult {
    this.#checked.require(request, output, ALL_CATEGORIES);
    this.#refuseUnknowable(request);
    try {
      return this.#scanner.scan(request, output);
    } catch (error) {
      if (output !== null && !(error instanceof PagemapError && error.walkEnd !== undefined))
        output.length = 0;
      throw error;
    } finally {
      this.#tables.reset();
    }
  }

  #refuseUnknowable(request: ScanRequest): void {
    const { mask, anyof, returned, flags } = this.#checked;
    const { start, end } = request;
    const refuse = (action: string, needs: string, hint: string) =>
      new NotSupportedError(action, {
        errno: errnoNumber('EOPNOTSUPP')!,
        syscall: 'scan',
        start,
        end,
        needs,
        hint,
      });
    const unknown = (mask | anyof | returned) & ~this.categories;
    if ((unknown & (PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED)) !== 0)
      throw refuse(
        'tell which pages were written',
        'a snapshot before it',
        'the snapshot before it is of another run, is damaged, or is not kept: take a later one',
      );
    if (unknown !== 0)
      throw refuse(
        `tell ${categoryNames(unknown).join(', ')}`,
        'another kernel at the time',
        'that was not noted when the snapshot was taken',
      );
    if (flags !== 0)
      throw refuse('protect pages', 'a running process', 'a snapshot does not change; leave out the flags');
  }

  reach(block: number): number {
    return block + BLOCK_PAGES;
  }

  load(words: Uint32Array, slot: number, block: number, count: number): void {
    const { categories, written } = this.#pages;
    words.fill(0, slot, slot + count * BLOCK_SLOTS);
    if (written !== undefined)
      for (let at = slot; at < slot + count * BLOCK_SLOTS; at += 2) words[at] = NOT_THERE;
    const first = block * BLOCK_PAGES;
    const end = first + count * BLOCK_PAGES;
    forEachWithin(categories, first, end, (from, to, index) => {
      const entry = this.#entries[index]! | (written === undefined ? 0 : CLEAN);
      for (let page = from; page < to; page++) words[slot + (page - first) * 2] = entry;
    });
    if (written === undefined) return;
    forEachWithin(written, first, end, (from, to) => {
      for (let page = from; page < to; page++) words[slot + (page - first) * 2]! &= ~CLEAN;
    });
  }

  isEmpty(words: Uint32Array, slot: number): boolean {
    for (let at = slot; at < slot + BLOCK_SLOTS; at += 2)
      if (words[at] !== 0 && words[at] !== NOT_THERE) return false;
    return true;
  }

  leave(): void {
    // Nothing of it has changed.
  }
}

/** Calls `visit` for the parts of ranges that lie between two pages. */
function forEachWithin(
  ranges: PageRanges,
  first: number,
  end: number,
  visit: (from: number, to: number, index: number) => void,
): void {
  let index = firstIndex(ranges.length, (at) => ranges[at]![0] + ranges[at]![1] > first);
  for (; index < ranges.length && ranges[index]![0] < end; index++) {
    const [page, count] = ranges[index]!;
    visit(Math.max(first, page), Math.min(end, page + count), index);
  }
}
