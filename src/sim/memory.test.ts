import { expect, test } from 'vitest';
import { mman, PAGE_SIZE } from '../abi/index.js';
import { FRAME_ANONYMOUS } from '../engine/index.js';
import { AddressSpace } from './index.js';
import { FRAME_BASE, HUGE_PAGES, PhysicalMemory } from './memory.js';

const BASE = 0x600000000000;
const HUGE_BYTES = HUGE_PAGES * PAGE_SIZE;

test('a huge page that is freed in parts is room for another one, again and again', () => {
  const space = new AddressSpace();
  const overheads: number[] = [];
  for (let round = 0; round < 100; round++) {
    space.mmap({ address: BASE, lengthBytes: HUGE_BYTES });
    space.madvise(BASE, HUGE_BYTES, mman.MADV_HUGEPAGE);
    space.write(BASE, PAGE_SIZE);
    space.madvise(BASE, PAGE_SIZE, mman.MADV_DONTNEED);
    expect(space.residentPages).toBe(HUGE_PAGES - 1);
    space.munmap(BASE, HUGE_BYTES);
    expect(space.residentPages).toBe(0);
    overheads.push(space.overheadBytes);
  }
  expect(overheads.at(-1)).toBe(overheads[0]);
});

test('no two pages ever have one frame, whatever is freed between', () => {
  const memory = new PhysicalMemory({ contents: false, hugetlbPages: 0 });
  const small = new Set<number>();
  const huge = new Set<number>();
  const taken = () => [
    ...small,
    ...[...huge].flatMap((head) => Array.from({ length: HUGE_PAGES }, (_, at) => head + at)),
  ];
  let seed = 5;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  for (let round = 0; round < 3000; round++) {
    const what = random(10);
    if (what < 6) {
      const frame = memory.allocate(FRAME_ANONYMOUS);
      memory.map(frame);
      small.add(frame);
    } else if (what === 6) {
      const head = memory.allocateHuge(FRAME_ANONYMOUS);
      memory.mapHuge(head);
      huge.add(head);
    } else if (what === 7 && huge.size > 0) {
      const head = [...huge][random(huge.size)]!;
      huge.delete(head);
      if (random(2) === 0) memory.unmapHuge(head);
      else for (let at = 0; at < HUGE_PAGES; at++) small.add(head + at);
    } else {
      const frames = [...small];
      for (let count = random(Math.min(600, frames.length + 1)); count > 0; count--) {
        const frame = frames[random(frames.length)]!;
        if (small.delete(frame)) memory.unmap(frame);
      }
    }
    if (round % 50 !== 0) continue;
    const all = taken();
    expect(new Set(all).size).toBe(all.length);
    expect(memory.framesInUse).toBe(all.length);
    expect(all.every((frame) => frame >= FRAME_BASE + 2 * HUGE_PAGES && memory.mappings(frame) === 1)).toBe(
      true,
    );
  }
});
