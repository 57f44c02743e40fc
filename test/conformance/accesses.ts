/** Which pages were accessed (Linux 7.3): 64 anonymous pages, 0 to 15 written, 20 to 23 only read, registered for read-write protection. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  mman,
  PAGE_IS_ACCESSED,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  type Pagemap,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  RegionBuffer,
  uffd,
} from '../../src/abi/index.js';
import type { AccessTracker, Platform, World } from './platform.js';

const PAGES = 64;
const RWP = uffd.UFFDIO_REGISTER_MODE_RWP;
const WP = uffd.UFFDIO_REGISTER_MODE_WP;
const PRESENT = [...Array.from({ length: 16 }, (_, page) => page), 20, 21, 22, 23];

export function accesses(platform: Platform): void {
  const { pageSize = PAGE_SIZE } = platform;
  const hugePages = pageSize / 8;
  let world: World;
  let tracker: AccessTracker;
  let start: number;
  const output = new RegionBuffer(4096);

  /** The pages of a range that a scan finds, counted from its start. */
  function found(
    request: { mask: number; inverted?: number; flags?: number },
    address = start,
    pages = PAGES,
    pagemap: Pagemap = world.pagemap,
  ): number[] {
    const { mask, inverted = 0, flags = 0 } = request;
    const end = address + pages * pageSize;
    const masks = { categoryMask: mask, categoryInverted: inverted, returnMask: 0 };
    pagemap.scan({ start: address, end, flags, ...masks }, output);
    const list: number[] = [];
    for (const region of output) {
      for (let at = region.start; at < region.end; at += pageSize) list.push((at - address) / pageSize);
    }
    return list;
  }
  const accessed = (address = start, pages = PAGES, pagemap = world.pagemap) =>
    found({ mask: PAGE_IS_ACCESSED }, address, pages, pagemap);
  const present = () => found({ mask: PAGE_IS_PRESENT });
  const idle = () => found({ mask: PAGE_IS_ACCESSED | PAGE_IS_PRESENT, inverted: PAGE_IS_ACCESSED });
  const read = (page: number) => world.read(start + page * pageSize, 1);
  const write = (page: number) => world.write(start + page * pageSize, 1);

  /** Whether a read of untouched memory maps the shared zero page here. */
  function hasZeroPage(): boolean {
    const plain = world.map({ pages: 1 });
    world.read(plain, 1);
    return found({ mask: PAGE_IS_PFNZERO }, plain, 1).length === 1;
  }

  function code(run: () => unknown): string {
    try {
      run();
    } catch (error) {
      if (error instanceof PagemapError) return error.code;
      throw error;
    }
    return '';
  }

  describe('accesses', () => {
    beforeEach(() => {
      world = platform.create();
      start = world.map({ pages: PAGES });
      world.write(start, 16);
      world.read(start + 20 * pageSize, 4);
      tracker = world.trackAccesses();
    });
    afterEach(() => {
      tracker[Symbol.dispose]();
      world[Symbol.dispose]();
    });

    /** All registered and protected. */
    function protect(): void {
      tracker.register(start, PAGES);
      tracker.rwProtect(start, PAGES);
    }

    test('before registering nothing is accessed, after it what is present', () => {
      expect(accessed()).toEqual([]);
      tracker.register(start, PAGES);
      expect(accessed()).toEqual(PRESENT);
    });

    test('protected, nothing is accessed, and all stays present', () => {
      protect();
      expect(accessed()).toEqual([]);
      expect(present()).toEqual(PRESENT);
    });

    test.each([false, true])(
      'reads and writes, of holes too, are accesses; user mode only: %s',
      (userMode) => {
        tracker[Symbol.dispose]();
        tracker = world.trackAccesses({ userModeOnly: userMode });
        protect();
        expect([read(3), write(5), read(30), write(32), read(21)]).toEqual([1, 1, 1, 1, 1]);
        expect(accessed()).toEqual([3, 5, 21, 30, 32]);
        const zero = hasZeroPage() ? [21, 30] : [];
        expect(found({ mask: PAGE_IS_PFNZERO | PAGE_IS_ACCESSED })).toEqual(zero);
        expect(idle()).toEqual(PRESENT.filter((page) => ![3, 5, 21].includes(page)));
      },
    );

    test('nothing is written or may be write-protected; scans that would protect change nothing', () => {
      protect();
      write(5);
      expect(found({ mask: PAGE_IS_WRITTEN })).toEqual([]);
      expect(found({ mask: PAGE_IS_WPALLOWED })).toEqual([]);
      expect(found({ mask: 0, flags: PM_SCAN_WP_MATCHING })).toEqual([]);
      expect(code(() => found({ mask: 0, flags: PM_SCAN_CHECK_WPASYNC }))).toBe('EPERM');
      expect(accessed()).toEqual([5]);
    });

    test('both modes at once, the other mode, another userfaultfd, and what is not registered', () => {
      expect(code(() => tracker.register(start, PAGES, WP | RWP))).toBe('EINVAL');
      tracker.register(start, 32);
      expect(code(() => tracker.register(start, 32, WP))).toBe('EBUSY');
      const other = world.trackAccesses();
      expect(code(() => other.register(start, 32))).toBe('EBUSY');
      other[Symbol.dispose]();
      expect(code(() => tracker.rwProtect(start, 33))).toBe('ENOENT');
      expect(accessed()).toEqual(PRESENT);
    });

    test('what nobody may access cannot be registered', () => {
      world.mprotect(start, PAGES, mman.PROT_NONE);
      expect(code(() => tracker.register(start, PAGES))).toBe('EINVAL');
    });

    test('protection taken away, unregistered, closed', () => {
      protect();
      tracker.rwProtect(start, PAGES, false);
      expect(accessed()).toEqual(PRESENT);
      tracker.rwProtect(start, PAGES);
      tracker.unregister(start, 32);
      expect(accessed()).toEqual([]);
      tracker.register(start, 32);
      expect(accessed()).toEqual(PRESENT);
      tracker.rwProtect(start, PAGES);
      tracker[Symbol.dispose]();
      expect([accessed(), present()]).toEqual([[], PRESENT]);
      expect(read(3) + write(5)).toBe(2);
    });

    test('a fork has nothing of it, the parent stays as it was', ({ skip }) => {
      if (world.fork === undefined) return skip();
      protect();
      read(3);
      const child = world.fork();
      expect(accessed(start, PAGES, child)).toEqual([]);
      expect(found({ mask: PAGE_IS_PRESENT }, start, PAGES, child)).toEqual(PRESENT);
      expect(accessed()).toEqual([3]);
    });

    test('mprotect leaves the protection as it is', () => {
      protect();
      world.mprotect(start, PAGES, mman.PROT_NONE);
      world.mprotect(start, PAGES, mman.PROT_READ | mman.PROT_WRITE);
      expect(accessed()).toEqual([]);
      world.mprotect(start, PAGES, mman.PROT_READ);
      expect([accessed(), present()]).toEqual([[], PRESENT]);
      expect([read(3), write(5)]).toEqual([1, 0]);
      expect(accessed()).toEqual([3]);
    });

    test('discarded pages are as untouched', () => {
      protect();
      world.advise(start, 8, mman.MADV_DONTNEED);
      expect(present()).toEqual(PRESENT.filter((page) => page >= 8));
      expect(accessed()).toEqual([]);
      write(2);
      expect(accessed()).toEqual([2]);
    });

    test('a mapping that moves leaves its registration behind', () => {
      protect();
      const to = world.map({ pages: PAGES });
      world.move(start, PAGES, to);
      expect(accessed(to)).toEqual([]);
      expect(code(() => tracker.rwProtect(to, PAGES))).toBe('ENOENT');
      expect([world.read(to, 1), world.write(to + pageSize, 1)]).toEqual([1, 1]);
    });

    test('scan, then protect what it found: no page is missed in both intervals', () => {
      protect();
      read(3);
      write(5);
      const first = accessed();
      // Accessed between the two: 7 for the first time, 3 again.
      read(7);
      read(3);
      for (const page of first) tracker.rwProtect(start + page * pageSize, 1);
      expect([first, accessed()]).toEqual([[3, 5], [7]]);
      read(5);
      expect(accessed()).toEqual([5, 7]);
    });

    const lacksHuge = platform.lacks('transparent huge');
    test.skipIf(lacksHuge !== undefined)('transparent huge pages', () => {
      const huge = world.map({ pages: 2 * hugePages, kind: 'transparent huge' });
      world.write(huge, 2 * hugePages, hugePages);
      tracker.register(huge, 2 * hugePages);
      tracker.rwProtect(huge, 2 * hugePages);
      expect(accessed(huge, 2 * hugePages)).toEqual([]);
      // One access gives back the whole page.
      world.read(huge + 7 * pageSize, 1);
      expect(accessed(huge, 2 * hugePages)).toHaveLength(hugePages);
      // Of a part the rest stays as it was.
      tracker.rwProtect(huge, 10);
      expect(accessed(huge, hugePages)[0]).toBe(10);
      expect(accessed(huge, 2 * hugePages)).toHaveLength(hugePages - 10);
      expect(found({ mask: PAGE_IS_HUGE | PAGE_IS_PRESENT }, huge, hugePages)).toEqual([]);
      expect(found({ mask: PAGE_IS_PRESENT }, huge, hugePages)).toHaveLength(hugePages);
    });

    const lacksHugetlb = platform.lacks('hugetlb, anonymous');
    test.skipIf(lacksHugetlb !== undefined)('hugetlb: whole pages, and never a hole', () => {
      const huge = world.map({ pages: 2 * hugePages, kind: 'hugetlb, anonymous' });
      world.write(huge, 1);
      tracker.register(huge, 2 * hugePages);
      expect(accessed(huge, 2 * hugePages)).toHaveLength(hugePages);
      tracker.rwProtect(huge, 2 * hugePages);
      expect(accessed(huge, 2 * hugePages)).toEqual([]);
      world.read(huge + 5 * pageSize, 1);
      expect(accessed(huge, 2 * hugePages)).toHaveLength(hugePages);
      expect(code(() => tracker.rwProtect(huge, 10))).toBe('EINVAL');
    });

    test('a protected page that is swapped out: not accessed until it is read', () => {
      protect();
      world.advise(start, 4, mman.MADV_PAGEOUT);
      // Without swap space it stays where it is.
      const swapped = found({ mask: PAGE_IS_SWAPPED });
      expect(accessed()).toEqual([]);
      for (const page of swapped) read(page);
      expect(accessed()).toEqual(swapped);
      expect(found({ mask: PAGE_IS_PRESENT })).toEqual(PRESENT);
    });

    test('code: the pages that ran', ({ skip }) => {
      const { ownCode } = world;
      if (ownCode === undefined) return skip();
      const { address, pages } = ownCode();
      tracker.register(address, pages);
      tracker.rwProtect(address, pages);
      for (let round = 0; round < 100; round++) JSON.parse(JSON.stringify({ round }));
      const ran = accessed(address, pages).length;
      const there = found({ mask: PAGE_IS_PRESENT }, address, pages).length;
      tracker.unregister(address, pages);
      expect(ran).toBeGreaterThan(0);
      expect(ran).toBeLessThan(there);
    });
  });
}

/** Where there is no such thing. */
export function noAccesses(platform: Platform): void {
  const { pageSize = PAGE_SIZE } = platform;
  test('accesses cannot be asked for', () => {
    using world = platform.create();
    const start = world.map({ pages: 1 });
    const scan = (mask: string) => () =>
      world.pagemap.scan(
        { start, end: start + pageSize, returnMask: PAGE_IS_PRESENT, [mask]: PAGE_IS_ACCESSED },
        new RegionBuffer(1),
      );
    for (const mask of ['categoryMask', 'categoryAnyofMask', 'returnMask'])
      expect(scan(mask)).toThrow(PagemapError);
  });
}
