/** What /proc/PID/pagemap tells on this kernel and to this user: found out on memory of our own. */
import { closeSync, openSync, readSync } from 'node:fs';
import {
  ALL_CATEGORIES,
  type CategoryRefusal,
  errnoNumber,
  mman,
  NotSupportedError,
  PAGE_IS_ACCESSED,
  PAGE_IS_GUARD,
  PAGE_IS_PFNZERO,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  PagemapError,
} from '../../abi/index.js';
import { isPagemapGuard, isPagemapPresent, isPagemapSoftDirty, pagemapPfn } from '../../proc/index.js';
import { requireSmallPages } from '../libc.js';
import { mapMemory, SafeAccess } from '../memory.js';
import { Userfaultfd } from '../userfaultfd.js';

/** What can be known without PAGEMAP_SCAN. */
export interface Knowledge {
  /** The categories that can be told of any process that may be read. */
  readonly categories: number;
  /** Why not, for the others, by bit. */
  readonly refusals: ReadonlyMap<number, CategoryRefusal>;
  /** The frame number of the zero page; -1 when it cannot be found. */
  readonly zeroFrame: number;
  /** The kernel notes in the page tables which pages are written (CONFIG_MEM_SOFT_DIRTY). */
  readonly softDirty: boolean;
}

export const WRITTEN_REFUSAL: CategoryRefusal = {
  code: 'EOPNOTSUPP',
  hint: 'without PAGEMAP_SCAN, written pages are known only by tracking: use `pmscan watch` or trackProcess',
};

const ACCESSED_REFUSAL: CategoryRefusal = {
  code: 'EOPNOTSUPP',
  hint: 'which pages were accessed is told by PAGEMAP_SCAN of Linux 7.3 only',
};

/** The words of the first pages at an address of our own memory. */
function ownWord(address: number): [low: number, high: number] {
  const words = new Uint32Array(2);
  const fd = openSync('/proc/self/pagemap', 'r');
  try {
    readSync(fd, words, 0, 8, (address / PAGE_SIZE) * 8);
  } finally {
    closeSync(fd);
  }
  return [words[0]!, words[1]!];
}

/**
 * The zero page's frame: that of pages that were only read. A page that was written has another.
 *
 * @returns 0 where frame numbers are hidden, -1 where a read maps a page of the process's own
 */
function findZeroFrame(access: SafeAccess): number {
  using memory = mapMemory({ lengthBytes: 3 * PAGE_SIZE });
  // Huge pages would show the huge zero page, or all three in one.
  memory.advise(mman.MADV_NOHUGEPAGE);
  access.read(memory.address);
  access.read(memory.address + PAGE_SIZE);
  access.write(memory.address + 2 * PAGE_SIZE, 1);
  const frames = [0, 1, 2].map((page) => {
    const [low, high] = ownWord(memory.address + page * PAGE_SIZE);
    return isPagemapPresent(high) ? pagemapPfn(low, high) : 0;
  });
  return frames[0] === frames[1] && frames[0] !== frames[2] ? frames[0]! : frames[2] === 0 ? 0 : -1;
}

/** Guard pages are in a word's bit 58 (Linux 6.15), or there can be none (before 6.13): no in between. */
function canTellGuards(): boolean {
  using memory = mapMemory({ lengthBytes: PAGE_SIZE });
  try {
    memory.advise(mman.MADV_GUARD_INSTALL);
  } catch (error) {
    return error instanceof PagemapError && error.code === 'EINVAL';
  }
  return isPagemapGuard(ownWord(memory.address)[1]);
}

/**
 * Whether a new mapping's pages are soft-dirty, which all are where the kernel keeps those bits. That clear_refs takes the
 * value for it says nothing: kernels built without them take it, too.
 */
function keepsSoftDirty(access: SafeAccess): boolean {
  using memory = mapMemory({ lengthBytes: PAGE_SIZE });
  access.write(memory.address, 1);
  return isPagemapSoftDirty(ownWord(memory.address)[1]);
}

/** Asynchronous write protection, and WPALLOWED with it, came with Linux 6.7: what has it not allows it nowhere. */
function allowsNowhere(): boolean {
  try {
    using _faults = Userfaultfd.open();
    return false;
  } catch (error) {
    return error instanceof PagemapError && (error.code === 'EINVAL' || error.code === 'ENOSYS');
  }
}

let known: Knowledge | undefined;

/**
 * Asks once.
 *
 * @throws NotSupportedError where pages are not of 4 KiB: the tables of words that the engine walks are x86-64's
 */
export function fallbackKnowledge(): Knowledge {
  if (known !== undefined) return known;
  requireSmallPages('tell pages without PAGEMAP_SCAN', 'Linux 6.7 and later have PAGEMAP_SCAN');
  using access = new SafeAccess();
  const zeroFrame = findZeroFrame(access);
  const refusals = new Map<number, CategoryRefusal>([
    [PAGE_IS_WRITTEN, WRITTEN_REFUSAL],
    [PAGE_IS_ACCESSED, ACCESSED_REFUSAL],
  ]);
  if (zeroFrame <= 0) {
    refusals.set(
      PAGE_IS_PFNZERO,
      zeroFrame === 0
        ? {
            code: 'EPERM',
            hint: 'the zero page is known by its frame number, and reading that needs CAP_SYS_ADMIN: run as root',
          }
        : {
            code: 'EOPNOTSUPP',
            hint: 'the zero page is known by its frame number, which cannot be found here: a read of untouched memory maps a new page',
          },
    );
  }
  if (!canTellGuards()) {
    refusals.set(PAGE_IS_GUARD, {
      code: 'EOPNOTSUPP',
      hint: 'this kernel has guard pages but does not show them in pagemap; Linux 6.15 does',
    });
  }
  if (!allowsNowhere()) {
    refusals.set(PAGE_IS_WPALLOWED, {
      code: 'EOPNOTSUPP',
      hint: 'which mappings are registered for asynchronous write protection is shown by PAGEMAP_SCAN only',
    });
  }
  let categories = ALL_CATEGORIES;
  for (const bit of refusals.keys()) categories &= ~bit;
  known = { categories, refusals, zeroFrame: zeroFrame || -1, softDirty: keepsSoftDirty(access) };
  return known;
}

/** The error for write tracking where the kernel notes no writes. */
export function softDirtyMissing(pid: number): PagemapError {
  return new NotSupportedError(`track the writes of process ${pid}`, {
    errno: errnoNumber('EOPNOTSUPP')!,
    syscall: 'write(clear_refs)',
    pid,
    needs: 'Linux 6.7, or CONFIG_MEM_SOFT_DIRTY',
    hint: 'without PAGEMAP_SCAN (Linux 6.7) it needs soft-dirty bits, and this kernel keeps none: it is built without CONFIG_MEM_SOFT_DIRTY',
  });
}
