/**
 * Differences between kernels as questions: for each property of a kernel profile, operations whose answers tell its
 * value. The simulator gives the answer to expect for each value. So with a measured value, the simulator answers as
 * the kernel did.
 */
import { BASE_CATEGORIES, categoryNames, PAGE_SIZE } from '../abi/index.js';
import { KERNEL_PROFILES, type KernelProfile } from '../sim/index.js';
import { hex } from './backend.js';
import type { AdviceName, FeatureName, MmapOp, Op, ScanOp } from './format.js';

/** The properties of a kernel profile that can be asked for: all but its name. */
export type ProfileProperty = Exclude<keyof KernelProfile, 'name'>;

/** What a machine must have for a question. */
export type FactNeed = 'userfaultfd' | 'huge pages' | 'huge pages of files' | 'swap space';

/** One property of kernel profiles. */
export interface KernelFact<Value = boolean | number> {
  /** The meaning of its value, as a sentence without a full stop. */
  says(value: Value): string;
  /** The values that are known. */
  readonly values: readonly Value[];
  readonly needs: readonly FactNeed[];
  /** It depends on how a kernel was built or booted, not on its release. */
  readonly isOfBuild?: true | undefined;
  /** Operations on a fresh process, page numbers counted from the arena's start. */
  readonly question: readonly Op[];
}

/** Where questions are asked: 16 MiB that nothing else uses. */
export const QUESTION_ARENA = 0x600000000000;
export const QUESTION_ARENA_PAGES = 4096;

const GUARD_CATEGORIES = 0x1ff;

const map = (at: number, pages: number, rest: Partial<MmapOp> = {}): Op => ({
  op: 'mmap',
  at,
  pages,
  prot: 'rw',
  type: 'anon',
  sharing: 'private',
  ...rest,
});
const mapFile = (at: number, pages: number, sharing: 'private' | 'shared'): Op =>
  map(at, pages, { type: 'file', sharing, file: 'f', offset: 0 });
const file = (pages: number): Op => ({ op: 'file', file: 'f', pages });
const read = (at: number, pages: number): Op => ({ op: 'read', at, pages, step: 1 });
const write = (at: number, pages: number): Op => ({ op: 'write', at, pages, step: 1 });
const advise = (at: number, pages: number, advice: AdviceName): Op => ({ op: 'madvise', at, pages, advice });
const uffd = (...features: FeatureName[]): Op => ({ op: 'uffd', uffd: 'u', features });
const register = (at: number, pages: number): Op => ({ op: 'register', uffd: 'u', at, pages, mode: ['wp'] });
const protect = (at: number, pages: number): Op => ({ op: 'writeprotect', uffd: 'u', at, pages, wp: true });

/** A scan of pages that reports `categories` of each. */
function look(at: number, pages: number, categories = BASE_CATEGORIES, rest: Partial<ScanOp> = {}): Op {
  return {
    op: 'scan',
    size: 96,
    flags: 0,
    start: hex(QUESTION_ARENA + at * PAGE_SIZE),
    end: hex(QUESTION_ARENA + (at + pages) * PAGE_SIZE),
    vec: true,
    vec_len: 512,
    max_pages: 0,
    inverted: 0,
    mask: 0,
    anyof: 0,
    return: categories,
    ...rest,
  };
}

/** A scan that leaves out what is empty, of which kernels say different things. */
const lookAtPresent = (at: number, pages: number): Op => look(at, pages, BASE_CATEGORIES, { mask: 0x8 });

/** A scan for categories: it outputs nothing where no page has them all. */
const lookFor = (at: number, pages: number, categories: number): Op =>
  look(at, pages, categories, { mask: categories });

function either(
  holds: string,
  fails: string,
  question: readonly Op[],
  ...needs: FactNeed[]
): KernelFact<boolean> {
  return { says: (value) => (value ? holds : fails), values: [true, false], needs, question };
}

function ofBuild(holds: string, fails: string, question: readonly Op[]): KernelFact<boolean> {
  return { ...either(holds, fails, question), isOfBuild: true };
}

/** Tests for each need. Their answers are the same for all profiles. */
export const FACT_NEEDS: Readonly<Record<FactNeed, readonly Op[]>> = {
  userfaultfd: [map(0, 4), uffd('wp_async', 'wp_unpopulated'), register(0, 4), protect(0, 4)],
  'huge pages': [map(0, 512), advise(0, 512, 'hugepage'), write(0, 1), lookFor(0, 512, 0x40)],
  'huge pages of files': [
    file(1200),
    mapFile(0, 1000, 'shared'),
    write(0, 512),
    advise(0, 512, 'collapse'),
    lookFor(0, 512, 0x40),
  ],
  'swap space': [map(0, 4), write(0, 4), advise(0, 4, 'pageout'), lookFor(0, 4, 0x10)],
};

/**
 * All questions. A profile property without a question here does not compile. Questions that others depend on come
 * first: the others are read with the values measured before.
 */
export const KERNEL_FACTS: { readonly [P in ProfileProperty]: KernelFact<KernelProfile[P]> } = {
  knownCategories: {
    says: (value) => `scans know the categories up to ${categoryNames(value).at(-1)}`,
    values: [...new Set(Object.values(KERNEL_PROFILES).map((profile) => profile.knownCategories))],
    needs: [],
    // One for each bit that some release added, and the next two.
    question: [7, 8, 9, 10, 11].map((bit) => look(0, 1, 1 << bit)),
  },
  untrackedIsWritten: either(
    'pages of mappings that nobody tracks are written',
    'only pages of mappings that are registered for write protection are written',
    [map(0, 4), write(0, 1), lookAtPresent(0, 4)],
  ),
  hasZeroPage: ofBuild(
    'a read of untouched anonymous memory maps the shared zero page',
    'there is no shared zero page: a read of untouched anonymous memory makes a page of its own',
    [map(0, 4), read(0, 2), lookAtPresent(0, 4)],
  ),
  goneIsEsrch: ofBuild(
    'a scan of an address space that is gone fails with ESRCH',
    'a scan of an address space that is gone finds nothing',
    [look(0, 1, BASE_CATEGORIES, { gone: true })],
  ),
  reportsSoftDirty: ofBuild('scans report soft-dirty pages', 'scans report no soft-dirty pages', [
    map(0, 4),
    write(0, 1),
    look(0, 4, 0x80),
  ]),
  tracksSoftDirty: ofBuild(
    'soft-dirty bits are kept, and clear_refs clears them',
    'no soft-dirty bits are kept',
    [map(0, 4), write(0, 3), { op: 'clear_refs', value: 4 }, write(1, 1), look(0, 4, 0x80, { mask: 0x8 })],
  ),
  hasGuardPages: either('madvise knows guard pages', 'madvise knows no guard pages', [
    map(0, 4),
    advise(1, 1, 'guard_install'),
    read(0, 4),
  ]),
  reportsGuard: either('scans report guard pages', 'scans report no guard pages', [
    map(0, 4),
    advise(1, 1, 'guard_install'),
    look(0, 4, GUARD_CATEGORIES & ~0x80),
  ]),
  emptyIsWritten: either(
    'an empty entry of a page table is written',
    'an empty entry of a page table is not written',
    [map(0, 4), write(0, 1), uffd('wp_async', 'wp_unpopulated'), register(0, 4), look(0, 4)],
    'userfaultfd',
  ),
  holeIsWritten: either(
    'a hole in a registered mapping is written',
    'a hole in a registered mapping is not written',
    [map(0, 4), uffd('wp_async', 'wp_unpopulated'), register(0, 4), look(0, 4)],
    'userfaultfd',
  ),
  hugeZeroIsPfnZero: either(
    'the huge zero page is pfnzero',
    'the huge zero page is not pfnzero',
    [map(0, 512), advise(0, 512, 'hugepage'), read(0, 1), lookAtPresent(0, 512)],
    'huge pages',
  ),
  hugeZeroWriteStaysHuge: either(
    'a write to the huge zero page makes a huge page',
    'a write to the huge zero page splits it',
    [map(0, 512), advise(0, 512, 'hugepage'), read(0, 1), write(3, 1), lookAtPresent(0, 512)],
    'huge pages',
  ),
  dontneedFreesTables: either(
    'MADV_DONTNEED of a whole page table frees the table',
    'MADV_DONTNEED of a whole page table leaves an empty table',
    [
      map(0, 512),
      write(0, 9),
      advise(0, 512, 'dontneed'),
      uffd('wp_async', 'wp_unpopulated'),
      // By the masks that take empty entries for written, on every kernel, and holes only where that is so of holes.
      lookFor(0, 512, 2),
    ],
    'userfaultfd',
  ),
  mremapClearsProtection: either(
    'mremap leaves write protection behind',
    'mremap takes write protection along',
    [
      map(0, 4),
      write(0, 4),
      uffd('wp_async', 'wp_unpopulated'),
      register(0, 4),
      protect(0, 4),
      { op: 'mremap', at: 0, pages: 4, to: 64, to_pages: 4 },
      lookAtPresent(64, 4),
    ],
    'userfaultfd',
  ),
  mremapMovesSeveral: either('mremap moves several mappings at once', 'mremap moves one mapping', [
    map(0, 4),
    map(4, 4, { prot: 'r' }),
    write(0, 4),
    { op: 'mremap', at: 0, pages: 8, to: 64, to_pages: 8 },
    lookAtPresent(64, 8),
  ]),
  collapseNeedsBlock: either(
    'MADV_COLLAPSE of a part of a huge page is an error',
    'MADV_COLLAPSE of a part of a huge page does nothing',
    [map(0, 512), write(0, 512), advise(10, 20, 'collapse')],
    'huge pages',
  ),
  collapsePassesEmptyBlocks: either(
    'MADV_COLLAPSE goes on behind a part without page tables',
    'MADV_COLLAPSE ends at a part without page tables',
    [map(0, 1024), write(600, 1), advise(0, 1024, 'collapse'), lookFor(0, 1024, 0x40)],
    'huge pages',
  ),
  collapseNeedsWritable: either(
    'MADV_COLLAPSE needs a writable page',
    'MADV_COLLAPSE takes pages of which none is writable',
    [
      map(0, 1000),
      // So that there are anonymous pages at all, elsewhere.
      write(600, 1),
      advise(0, 512, 'populate_read'),
      advise(0, 512, 'collapse'),
      lookAtPresent(0, 512),
    ],
    'huge pages',
  ),
  untouchedNeighboursMerge: either(
    'a mapping that changes merges with a like neighbour that was never touched',
    'a mapping that changes does not merge with a like neighbour that was never touched',
    [
      map(0, 1024),
      uffd('wp_async'),
      register(380, 31),
      write(44, 264),
      register(0, 380),
      register(411, 613),
      advise(471, 547, 'collapse'),
    ],
    'userfaultfd',
    'huge pages',
  ),
  unregisterIsForOwner: either(
    'UFFDIO_UNREGISTER of what another userfaultfd has registered is an error',
    'UFFDIO_UNREGISTER ends what another userfaultfd has registered',
    [
      map(0, 4),
      write(0, 4),
      uffd('wp_async', 'wp_unpopulated'),
      register(0, 4),
      protect(0, 4),
      { op: 'uffd', uffd: 'v', features: ['wp_async', 'wp_unpopulated'] },
      { op: 'unregister', uffd: 'v', at: 0, pages: 4 },
      look(0, 4),
    ],
    'userfaultfd',
  ),
  hasReadWriteProtection: either(
    'userfaultfd has read-write protection',
    'userfaultfd has no read-write protection',
    [
      map(0, 4),
      write(0, 2),
      uffd('rwp', 'rwp_async'),
      { op: 'register', uffd: 'u', at: 0, pages: 4, mode: ['rwp'] },
      { op: 'rwprotect', uffd: 'u', at: 0, pages: 4, rwp: true },
      read(0, 1),
    ],
    'userfaultfd',
  ),
  collapseNeedsTables: either(
    'MADV_COLLAPSE of a file that no page table maps makes a huge page and fails',
    'MADV_COLLAPSE of a file that no page table maps makes and maps a huge page',
    [file(700), mapFile(0, 700, 'shared'), advise(0, 700, 'collapse')],
    'huge pages of files',
  ),
  hugeFileSwapsWhole: either(
    'a huge page of shared memory is swapped as one',
    'a huge page of shared memory is split when it is swapped',
    [
      file(1200),
      mapFile(0, 1000, 'shared'),
      write(0, 512),
      advise(0, 512, 'collapse'),
      advise(0, 512, 'pageout'),
      read(0, 30),
      lookAtPresent(0, 1000),
    ],
    'huge pages of files',
    'swap space',
  ),
  mappedTwiceIsShared: either(
    'a huge page that a process maps twice is taken for shared, and is not reclaimed',
    'a huge page that a process maps twice is its own, and is reclaimed',
    [
      file(1200),
      mapFile(0, 1000, 'shared'),
      mapFile(2048, 1000, 'shared'),
      write(2048, 512),
      advise(2048, 512, 'collapse'),
      read(0, 512),
      advise(100, 25, 'pageout'),
      lookAtPresent(0, 4096),
    ],
    'huge pages of files',
    'swap space',
  ),
  readFaultMapsHugeFile: either(
    'a read fault maps all of a huge page of a file',
    'a read fault maps the surroundings of a page, in a huge page of a file, too',
    [
      file(1200),
      mapFile(0, 1000, 'private'),
      read(0, 1),
      advise(0, 512, 'collapse'),
      write(7, 1),
      read(0, 30),
      lookAtPresent(0, 1000),
    ],
    'huge pages of files',
  ),
};
