/** What every tracker does: report the pages that were written, and protect them again, in one step. */
import {
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_WRITTEN,
  type Pagemap,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  type RegionBuffer,
} from '../abi/index.js';
import { type RegionVisitor, scanLegs } from '../query/index.js';

/** How a mapping is tracked. */
export type TrackedKind =
  /** Anonymous: what does not exist is left alone. */
  | 'anonymous'
  /** Of a file, private: the same, and the file's own pages are nobody's writes. */
  | 'private-file'
  /** Shared: every page is protected, or reading one would make it look written. */
  | 'shared'
  /** hugetlb: every page is protected, and never by a scan, which can hang in the kernel for ever there. */
  | 'hugetlb';

/**
 * Shared mappings above this are tracked like anonymous memory, so that the kernel need not keep a marker (8 bytes) for
 * each page that does not exist: reading such a page for the first time then counts as a write.
 */
export const MOST_MARKED_BYTES = 64 * 2 ** 30;

/** Masks of a scan. */
export interface Masks {
  readonly categoryInverted: number;
  readonly categoryMask: number;
  readonly categoryAnyofMask: number;
  readonly returnMask: number;
}

/**
 * For memory in which every page is protected, populated or not. Exactly these masks are the kernel's fast path: all that
 * is not protected matches.
 */
export const ALL_WRITTEN: Masks = {
  categoryInverted: 0,
  categoryMask: PAGE_IS_WRITTEN,
  categoryAnyofMask: 0,
  returnMask: PAGE_IS_WRITTEN,
};

/**
 * For memory in which only what exists is protected: address space that was never touched costs nothing, as terabytes of
 * it would with a marker for each page. A page that comes into being by a write is not protected, so it matches; one that
 * comes by a read is the zero page or, in a private file mapping, the file's own, and does not. On kernels without the zero page it
 * is a page like any other, and matches.
 *
 * @param accepted the categories that the kernel knows: guard pages are left out where it can tell them
 */
export function existingWritten(privateFile: boolean, accepted: number): Masks {
  const without = PAGE_IS_PFNZERO | (privateFile ? PAGE_IS_FILE : 0) | (accepted & PAGE_IS_GUARD);
  return {
    categoryInverted: without,
    categoryMask: PAGE_IS_WRITTEN | without,
    categoryAnyofMask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
    // Huge pages cost their process one fault, not one for each 4,096 bytes.
    returnMask: PAGE_IS_WRITTEN | PAGE_IS_HUGE,
  };
}

/** The same of anonymous memory and of private file mappings. */
export type PrivateMasks = Readonly<Record<'anonymous' | 'private-file', Masks>>;

export function privateMasks(accepted: number): PrivateMasks {
  return {
    anonymous: existingWritten(false, accepted),
    'private-file': existingWritten(true, accepted),
  };
}

const masks = (given: Partial<Masks>): Masks => ({
  categoryInverted: 0,
  categoryMask: 0,
  categoryAnyofMask: 0,
  returnMask: 0,
  ...given,
});

/** Pages that exist, written or not; for hugetlb memory. */
export const EXISTING = masks({ categoryMask: PAGE_IS_PRESENT });

/** For hugetlb memory. */
export const EXISTING_WRITTEN = masks({ categoryMask: PAGE_IS_PRESENT | PAGE_IS_WRITTEN });

/** What exists of shared memory that is protected: pages on the move are not present, but they are a file's, as markers are not. */
export const EXISTING_SHARED = masks({ categoryAnyofMask: PAGE_IS_PRESENT | PAGE_IS_FILE });

/** What has no entry, not even a marker. */
export const GONE = masks({
  categoryInverted: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
  categoryMask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
});

/** The same, and what is written; markers have to be left out, see {@link isMarker}. */
export const WRITTEN_OR_GONE = masks({
  categoryInverted: PAGE_IS_PRESENT,
  categoryAnyofMask: PAGE_IS_PRESENT | PAGE_IS_WRITTEN,
  returnMask: PAGE_IS_SWAPPED | PAGE_IS_WRITTEN,
});

/** Whether it is one of the entries that stand for a protected page that is not there, in what {@link WRITTEN_OR_GONE} gives. */
export function isMarker(categories: number): boolean {
  return (categories & (PAGE_IS_SWAPPED | PAGE_IS_WRITTEN)) === PAGE_IS_SWAPPED;
}

/** A scan met memory that is not registered. Its report is complete up to `resume`. */
export class Unregistered extends Error {
  override readonly name = 'Unregistered';
  readonly resume: number;

  constructor(resume: number) {
    super(`Cannot scan on from 0x${resume.toString(16)}: not registered`);
    this.resume = resume;
  }
}

/**
 * Reports and protects all matching pages of [start, end), which should be registered as a whole (gaps do not matter).
 *
 * Where it is not, the kernel answers EPERM after it has protected what lies before. It has also written those regions to
 * the output, only not how many: the output is cleared before, so that they can be told, and no write is lost.
 *
 * @throws Unregistered after `visit` has got all that was protected
 */
export function collectRange(
  pagemap: Pagemap,
  start: number,
  end: number,
  masks: Masks,
  buffer: RegionBuffer,
  visit: RegionVisitor,
): void {
  const query = { start, end, ...masks, flags: PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC };
  // A sum of the regions' bytes would not do: what is cleared must be what the kernel may have left.
  let resume = start;
  const { words } = buffer;
  if (words[2] !== 0 || words[3] !== 0) words.fill(0);
  try {
    for (const found of scanLegs(pagemap, query, { buffer })) {
      const count = found.length;
      for (let index = 0; index < count; index++)
        visit(found.start(index), found.end(index), found.categories(index));
      resume = found.end(count - 1);
      words.fill(0, 0, count * 6);
    }
  } catch (error) {
    if (!(error instanceof PagemapError) || error.code !== 'EPERM') throw error;
    for (let index = 0; index < buffer.capacity && buffer.end(index) !== 0; index++) {
      visit(buffer.start(index), buffer.end(index), buffer.categories(index));
      resume = buffer.end(index);
    }
    words.fill(0);
    throw new Unregistered(resume);
  }
}
