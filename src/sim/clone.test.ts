/** fork and mremap against what Linux 6.18 answered to the same operations, region by region. */
import { expect, test } from 'vitest';
import { mman, PAGE_SIZE, RegionBuffer } from '../abi/index.js';
import { AddressSpace } from './index.js';

const BASE = 0x600000000000;
const PAGES = 8192;

/** The operations in pages from BASE. */
class Memory {
  readonly space: AddressSpace;
  uffd;

  constructor(space = new AddressSpace()) {
    this.space = space;
    this.uffd = space.userfaultfd();
  }

  map(at: number, pages: number, shared = false): void {
    this.space.mmap({ address: BASE + at * PAGE_SIZE, lengthBytes: pages * PAGE_SIZE, shared });
  }

  write(at: number, pages: number): void {
    this.space.write(BASE + at * PAGE_SIZE, pages * PAGE_SIZE);
  }

  read(at: number, pages: number): void {
    this.space.read(BASE + at * PAGE_SIZE, pages * PAGE_SIZE);
  }

  advise(at: number, pages: number, advice: number): void {
    this.space.madvise(BASE + at * PAGE_SIZE, pages * PAGE_SIZE, advice);
  }

  register(at: number, pages: number): void {
    this.uffd.register(BASE + at * PAGE_SIZE, pages * PAGE_SIZE);
  }

  protect(at: number, pages: number): void {
    this.uffd.writeProtect(BASE + at * PAGE_SIZE, pages * PAGE_SIZE, true);
  }

  move(at: number, pages: number, newPages: number, to?: number): number {
    const target = to === undefined ? undefined : BASE + to * PAGE_SIZE;
    const moved = this.space.mremap(BASE + at * PAGE_SIZE, pages * PAGE_SIZE, newPages * PAGE_SIZE, target);
    return (moved - BASE) / PAGE_SIZE;
  }

  /** first:end:categories of every region of mapped memory. */
  toString(): string {
    const output = new RegionBuffer(500);
    this.space.pagemap.scan({ start: BASE, end: BASE + PAGES * PAGE_SIZE, returnMask: 0x1ff }, output);
    return [...output]
      .map(({ start, end, categories }) =>
        [(start - BASE) / PAGE_SIZE, (end - BASE) / PAGE_SIZE, categories].join(':'),
      )
      .join(' ');
  }
}

const MOVES: Readonly<Record<string, [run: (memory: Memory) => number, answer: string]>> = {
  'protected pages': [
    (memory) => {
      memory.map(0, 8);
      memory.register(0, 8);
      memory.write(0, 3);
      memory.read(4, 1);
      memory.protect(0, 8);
      return memory.move(0, 8, 8, 100);
    },
    '100 | 100:103:10 103:104:2 104:105:42 105:108:2',
  ],
  growing: [
    (memory) => {
      memory.map(0, 8);
      memory.write(0, 3);
      return memory.move(0, 8, 20, 700);
    },
    '700 | 700:703:10 703:720:2',
  ],
  shrinking: [
    (memory) => {
      memory.map(0, 8);
      memory.write(0, 8);
      return memory.move(0, 8, 3, 700);
    },
    '700 | 700:703:10',
  ],
  'whole tables': [
    (memory) => {
      memory.map(0, 1024);
      memory.write(3, 5);
      memory.read(600, 2);
      return memory.move(0, 1024, 1024, 2048);
    },
    '2048 | 2048:2051:2 2051:2056:10 2056:2648:2 2648:2650:42 2650:3072:2',
  ],
  'a hole stays one': [
    (memory) => {
      memory.map(0, 1536);
      memory.write(3, 5);
      return memory.move(0, 1536, 1536, 2048);
    },
    '2048 | 2048:2051:2 2051:2056:10 2056:2560:2 2560:3584:0',
  ],
  'huge pages': [
    (memory) => {
      memory.map(0, 1024);
      memory.advise(0, 1024, mman.MADV_HUGEPAGE);
      memory.write(3, 1);
      memory.read(600, 1);
      return memory.move(0, 1024, 1024, 2048);
    },
    '2048 | 2048:2560:74 2560:3072:106',
  ],
  'huge pages to an odd place': [
    (memory) => {
      memory.map(0, 1024);
      memory.advise(0, 1024, mman.MADV_HUGEPAGE);
      memory.write(3, 1);
      memory.read(600, 1);
      return memory.move(0, 1024, 1024, 2100);
    },
    '2100 | 2100:2612:10 2612:3124:42',
  ],
  'protected huge page': [
    (memory) => {
      memory.map(0, 1024);
      memory.advise(0, 1024, mman.MADV_HUGEPAGE);
      memory.register(0, 1024);
      memory.write(3, 1);
      memory.protect(0, 1024);
      return memory.move(0, 1024, 1024, 2048);
    },
    '2048 | 2048:2560:74 2560:3072:2',
  ],
  'protected tables': [
    (memory) => {
      memory.map(0, 1024);
      memory.register(0, 1024);
      memory.write(3, 4);
      memory.protect(0, 1024);
      return memory.move(0, 1024, 1024, 2048);
    },
    '2048 | 2048:2051:2 2051:2055:10 2055:3072:2',
  ],
  'protected shared memory': [
    (memory) => {
      memory.map(0, 64, true);
      memory.register(0, 64);
      memory.write(3, 4);
      memory.protect(0, 64);
      return memory.move(0, 64, 64, 2048);
    },
    '2048 | 2048:2051:2 2051:2055:14 2055:2112:2',
  ],
  'from the middle': [
    (memory) => {
      memory.map(0, 64);
      memory.write(0, 64);
      return memory.move(10, 20, 20, 700);
    },
    '700 | 0:10:10 30:64:10 700:720:10',
  ],
  'guard pages': [
    (memory) => {
      memory.map(0, 64);
      memory.write(0, 64);
      memory.advise(5, 3, mman.MADV_GUARD_INSTALL);
      return memory.move(0, 64, 64, 700);
    },
    '700 | 700:705:10 705:708:274 708:764:10',
  ],
  'protected pages in swap': [
    (memory) => {
      memory.map(0, 64);
      memory.register(0, 64);
      memory.write(0, 64);
      memory.protect(0, 32);
      memory.advise(0, 64, mman.MADV_PAGEOUT);
      return memory.move(0, 64, 64, 700);
    },
    '700 | 700:764:18',
  ],
  'growing in place': [
    (memory) => {
      memory.map(0, 8);
      memory.write(0, 8);
      return memory.move(0, 8, 12);
    },
    '0 | 0:8:10 8:12:2',
  ],
  'across a table boundary': [
    (memory) => {
      memory.map(500, 24);
      memory.write(500, 24);
      return memory.move(500, 24, 24, 1530);
    },
    '1530 | 1530:1554:10',
  ],
};

test.each(Object.entries(MOVES))('mremap: %s', (_, [run, answer]) => {
  const memory = new Memory();
  const at = run(memory);
  expect(`${at} | ${memory}`).toBe(answer);
});

test('fork: what each has, before and after each writes', () => {
  const parent = new Memory();
  parent.map(0, 64);
  parent.write(0, 20);
  parent.read(20, 10);
  for (const [at, shared] of [
    [100, false],
    [300, true],
  ] as const) {
    parent.map(at, 64, shared);
    parent.register(at, 64);
    parent.write(at, 20);
    if (!shared) parent.read(at + 20, 5);
    parent.protect(at, 64);
  }
  parent.map(200, 64, true);
  parent.write(200, 20);
  parent.map(400, 64);
  parent.write(400, 20);
  parent.advise(405, 5, mman.MADV_GUARD_INSTALL);
  parent.map(600, 64);
  parent.write(600, 20);
  parent.advise(600, 10, mman.MADV_PAGEOUT);
  parent.map(1024, 1024);
  parent.advise(1024, 1024, mman.MADV_HUGEPAGE);
  parent.write(1030, 1);
  parent.read(1600, 1);
  parent.map(2100, 64);
  parent.read(2100, 10);
  parent.map(2200, 64, true);
  parent.advise(2205, 5, mman.MADV_GUARD_INSTALL);
  parent.write(2201, 1);

  const child = new Memory(parent.space.fork());
  expect(String(child)).toBe(
    '0:20:10 20:30:42 30:64:2 100:120:10 120:125:42 125:164:2 200:264:2 300:364:2 400:405:10 405:410:274 410:420:10 420:464:2 600:610:18 610:620:10 620:664:2 1024:1536:74 1536:2048:106 2100:2164:2 2200:2201:2 2201:2202:14 2202:2205:2 2205:2210:274 2210:2264:2',
  );
  expect(String(parent)).toBe(
    '0:20:10 20:30:42 30:64:2 100:120:9 120:125:41 125:164:17 200:220:14 220:264:2 300:320:13 320:364:17 400:405:10 405:410:274 410:420:10 420:464:2 600:610:18 610:620:10 620:664:2 1024:1536:74 1536:2048:106 2100:2110:42 2110:2164:2 2200:2201:2 2201:2202:14 2202:2205:2 2205:2210:274 2210:2264:2',
  );
  child.write(0, 3);
  child.write(1030, 1);
  child.write(605, 1);
  child.read(606, 1);
  expect(String(child)).toBe(
    '0:20:10 20:30:42 30:64:2 100:120:10 120:125:42 125:164:2 200:264:2 300:364:2 400:405:10 405:410:274 410:420:10 420:464:2 600:605:18 605:607:10 607:610:18 610:620:10 620:664:2 1024:1536:10 1536:2048:106 2100:2164:2 2200:2201:2 2201:2202:14 2202:2205:2 2205:2210:274 2210:2264:2',
  );
  expect(String(parent)).toBe(
    '0:20:10 20:30:42 30:64:2 100:120:9 120:125:41 125:164:17 200:220:14 220:264:2 300:320:13 320:364:17 400:405:10 405:410:274 410:420:10 420:464:2 600:610:18 610:620:10 620:664:2 1024:1536:74 1536:2048:106 2100:2110:42 2110:2164:2 2200:2201:2 2201:2202:14 2202:2205:2 2205:2210:274 2210:2264:2',
  );
  parent.write(5, 2);
  parent.write(1031, 1);
  parent.write(100, 1);
  expect(String(parent)).toBe(
    '0:20:10 20:30:42 30:64:2 100:101:11 101:120:9 120:125:41 125:164:17 200:220:14 220:264:2 300:320:13 320:364:17 400:405:10 405:410:274 410:420:10 420:464:2 600:610:18 610:620:10 620:664:2 1024:1536:10 1536:2048:106 2100:2110:42 2110:2164:2 2200:2201:2 2201:2202:14 2202:2205:2 2205:2210:274 2210:2264:2',
  );
});
