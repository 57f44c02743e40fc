import { expect, test } from 'vitest';
import { mman, PAGE_SIZE } from '../abi/index.js';
import { AddressSpace } from './index.js';

const BASE = 0x600000000000;
const HUGE = 2 << 20;
const page = (index: number): number => BASE + index * PAGE_SIZE;
const noRoom = expect.objectContaining({ code: 'ENOMEM' });

/** A space of so many mappings of one page each. */
function fragments(count: number): AddressSpace {
  const space = new AddressSpace();
  space.mmap({ address: BASE, lengthBytes: count * PAGE_SIZE });
  for (let index = 0; index < count; index += 2) space.mprotect(page(index), PAGE_SIZE, mman.PROT_READ);
  return space;
}

const starts = (space: AddressSpace) =>
  [...space.mappings()].map(({ start, end }) => [(start - BASE) / PAGE_SIZE, (end - BASE) / PAGE_SIZE]);

test('unmapping takes out what lies in the range, of many mappings', () => {
  const space = fragments(64_000);
  space.munmap(page(3), 63_990 * PAGE_SIZE);
  expect(starts(space)).toEqual(
    [0, 1, 2, 63_993, 63_994, 63_995, 63_996, 63_997, 63_998, 63_999].map((at) => [at, at + 1]),
  );
});

test('the end of a process takes out all', () => {
  const space = fragments(64_000);
  space.write(page(0), 100 * PAGE_SIZE);
  expect(space.residentPages).toBe(50);
  space.exit();
  expect([starts(space), space.residentPages]).toEqual([[], 0]);
});

test('unmapping cuts a mapping on both sides, and at one', () => {
  const space = new AddressSpace();
  space.mmap({ address: BASE, lengthBytes: 20 * PAGE_SIZE });
  space.munmap(page(5), 3 * PAGE_SIZE);
  expect(starts(space)).toEqual([
    [0, 5],
    [8, 20],
  ]);
  space.munmap(page(4), 6 * PAGE_SIZE);
  expect(starts(space)).toEqual([
    [0, 4],
    [10, 20],
  ]);
});

test('closing a userfaultfd frees all of many mappings', () => {
  const space = fragments(2000);
  const uffd = space.userfaultfd();
  uffd.register(BASE, 2000 * PAGE_SIZE);
  uffd[Symbol.dispose]();
  expect([...space.mappings()].every(({ registered }) => registered === undefined)).toBe(true);
});

test('hugetlb memory may replace what has the pool, and what it replaces is gone if the pool is too small', () => {
  const space = new AddressSpace({ hugetlbPages: 64 });
  const map = (pages: number) => space.mmap({ address: BASE, lengthBytes: pages * HUGE, hugetlb: true });
  map(40);
  map(64);
  expect(() => space.mmap({ lengthBytes: HUGE, hugetlb: true })).toThrow(noRoom);
  expect(() => map(65)).toThrow(noRoom);
  expect(starts(space)).toEqual([]);
  map(64);
});

test('a child gives no hugetlb pages back that the pool keeps for its parent', () => {
  for (const shared of [false, true]) {
    const space = new AddressSpace({ hugetlbPages: 1 });
    space.mmap({ address: BASE, lengthBytes: HUGE, hugetlb: true, shared });
    const child = space.fork();
    child.exit();
    expect(() => space.mmap({ lengthBytes: HUGE, hugetlb: true })).toThrow(noRoom);
    space.munmap(BASE, HUGE);
    space.mmap({ lengthBytes: HUGE, hugetlb: true });
  }
});

test('of shared hugetlb memory the pool keeps all up to the last mapping', () => {
  const space = new AddressSpace({ hugetlbPages: 4 });
  space.mmap({ address: BASE, lengthBytes: 4 * HUGE, hugetlb: true, shared: true });
  space.munmap(BASE, 3 * HUGE);
  expect(() => space.mmap({ lengthBytes: HUGE, hugetlb: true })).toThrow(noRoom);
  const child = space.fork();
  space.munmap(BASE + 3 * HUGE, HUGE);
  expect(() => space.mmap({ lengthBytes: HUGE, hugetlb: true })).toThrow(noRoom);
  child.exit();
  space.mmap({ lengthBytes: 4 * HUGE, hugetlb: true });
});
