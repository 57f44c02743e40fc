/** What one can begin with. */
import { PAGE_SIZE } from '../abi/index.js';
import type { Op, ScanOp } from '../scenario/internal.js';
import { ARENA, ARENA_PAGES } from './play.js';

const WRITTEN = 0x2;

/** PAGEMAP_SCAN over all pages, with what is given instead. */
export function scan(rest: Partial<ScanOp> = {}): ScanOp {
  return {
    op: 'scan',
    size: 96,
    flags: 0,
    start: `0x${ARENA.toString(16)}`,
    end: `0x${(ARENA + ARENA_PAGES * PAGE_SIZE).toString(16)}`,
    vec: true,
    vec_len: 64,
    max_pages: 0,
    inverted: 0,
    mask: 0,
    anyof: 0,
    return: 0x7f,
    ...rest,
  };
}

const map = (at: number, pages: number): Op => ({
  op: 'mmap',
  at,
  pages,
  prot: 'rw',
  type: 'anon',
  sharing: 'private',
});
const write = (at: number, pages: number, step = 1): Op => ({ op: 'write', at, pages, step });
const advise = (at: number, pages: number, advice: Extract<Op, { op: 'madvise' }>['advice']): Op => ({
  op: 'madvise',
  at,
  pages,
  advice,
});
const track = (at: number, pages: number): Op[] => [
  { op: 'uffd', uffd: 'u', features: ['wp_async', 'wp_unpopulated', 'wp_hugetlbfs_shmem'] },
  { op: 'register', uffd: 'u', at, pages, mode: ['wp'] },
];

export interface Example {
  readonly title: string;
  readonly says: string;
  readonly ops: readonly Op[];
}

export const EXAMPLES: readonly Example[] = [
  {
    title: 'Kinds of pages',
    says: 'A mapping reserves addresses only. Pages come when they are touched: a read maps the shared zero page, a write makes one, file pages come from the file, advice takes some to swap.',
    ops: [
      map(0, 256),
      { op: 'read', at: 0, pages: 32, step: 1 },
      write(64, 64),
      advise(96, 32, 'pageout'),
      advise(192, 16, 'guard_install'),
      { op: 'file', file: 'f', pages: 128 },
      { op: 'mmap', at: 320, pages: 128, prot: 'r', type: 'file', sharing: 'private', file: 'f', offset: 0 },
      { op: 'read', at: 320, pages: 64, step: 1 },
      // With guard, which releases before 6.18 do not know.
      scan({ return: 0x17f }),
    ],
  },
  {
    title: 'Which pages were written',
    says: 'userfaultfd with WP_ASYNC, then scans that report what was written and protect it again in the same step. The last scan finds exactly the three pages that were written since the one before. What was never touched gets a marker when it is protected, which the kernel reports as swapped.',
    ops: [
      map(0, 128),
      write(0, 64),
      ...track(0, 128),
      scan({ flags: 3, mask: WRITTEN, return: WRITTEN, end: `0x${(ARENA + 128 * PAGE_SIZE).toString(16)}` }),
      write(5, 1),
      write(40, 2),
      scan({ flags: 3, mask: WRITTEN, return: WRITTEN, end: `0x${(ARENA + 128 * PAGE_SIZE).toString(16)}` }),
    ],
  },
  {
    title: 'A huge page is split',
    says: 'One write makes 2 MiB present. Protecting a part of it, as a scan with max_pages does, splits the huge page.',
    ops: [
      map(0, 512),
      advise(0, 512, 'hugepage'),
      write(0, 1),
      scan(),
      ...track(0, 512),
      scan({ flags: 3, mask: WRITTEN, return: 0x7f, max_pages: 100 }),
      scan(),
    ],
  },
  {
    title: 'Kernels differ',
    says: 'Pages of a mapping that nobody tracks: written, says one kernel, and not, says another. Guard pages have a category from Linux 6.18 on. Compare two releases.',
    ops: [map(0, 64), write(0, 16), advise(32, 8, 'guard_install'), scan({ mask: 0, return: 0x17f }), scan()],
  },
];
