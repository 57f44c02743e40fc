/** mremap without a target, against what Linux 6.18 answered. With one: test/traces/6.18/moves.jsonl. */
import { describe, expect, test } from 'vitest';
import { mman, PAGE_SIZE, type PagemapError, RegionBuffer } from '../abi/index.js';
import { AddressSpace, KERNEL_PROFILES } from './index.js';

const BASE = 0x600000000000;
const PAGES = 8192;

class Memory {
  readonly space: AddressSpace;

  constructor(space = new AddressSpace()) {
    this.space = space;
  }

  map(at: number, pages: number, rest: { prot?: number; shared?: boolean; hugetlb?: boolean } = {}): void {
    this.space.mmap({ address: BASE + at * PAGE_SIZE, lengthBytes: pages * PAGE_SIZE, ...rest });
  }

  write(at: number, pages: number): void {
    this.space.write(BASE + at * PAGE_SIZE, pages * PAGE_SIZE);
  }

  /** Where it is then, 'elsewhere', or an errno. */
  remap(at: number, pages: number, newPages: number, to?: number): number | string {
    try {
      const target = to === undefined ? undefined : BASE + to * PAGE_SIZE;
      const address = this.space.mremap(
        BASE + at * PAGE_SIZE,
        pages * PAGE_SIZE,
        newPages * PAGE_SIZE,
        target,
      );
      const page = (address - BASE) / PAGE_SIZE;
      return page >= 0 && page < PAGES ? page : 'elsewhere';
    } catch (error) {
      return (error as PagemapError).code;
    }
  }

  toString(): string {
    const output = new RegionBuffer(100);
    this.space.pagemap.scan({ start: BASE, end: BASE + PAGES * PAGE_SIZE, returnMask: 0x1ff }, output);
    const page = (address: number) => (address - BASE) / PAGE_SIZE;
    return [...output]
      .map(({ start, end, categories }) => `${page(start)}:${page(end)}:${categories}`)
      .join(' ');
  }
}

/** Ten pages that were written to and ten that may only be read. */
function two(memory: Memory): void {
  memory.map(0, 10);
  memory.map(10, 10, { prot: mman.PROT_READ });
  memory.write(0, 10);
}

function hugetlb(memory: Memory): void {
  memory.map(512, 1024, { hugetlb: true });
  memory.write(512, 1);
  memory.write(1024, 1);
}

function ten(memory: Memory): void {
  memory.map(0, 10);
  memory.write(0, 10);
}

const CASES: readonly [
  name: string,
  prepare: (memory: Memory) => void,
  move: [at: number, pages: number, newPages: number],
  answer: string,
][] = [
  ['several that shrink to a part of the first', two, [0, 20, 5], '0 | 0:5:10'],
  ['several that shrink to a part of the second', two, [0, 20, 15], '0 | 0:10:10 10:15:2'],
  ['several that stay', two, [0, 20, 20], '0 | 0:10:10 10:20:2'],
  ['several that would grow', two, [0, 20, 30], 'EFAULT | 0:10:10 10:20:2'],
  ['one with a gap behind it that shrinks', ten, [0, 20, 15], '0 | 0:10:10'],
  ['nothing', () => {}, [0, 20, 5], 'EFAULT | '],
  ['nothing, to nothing', () => {}, [0, 20, 0], 'EINVAL | '],
  ['one to nothing', ten, [0, 10, 0], 'EINVAL | 0:10:10'],
  ['a second view of private memory', ten, [0, 0, 10], 'EINVAL | 0:10:10'],
  ['growth of the end of one', ten, [3, 7, 20], '3 | 0:10:10 10:23:2'],
  ['growth of the middle of one', ten, [3, 4, 20], 'elsewhere | 0:3:10 7:10:10'],
  ['growth beyond user space', ten, [0, 10, 2 ** 36], 'EINVAL | 0:10:10'],
  ['more than user space that shrinks', ten, [0, 2 ** 36, 10], 'EINVAL | 0:10:10'],
  ['hugetlb that shrinks', hugetlb, [512, 1024, 512], '512 | 512:1024:74'],
  ['hugetlb that shrinks to a part of a page', hugetlb, [512, 1024, 5], '512 | 512:1024:74'],
  ['hugetlb that shrinks by a part of a page', hugetlb, [512, 1024, 600], '512 | 512:1536:74'],
  ['hugetlb that stays', hugetlb, [512, 1000, 1020], '512 | 512:1536:74'],
  ['hugetlb that would grow', hugetlb, [512, 1024, 1536], 'EINVAL | 512:1536:74'],
  ['a part of a hugetlb page', hugetlb, [600, 100, 10], 'EINVAL | 512:1536:74'],
];

describe('mremap without a target', () => {
  test.each(CASES)('%s', (_, prepare, [at, pages, newPages], answer) => {
    const memory = new Memory();
    prepare(memory);
    expect(`${memory.remap(at, pages, newPages)} | ${memory}`).toBe(answer);
  });

  test('a second view of shared memory shows what the first has', () => {
    const memory = new Memory(new AddressSpace({ contents: true }));
    memory.map(0, 10, { shared: true });
    memory.space.writeU32(BASE + 5 * PAGE_SIZE, 7);
    const view = memory.space.mremap(BASE + 3 * PAGE_SIZE, 0, 5 * PAGE_SIZE);
    expect(memory.space.readU32(view + 2 * PAGE_SIZE)).toBe(7);
    memory.space.writeU32(view, 8);
    expect(memory.space.readU32(BASE + 3 * PAGE_SIZE)).toBe(8);
  });
});

test('a kernel that moves one mapping at a time moves none of several', () => {
  const space = new AddressSpace({ profile: { ...KERNEL_PROFILES['6.18'], mremapMovesSeveral: false } });
  const memory = new Memory(space);
  two(memory);
  expect([memory.remap(0, 20, 20, 100), memory.remap(0, 20, 5, 100), memory.remap(0, 20, 20)]).toEqual(
    Array(3).fill('EFAULT'),
  );
  expect(String(memory)).toBe('0:10:10 10:20:2');
});

describe('where no address is given', () => {
  const FIRST = 0x7e0000200000;

  test('mmap takes none that something else has', () => {
    const space = new AddressSpace({ contents: true });
    space.mmap({ address: FIRST, lengthBytes: PAGE_SIZE });
    space.writeU32(FIRST, 7);
    const lengthBytes = 4 << 20;
    const found = space.mmap({ lengthBytes });
    expect(found > FIRST || found + lengthBytes <= FIRST).toBe(true);
    expect(space.readU32(FIRST)).toBe(7);
  });

  test('nor one that a mapping has grown into', () => {
    const space = new AddressSpace({ contents: true });
    const grown = space.mmap({ lengthBytes: PAGE_SIZE });
    expect(space.mremap(grown, PAGE_SIZE, 4 << 20)).toBe(grown);
    space.writeU32(grown + (2 << 20), 9);
    space.mmap({ lengthBytes: PAGE_SIZE });
    expect(space.readU32(grown + (2 << 20))).toBe(9);
    // Nor beside it: the two would be one.
    expect([...space.mappings()]).toHaveLength(2);
  });

  test('mremap takes a free one, too', () => {
    const space = new AddressSpace({ contents: true });
    space.mmap({ address: FIRST, lengthBytes: 8 << 20 });
    space.writeU32(FIRST + (1 << 20), 7);
    space.mmap({ address: BASE, lengthBytes: 2 * PAGE_SIZE });
    // Its first page cannot grow in place.
    const moved = space.mremap(BASE, PAGE_SIZE, 4 << 20);
    expect(moved).toBeGreaterThanOrEqual(FIRST + (8 << 20));
    expect(space.readU32(FIRST + (1 << 20))).toBe(7);
  });

  test('what is too long for all places behind goes to a gap before, or nowhere', () => {
    const space = new AddressSpace();
    const lengthBytes = 2 ** 46;
    const addresses = [space.mmap({ lengthBytes }), space.mmap({ lengthBytes: PAGE_SIZE })];
    expect(addresses[0]! + lengthBytes).toBeLessThan(addresses[1]!);
    expect(() => space.mmap({ lengthBytes })).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
    expect([...space.mappings()]).toHaveLength(2);
  });
});

test('hugetlb that is moved takes its part of the pool along', () => {
  const HUGE = 2 << 20;
  const space = new AddressSpace({ hugetlbPages: 2 });
  space.mmap({ address: BASE, lengthBytes: 2 * HUGE, hugetlb: true });
  space.mremap(BASE, HUGE, HUGE, BASE + 8 * HUGE);
  expect(() => space.mmap({ lengthBytes: HUGE, hugetlb: true })).toThrow(
    expect.objectContaining({ code: 'ENOMEM' }),
  );
  space.munmap(BASE + 8 * HUGE, HUGE);
  space.mmap({ lengthBytes: HUGE, hugetlb: true });
  expect(() => space.mmap({ lengthBytes: HUGE, hugetlb: true })).toThrow(
    expect.objectContaining({ code: 'ENOMEM' }),
  );
});
