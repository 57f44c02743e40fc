/** What parent and child read after one of them has written: to each its own. */
import { expect, test } from 'vitest';
import { mman, PAGE_SIZE } from '../abi/index.js';
import { AddressSpace } from './index.js';

const BASE = 0x600000000000;
const HUGE_BYTES = 0x200000;
const page = (index: number): number => BASE + index * PAGE_SIZE;

/** A huge page that a parent, which has written to its first page since, shares with a child. */
function forkedHugePage(): { parent: AddressSpace; child: AddressSpace } {
  const parent = new AddressSpace({ contents: true });
  parent.mmap({ address: BASE, lengthBytes: HUGE_BYTES });
  parent.madvise(BASE, HUGE_BYTES, mman.MADV_HUGEPAGE);
  parent.writeU32(page(5), 1);
  const child = parent.fork();
  parent.writeU32(page(0), 2);
  return { parent, child };
}

test('a child that writes to a huge page, of which the parent has copied the first page, leaves the rest to the parent', () => {
  const { parent, child } = forkedHugePage();
  child.writeU32(page(5), 99);
  child.writeU32(page(0), 98);
  expect([0, 5].map((index) => [parent.readU32(page(index)), child.readU32(page(index))])).toEqual([
    [2, 98],
    [1, 99],
  ]);
});

test('making such a page writable again shares nothing either', () => {
  const { parent, child } = forkedHugePage();
  child.mprotect(BASE, HUGE_BYTES, mman.PROT_READ);
  child.mprotect(BASE, HUGE_BYTES, mman.PROT_READ | mman.PROT_WRITE);
  child.writeU32(page(5), 99);
  expect([parent.readU32(page(5)), child.readU32(page(5))]).toEqual([1, 99]);
});

test('advice of a child leaves a huge page alone that the parent has a part of', () => {
  const { parent, child } = forkedHugePage();
  child.madvise(BASE, HUGE_BYTES, mman.MADV_FREE);
  child.madvise(BASE, HUGE_BYTES, mman.MADV_PAGEOUT);
  child.madvise(page(3), PAGE_SIZE, mman.MADV_COLD);
  expect([parent.readU32(page(5)), child.readU32(page(5)), child.pageState(page(5)).level]).toEqual([
    1,
    1,
    'pmd',
  ]);
});

/** Shared memory in which both have a page, which holds 7. */
function forkedSharedMemory(
  lengthBytes: number,
  hugetlb = false,
): { parent: AddressSpace; child: AddressSpace } {
  const parent = new AddressSpace({ contents: true });
  parent.mmap({ address: BASE, lengthBytes, shared: true, hugetlb });
  parent.writeU32(BASE, 7);
  const child = parent.fork();
  expect(child.readU32(BASE)).toBe(7);
  return { parent, child };
}

test.each([false, true])('a hole in shared memory is one for parent and child; hugetlb: %s', (hugetlb) => {
  const { parent, child } = forkedSharedMemory(HUGE_BYTES, hugetlb);
  parent.madvise(BASE, HUGE_BYTES, mman.MADV_REMOVE);
  expect([parent.readU32(BASE), child.readU32(BASE)]).toEqual([0, 0]);
  child.writeU32(BASE, 5);
  expect(parent.readU32(BASE)).toBe(5);
});

test('shared memory that becomes a huge page stays shared', () => {
  const { parent, child } = forkedSharedMemory(HUGE_BYTES);
  parent.madvise(BASE, HUGE_BYTES, mman.MADV_COLLAPSE);
  parent.writeU32(BASE, 8);
  expect(child.readU32(BASE)).toBe(8);
  child.writeU32(page(1), 9);
  expect(parent.readU32(page(1))).toBe(9);
});

test('what a child has unmapped, and a child that has ended, are left alone', () => {
  const { parent, child } = forkedSharedMemory(4 * PAGE_SIZE);
  const other = parent.fork();
  child.munmap(BASE, 2 * PAGE_SIZE);
  other.exit();
  parent.madvise(BASE, 4 * PAGE_SIZE, mman.MADV_REMOVE);
  child.exit();
  parent.exit();
  expect(parent.residentPages).toBe(0);
});
