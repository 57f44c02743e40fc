import { describe, expect, test } from 'vitest';
import {
  HUGE_PAGE_SIZE,
  mman,
  PAGE_IS_ACCESSED,
  PAGE_IS_FILE,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SOFT_DIRTY,
  PAGE_IS_SWAPPED,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  PagemapError,
  RegionBuffer,
  uffd,
} from '../abi/index.js';
import { AddressSpace, KERNEL_PROFILES } from './index.js';

const START = 0x200000000000;
const page = (index: number): number => START + index * PAGE_SIZE;

/** The categories of each page from START on, without those in `ignored`. */
function categories(space: AddressSpace, pages: number, at = START): number[] {
  const output = new RegionBuffer(pages);
  const end = at + pages * PAGE_SIZE;
  const list = new Array<number>(pages).fill(-1);
  space.pagemap.scan({ start: at, end, returnMask: 0xff }, output);
  for (const region of output) {
    list.fill(region.categories, (region.start - at) / PAGE_SIZE, (region.end - at) / PAGE_SIZE);
  }
  return list;
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

const ANONYMOUS = PAGE_IS_PRESENT | PAGE_IS_WRITTEN;
const ZERO = ANONYMOUS | PAGE_IS_PFNZERO;
const FILE = ANONYMOUS | PAGE_IS_FILE;

describe('faults', () => {
  test('a read maps the zero page, a write a page of its own', () => {
    const space = new AddressSpace();
    space.mmap({ address: START, lengthBytes: 4 * PAGE_SIZE });
    expect(space.read(START, 2 * PAGE_SIZE)).toEqual({ ok: 2, fault: 0 });
    expect(space.write(page(1), 2 * PAGE_SIZE)).toEqual({ ok: 2, fault: 0 });
    expect(categories(space, 3)).toEqual([ZERO, ANONYMOUS, ANONYMOUS]);
  });

  test('what a mapping does not allow is a fault, and so is what is behind the end of a file', () => {
    const space = new AddressSpace();
    space.mmap({ address: START, lengthBytes: 2 * PAGE_SIZE, prot: mman.PROT_READ });
    expect(space.write(START, 3 * PAGE_SIZE)).toEqual({ ok: 0, fault: 3 });
    const file = space.createFile(PAGE_SIZE);
    space.mmap({ address: START, lengthBytes: 2 * PAGE_SIZE, file, shared: true });
    expect(space.read(START, 2 * PAGE_SIZE)).toEqual({ ok: 1, fault: 1 });
  });

  test('a read of a file maps the neighbours that are in the page cache; not where write protection is registered', () => {
    const space = new AddressSpace();
    const file = space.createFile(64 * PAGE_SIZE);
    space.mmap({ address: START, lengthBytes: 64 * PAGE_SIZE, file });
    space.read(page(20), 1);
    expect(categories(space, 40).map((set) => (set & PAGE_IS_FILE ? 1 : 0))).toEqual(
      Array.from({ length: 40 }, (_, index) => (index >= 16 && index < 32 ? 1 : 0)),
    );
    space.munmap(START, 64 * PAGE_SIZE);
    space.mmap({ address: START, lengthBytes: 64 * PAGE_SIZE, file });
    space.userfaultfd().register(START, 64 * PAGE_SIZE);
    space.read(page(20), 1);
    expect(categories(space, 40).filter((set) => (set & PAGE_IS_FILE) !== 0)).toHaveLength(1);
  });

  test('a write to a private file mapping makes a copy', () => {
    const space = new AddressSpace();
    const file = space.createFile(4 * PAGE_SIZE);
    space.mmap({ address: START, lengthBytes: 4 * PAGE_SIZE, file });
    space.read(START, 4 * PAGE_SIZE);
    space.write(page(1), 1);
    expect(categories(space, 3)).toEqual([FILE, ANONYMOUS, FILE]);
  });
});

describe('reclaim', () => {
  test('pages go to swap with their protection, and come back with it', () => {
    const space = new AddressSpace();
    space.mmap({ address: START, lengthBytes: 4 * PAGE_SIZE });
    const uffd = space.userfaultfd();
    uffd.register(START, 4 * PAGE_SIZE);
    space.write(START, 4 * PAGE_SIZE);
    uffd.writeProtect(START, 2 * PAGE_SIZE, true);
    space.madvise(START, 4 * PAGE_SIZE, mman.MADV_PAGEOUT);
    const without = (list: number[]) => list.map((set) => set & ~1);
    expect(without(categories(space, 3))).toEqual([
      PAGE_IS_SWAPPED,
      PAGE_IS_SWAPPED,
      PAGE_IS_SWAPPED | PAGE_IS_WRITTEN,
    ]);
    space.read(START, 4 * PAGE_SIZE);
    expect(without(categories(space, 3))).toEqual([PAGE_IS_PRESENT, PAGE_IS_PRESENT, ANONYMOUS]);
  });

  test('what MADV_FREE gave up is dropped, unless it was written to since', () => {
    const space = new AddressSpace();
    space.mmap({ address: START, lengthBytes: 2 * PAGE_SIZE });
    space.write(START, 2 * PAGE_SIZE);
    space.madvise(START, 2 * PAGE_SIZE, mman.MADV_FREE);
    space.write(START, PAGE_SIZE);
    space.madvise(START, 2 * PAGE_SIZE, mman.MADV_PAGEOUT);
    expect(categories(space, 2)).toEqual([ANONYMOUS, PAGE_IS_WRITTEN]);
  });

  test('MADV_REMOVE punches a hole for all who map the file', () => {
    const space = new AddressSpace({ contents: true });
    const file = space.createFile(4 * PAGE_SIZE);
    space.mmap({ address: START, lengthBytes: 4 * PAGE_SIZE, file, shared: true });
    space.mmap({ address: START + HUGE_PAGE_SIZE, lengthBytes: 4 * PAGE_SIZE, file, shared: true });
    space.writeBytes(page(1), Uint8Array.of(5));
    expect([...space.readBytes(page(1) + HUGE_PAGE_SIZE, 1)]).toEqual([5]);
    space.madvise(page(1), PAGE_SIZE, mman.MADV_REMOVE);
    expect([...space.readBytes(page(1) + HUGE_PAGE_SIZE, 1)]).toEqual([0]);
  });
});

describe('mremap', () => {
  test('pages travel; protection does not', () => {
    const space = new AddressSpace();
    space.mmap({ address: START, lengthBytes: 4 * PAGE_SIZE });
    const uffd = space.userfaultfd();
    uffd.register(START, 4 * PAGE_SIZE);
    space.write(START, 2 * PAGE_SIZE);
    uffd.writeProtect(START, 4 * PAGE_SIZE, true);
    const target = START + HUGE_PAGE_SIZE;
    expect(space.mremap(START, 4 * PAGE_SIZE, 4 * PAGE_SIZE, target)).toBe(target);
    expect(categories(space, 4)).toEqual([-1, -1, -1, -1]);
    expect(categories(space, 4, target)).toEqual([ANONYMOUS, ANONYMOUS, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN]);
  });

  test('grows in place, shrinks, and moves huge pages whole', () => {
    const space = new AddressSpace();
    space.mmap({ address: START, lengthBytes: PAGE_SIZE });
    expect(space.mremap(START, PAGE_SIZE, 2 * PAGE_SIZE)).toBe(START);
    expect(space.write(START, 3 * PAGE_SIZE)).toEqual({ ok: 2, fault: 1 });
    space.mremap(START, 2 * PAGE_SIZE, PAGE_SIZE);
    expect(space.write(START, 3 * PAGE_SIZE)).toEqual({ ok: 1, fault: 2 });
    const huge = START + 16 * HUGE_PAGE_SIZE;
    space.mmap({ address: huge, lengthBytes: HUGE_PAGE_SIZE });
    space.madvise(huge, HUGE_PAGE_SIZE, mman.MADV_HUGEPAGE);
    space.write(huge, PAGE_SIZE);
    const target = huge + 4 * HUGE_PAGE_SIZE;
    space.mremap(huge, HUGE_PAGE_SIZE, HUGE_PAGE_SIZE, target);
    expect(categories(space, 1, target)).toEqual([ANONYMOUS | PAGE_IS_HUGE]);
    expect(code(() => space.mremap(START + 1, PAGE_SIZE, PAGE_SIZE))).toBe('EINVAL');
    expect(code(() => space.mremap(huge, PAGE_SIZE, PAGE_SIZE, target))).toBe('EFAULT');
  });
});

describe('fork', () => {
  test('pages are shared until one of the two writes; registration is not passed on', () => {
    const space = new AddressSpace({ contents: true });
    space.mmap({ address: START, lengthBytes: 2 * PAGE_SIZE });
    const uffd = space.userfaultfd();
    uffd.register(START, 2 * PAGE_SIZE);
    space.writeBytes(START, Uint8Array.of(1));
    uffd.writeProtect(START, 2 * PAGE_SIZE, true);
    const child = space.fork();
    expect(categories(child, 2)).toEqual([ANONYMOUS, PAGE_IS_WRITTEN]);
    const resident = space.residentPages;
    child.writeBytes(START, Uint8Array.of(2));
    expect(space.residentPages).toBe(resident + 1);
    expect([...space.readBytes(START, 1)]).toEqual([1]);
    expect([...child.readBytes(START, 1)]).toEqual([2]);
  });

  test('a huge page that two share is split by the one who writes', () => {
    const space = new AddressSpace();
    space.mmap({ address: START, lengthBytes: HUGE_PAGE_SIZE });
    space.madvise(START, HUGE_PAGE_SIZE, mman.MADV_HUGEPAGE);
    space.write(START, HUGE_PAGE_SIZE);
    const child = space.fork();
    child.write(page(3), 1);
    expect(categories(space, 4)).toEqual(new Array(4).fill(ANONYMOUS | PAGE_IS_HUGE));
    expect(categories(child, 4)).toEqual(new Array(4).fill(ANONYMOUS));
  });
});

describe('soft-dirty', () => {
  test('new mappings are, and what is written after it was cleared', () => {
    const space = new AddressSpace({ profile: '6.12' });
    space.mmap({ address: START, lengthBytes: 2 * PAGE_SIZE });
    space.write(START, 2 * PAGE_SIZE);
    expect(categories(space, 2)).toEqual(new Array(2).fill(ANONYMOUS | PAGE_IS_SOFT_DIRTY));
    space.clearSoftDirty();
    expect(categories(space, 2)).toEqual([ANONYMOUS, ANONYMOUS]);
    space.write(page(1), 1);
    expect(categories(space, 2)).toEqual([ANONYMOUS, ANONYMOUS | PAGE_IS_SOFT_DIRTY]);
  });

  test('a kernel without it takes the call and reports none', () => {
    const space = new AddressSpace();
    space.mmap({ address: START, lengthBytes: PAGE_SIZE });
    space.write(START, PAGE_SIZE);
    expect(code(() => space.clearSoftDirty())).toBe('');
    expect(categories(space, 1)[0]! & PAGE_IS_SOFT_DIRTY).toBe(0);
  });
});

describe('contents', () => {
  test('bytes and words, through swap and over page boundaries', () => {
    const space = new AddressSpace({ contents: true });
    space.mmap({ address: START, lengthBytes: 8 * PAGE_SIZE });
    const bytes = Uint8Array.from({ length: 3 * PAGE_SIZE }, (_, index) => index * 7);
    space.writeBytes(START + 100, bytes);
    space.madvise(START, 8 * PAGE_SIZE, mman.MADV_PAGEOUT);
    expect(space.readBytes(START + 100, bytes.length)).toEqual(bytes);
    space.writeU32(page(5) + 8, 0xdeadbeef);
    expect(space.readU32(page(5) + 8)).toBe(0xdeadbeef);
    expect(space.readU32(page(6))).toBe(0);
    expect(code(() => space.readU32(page(9)))).toBe('EFAULT');
    expect(() => new AddressSpace().readU32(START)).toThrow(/contents/);
  });
});

describe('resources', () => {
  test('unmapping gives everything back', () => {
    const space = new AddressSpace();
    for (let round = 0; round < 20; round++) {
      space.mmap({ address: START, lengthBytes: 3 * HUGE_PAGE_SIZE });
      space.madvise(START, HUGE_PAGE_SIZE, mman.MADV_HUGEPAGE);
      space.write(START, 3 * HUGE_PAGE_SIZE);
      space.madvise(page(100), 700 * PAGE_SIZE, mman.MADV_PAGEOUT);
      const file = space.createFile(40 * PAGE_SIZE);
      space.mmap({ address: START + 4 * HUGE_PAGE_SIZE, lengthBytes: 40 * PAGE_SIZE, file, shared: true });
      space.read(START + 4 * HUGE_PAGE_SIZE, 40 * PAGE_SIZE);
      space.mmap({
        address: START + 6 * HUGE_PAGE_SIZE,
        lengthBytes: HUGE_PAGE_SIZE,
        hugetlb: true,
        shared: true,
      });
      space.write(START + 6 * HUGE_PAGE_SIZE, PAGE_SIZE);
      space.munmap(START, 8 * HUGE_PAGE_SIZE);
      space.closeFile(file);
      expect(space.residentPages).toBe(0);
    }
    expect([...space.mappings()]).toEqual([]);
  });

  test('the hugetlb pool is finite', () => {
    const space = new AddressSpace({ hugetlbPages: 2 });
    space.mmap({ address: START, lengthBytes: 2 * HUGE_PAGE_SIZE, hugetlb: true });
    const another = { address: START + 8 * HUGE_PAGE_SIZE, lengthBytes: HUGE_PAGE_SIZE, hugetlb: true };
    expect(code(() => space.mmap(another))).toBe('ENOMEM');
    space.munmap(START, 2 * HUGE_PAGE_SIZE);
    expect(code(() => space.mmap(another))).toBe('');
  });
});

describe.each([
  [true, PAGE_IS_PFNZERO],
  [false, 0],
])('a kernel with the shared zero page: %s', (hasZeroPage, zero) => {
  function make() {
    const space = new AddressSpace({ profile: { ...KERNEL_PROFILES['6.18'], hasZeroPage } });
    space.mmap({ address: START, lengthBytes: 1024 * PAGE_SIZE });
    return space;
  }

  test('what a read makes of an untouched page', () => {
    const space = make();
    space.read(START, PAGE_SIZE);
    expect(categories(space, 1)).toEqual([PAGE_IS_PRESENT | PAGE_IS_WRITTEN | zero]);
    expect(space.residentPages).toBe(hasZeroPage ? 0 : 1);
  });

  test('what a read makes of an untouched huge page', () => {
    const space = make();
    space.madvise(START, 1024 * PAGE_SIZE, mman.MADV_HUGEPAGE);
    space.read(page(512), PAGE_SIZE);
    const expected = PAGE_IS_PRESENT | PAGE_IS_WRITTEN | PAGE_IS_HUGE | zero;
    expect(categories(space, 1, page(512))).toEqual([expected]);
  });

  test('a read keeps the protection, a write ends it', () => {
    const space = make();
    const uffd = space.userfaultfd();
    uffd.register(START, 1024 * PAGE_SIZE);
    uffd.writeProtect(START, 1024 * PAGE_SIZE, true);
    space.read(START, PAGE_SIZE);
    const ALLOWED = PAGE_IS_WPALLOWED | PAGE_IS_PRESENT;
    expect(categories(space, 1)).toEqual([ALLOWED | zero]);
    space.write(START, PAGE_SIZE);
    expect(categories(space, 1)).toEqual([ALLOWED | PAGE_IS_WRITTEN]);
  });
});

describe('a process that has ended', () => {
  test.each([true, false])('a scan fails with ESRCH: %s', (goneIsEsrch) => {
    const space = new AddressSpace({ profile: { ...KERNEL_PROFILES['6.18'], goneIsEsrch } });
    space.mmap({ address: START, lengthBytes: 4 * PAGE_SIZE });
    space.write(START, 4 * PAGE_SIZE);
    space.exit();
    expect(space.residentPages).toBe(0);
    const output = new RegionBuffer(4);
    const scan = () =>
      space.pagemap.scan({ start: START, end: page(4), returnMask: PAGE_IS_PRESENT }, output);
    expect(code(scan)).toBe(goneIsEsrch ? 'ESRCH' : '');
    expect(output.length).toBe(0);
  });
});

describe('read-write protection', () => {
  const FEATURES = uffd.UFFD_FEATURE_RWP | uffd.UFFD_FEATURE_RWP_ASYNC;
  const RWP = uffd.UFFDIO_REGISTER_MODE_RWP;
  const WRITABLE = mman.PROT_READ | mman.PROT_WRITE;

  function protectedSpace(pages: number, features = FEATURES, prot = WRITABLE) {
    const space = new AddressSpace({ profile: '7.3' });
    space.mmap({ address: START, lengthBytes: pages * PAGE_SIZE });
    space.write(START, pages * PAGE_SIZE);
    if (prot !== WRITABLE) space.mprotect(START, pages * PAGE_SIZE, prot);
    const accesses = space.userfaultfd(features);
    accesses.register(START, pages * PAGE_SIZE, RWP);
    accesses.rwProtect(START, pages * PAGE_SIZE, true);
    return { space, accesses };
  }

  function accessed(space: AddressSpace, pages: number): number[] {
    const output = new RegionBuffer(pages);
    const masks = { categoryMask: PAGE_IS_ACCESSED, returnMask: PAGE_IS_ACCESSED };
    space.pagemap.scan({ start: START, end: page(pages), ...masks }, output);
    return [...output].flatMap(({ start, end }) =>
      Array.from({ length: (end - start) / PAGE_SIZE }, (_, index) => (start - START) / PAGE_SIZE + index),
    );
  }

  test('reads, writes and fetches are accesses, each where it is allowed', () => {
    const { space } = protectedSpace(8, FEATURES, mman.PROT_READ | mman.PROT_EXEC);
    expect(space.read(page(1), PAGE_SIZE).ok).toBe(1);
    expect(space.execute(page(3), PAGE_SIZE).ok).toBe(1);
    expect(space.write(page(5), PAGE_SIZE).fault).toBe(1);
    expect(accessed(space, 8)).toEqual([1, 3]);
    space.mprotect(START, 8 * PAGE_SIZE, WRITABLE);
    expect(space.execute(page(6), PAGE_SIZE).fault).toBe(1);
    expect(space.write(page(5), PAGE_SIZE).ok).toBe(1);
    expect(accessed(space, 8)).toEqual([1, 3, 5]);
  });

  test('without RWP_ASYNC accesses do not come through; it can be turned on and off', () => {
    const { space, accesses } = protectedSpace(4, uffd.UFFD_FEATURE_RWP);
    expect(space.read(START, PAGE_SIZE)).toEqual({ ok: 0, fault: 1 });
    accesses.setMode(uffd.UFFD_FEATURE_RWP_ASYNC);
    expect(space.read(START, PAGE_SIZE)).toEqual({ ok: 1, fault: 0 });
    accesses.setMode(0, uffd.UFFD_FEATURE_RWP_ASYNC);
    expect(space.write(page(1), PAGE_SIZE)).toEqual({ ok: 0, fault: 1 });
    expect(accessed(space, 4)).toEqual([0]);
    expect(code(() => accesses.setMode(uffd.UFFD_FEATURE_WP_ASYNC))).toBe('EINVAL');
  });

  test('older kernels have none of it', () => {
    const space = new AddressSpace({ profile: '6.18' });
    expect(code(() => space.userfaultfd(FEATURES))).toBe('EINVAL');
    const faults = space.userfaultfd();
    space.mmap({ address: START, lengthBytes: PAGE_SIZE });
    expect(code(() => faults.register(START, PAGE_SIZE, RWP))).toBe('EINVAL');
    expect(code(() => faults.rwProtect(START, PAGE_SIZE, true))).toBe('EINVAL');
    expect(code(() => faults.setMode(uffd.UFFD_FEATURE_RWP_ASYNC))).toBe('EINVAL');
  });

  test('contents outlast being out of reach, swapped and forked', () => {
    const space = new AddressSpace({ profile: '7.3', contents: true });
    space.mmap({ address: START, lengthBytes: 4 * PAGE_SIZE });
    space.writeU32(page(2), 77);
    const accesses = space.userfaultfd(FEATURES);
    accesses.register(START, 4 * PAGE_SIZE, RWP);
    accesses.rwProtect(START, 4 * PAGE_SIZE, true);
    space.madvise(START, 4 * PAGE_SIZE, mman.MADV_PAGEOUT);
    expect(accessed(space, 4)).toEqual([]);
    const child = space.fork();
    expect([space.readU32(page(2)), child.readU32(page(2))]).toEqual([77, 77]);
    expect([accessed(space, 4), accessed(child, 4)]).toEqual([[2], []]);
  });
});

describe('what cannot be', () => {
  const start = 0x600000000000;
  const beyond = 0x800000000000;
  const failure = (run: () => unknown) => {
    try {
      run();
      return 'nothing';
    } catch (error) {
      return (error as PagemapError).code ?? (error as Error).message;
    }
  };

  // As Linux 6.18 answers.
  test('a range beyond user space', () => {
    const space = new AddressSpace();
    const { MADV_DONTNEED, MADV_POPULATE_READ, MADV_GUARD_INSTALL, PROT_READ } = mman;
    expect([
      failure(() => space.madvise(beyond, PAGE_SIZE, MADV_DONTNEED)),
      failure(() => space.madvise(beyond, PAGE_SIZE, MADV_POPULATE_READ)),
      failure(() => space.madvise(beyond, PAGE_SIZE, MADV_GUARD_INSTALL)),
      failure(() => space.madvise(beyond, PAGE_SIZE, 9999)),
      failure(() => space.madvise(beyond, 0, MADV_DONTNEED)),
      failure(() => space.mprotect(beyond, PAGE_SIZE, PROT_READ)),
      failure(() => space.mprotect(beyond, 0, PROT_READ)),
      failure(() => space.munmap(beyond, PAGE_SIZE)),
      failure(() => space.mmap({ address: beyond, lengthBytes: PAGE_SIZE })),
    ]).toEqual(['ENOMEM', 'ENOMEM', 'ENOMEM', 'EINVAL', 'nothing', 'ENOMEM', 'nothing', 'EINVAL', 'ENOMEM']);
  });

  test('lengths and steps that are no numbers, or have no end', () => {
    const space = new AddressSpace();
    space.mmap({ address: start, lengthBytes: PAGE_SIZE });
    expect([
      failure(() => space.mmap({ lengthBytes: Number.NaN })),
      failure(() => space.mmap({ lengthBytes: -1 })),
      failure(() => space.mmap({ address: Number.NaN, lengthBytes: 1 })),
      failure(() => space.munmap(start, Number.NaN)),
      failure(() => space.mremap(start, PAGE_SIZE, Number.NaN)),
      failure(() => space.madvise(-PAGE_SIZE, 2 * PAGE_SIZE, mman.MADV_DONTNEED)),
    ]).toEqual(Array(6).fill('EINVAL'));
    for (const step of [-1, 0, 0.5, Number.NaN])
      expect(() => space.read(start, PAGE_SIZE, step)).toThrow(RangeError);
    expect(() => space.write(start, Number.POSITIVE_INFINITY)).toThrow(RangeError);
    expect([...space.mappings()]).toHaveLength(1);
  });

  test('a profile that there is not', () => {
    for (const profile of ['7.1', 'toString']) {
      expect(() => new AddressSpace({ profile: profile as '6.18' })).toThrow(
        `Cannot use the kernel profile ${profile}: there are 6.7, 6.12, 6.18, 7.0, 7.3`,
      );
    }
  });

  test('a child of a process that has ended', () => {
    const space = new AddressSpace({ profile: '7.3' });
    space.exit();
    expect(failure(() => space.fork())).toBe('ESRCH');
  });

  test("a file in another machine's memory; a file that is closed already", () => {
    const space = new AddressSpace({ contents: true });
    const other = new AddressSpace({ contents: true });
    const file = space.createFile(PAGE_SIZE);
    expect(failure(() => other.mmap({ lengthBytes: PAGE_SIZE, file }))).toBe('EBADF');
    expect(failure(() => other.closeFile(file))).toBe('EBADF');
    const address = space.mmap({ lengthBytes: PAGE_SIZE, file, shared: true });
    space.writeU32(address, 7);
    space.closeFile(file);
    expect(failure(() => space.closeFile(file))).toBe('EBADF');
    expect([space.readU32(address), space.residentPages]).toEqual([7, 1]);
    const child = space.fork();
    const view = child.mmap({ lengthBytes: PAGE_SIZE, file, shared: true });
    expect(child.readU32(view)).toBe(7);
  });
});
