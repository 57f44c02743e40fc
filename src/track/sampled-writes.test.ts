/** The tracker of a sample over a simulated address space: the same code as on a live process. */
import { describe, expect, test } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import { mman, PAGE_IS_HUGE, PAGE_SIZE } from '../abi/index.js';
import type { Mapping } from '../proc/index.js';
import { AddressSpace } from '../sim/index.js';
import { PageSample } from './sample.js';
import { SampledWriteTracker } from './sampled-writes.js';

interface Circumstances {
  isAlone?: boolean;
  isClaimed?: boolean;
  hugetlbBytes?: number;
}

/** A simulated process, tracked. What is shared counts as a file's, as /proc says it. */
function track(
  space: AddressSpace,
  sample: PageSample,
  circumstances: Circumstances = {},
): SampledWriteTracker {
  let known: { text: string; mappings: readonly Mapping[] } | undefined;
  let ended = false;
  const uffd = space.userfaultfd();
  return new SampledWriteTracker(
    {
      pid: 1,
      get ended() {
        return ended;
      },
      get isAlone() {
        return circumstances.isAlone ?? true;
      },
      pagemap: space.pagemap,
      categories: 0x1ff,
      mappings: () => {
        const mappings: Mapping[] = [...space.mappings()].map(({ start, end, shared, hugetlb, prot }) => ({
          start,
          end,
          perms: `r${prot & mman.PROT_WRITE ? 'w' : '-'}-${shared ? 's' : 'p'}`,
          // As where each byte of a file has one address: what is cut keeps its places.
          offset: start,
          device: { major: 0, minor: 0 },
          inode: shared || hugetlb ? 1 : 0,
          name: hugetlb ? '/anon_hugepage' : '',
          deleted: false,
        }));
        const text = JSON.stringify(mappings);
        if (known?.text !== text) known = { text, mappings };
        return known.mappings;
      },
      pageBytes: ({ name }) =>
        name === '/anon_hugepage' ? (circumstances.hugetlbBytes ?? 2 << 20) : PAGE_SIZE,
      checkAlive: () => undefined,
      isClaimed: () => circumstances.isClaimed ?? false,
      [Symbol.dispose]: () => {
        ended = true;
      },
    },
    {
      register: (start, length) => uffd.register(start, length),
      writeProtect: (start, length) => uffd.writeProtect(start, length, true),
      [Symbol.dispose]: () => uffd[Symbol.dispose](),
    },
    sample,
    0,
  );
}

const ALL = new PageSample(1);

/** The pages of an interval, from the beginning of a mapping. */
function pagesOf(tracker: SampledWriteTracker, first = 0): number[] {
  const pages: number[] = [];
  tracker.collect((start, end) => {
    for (let at = start; at < end; at += PAGE_SIZE) pages.push(at / PAGE_SIZE - first / PAGE_SIZE);
  });
  return pages;
}

describe('writes to a sample of a simulated process', () => {
  test('numbers are within their error of the true ones in 95 of 100 intervals', () => {
    const space = new AddressSpace();
    const next = randomBelow(20261130);
    const pages = 10_000;
    const start = space.mmap({ lengthBytes: pages * PAGE_SIZE });
    space.write(start, pages * PAGE_SIZE);
    const intervals = 200;
    let within = 0;
    for (let interval = 0; interval < intervals; interval++) {
      // The pages of a sample stay the same, so that intervals of one sample would be wrong together.
      using tracker = track(space, new PageSample(0.1, interval + 1));
      const written = new Set<number>();
      for (let runs = 1 + next(40); runs > 0; runs--) {
        const page = next(pages);
        const length = Math.min(pages - page, 1 + next(300));
        space.write(start + page * PAGE_SIZE, length * PAGE_SIZE);
        for (let one = page; one < page + length; one++) written.add(one);
      }
      const { writtenPages, errorPages, faultCount, mappings } = tracker.collect();
      if (Math.abs(writtenPages - written.size) <= errorPages!) within++;
      expect(errorPages!).toBeLessThan(0.25 * pages);
      expect(faultCount).toBe(Math.round(writtenPages * 0.1));
      expect(mappings.map((mapping) => mapping.writtenPages)).toEqual([writtenPages]);
      expect(tracker.collect().writtenPages).toBe(0);
    }
    expect(within / intervals).toBeGreaterThan(0.92);
    expect(within / intervals).toBeLessThan(0.99);
  });

  test('only its pages are protected', () => {
    const space = new AddressSpace();
    const start = space.mmap({ lengthBytes: 1000 * PAGE_SIZE });
    space.write(start, 1000 * PAGE_SIZE);
    const sample = new PageSample(0.1, 3);
    const ours = new Set<number>();
    sample.visit(start, start + 1000 * PAGE_SIZE, 0, (from) => ours.add((from - start) / PAGE_SIZE));
    using tracker = track(space, sample);
    const isProtected = (page: number) =>
      (space.pageState(start + page * PAGE_SIZE).entry & (1n << 10n)) !== 0n;
    const found = Array.from({ length: 1000 }, (_, page) => page).filter(isProtected);
    expect(found).toEqual([...ours]);
    space.write(start, 500 * PAGE_SIZE);
    expect(pagesOf(tracker, start)).toEqual([...ours].filter((page) => page < 500));
  });

  test.each([
    ['private memory', false],
    ['shared memory', true],
  ])(
    'of all pages, agrees with what was done, at random, in %s that comes, goes and is replaced',
    (_, shared) => {
      const space = new AddressSpace();
      const next = randomBelow(20261130);
      const arena = space.mmap({ lengthBytes: 64 * PAGE_SIZE, shared });
      let mapped = new Set(Array.from({ length: 64 }, (_, page) => page));
      for (let page = 0; page < 64; page += 3) space.write(arena + page * PAGE_SIZE, PAGE_SIZE);
      using tracker = track(space, ALL);
      for (let interval = 0; interval < 200; interval++) {
        const written = new Set<number>();
        for (let step = next(12); step > 0; step--) {
          const page = next(64);
          const pages = Math.min(1 + next(5), 64 - page);
          const at = arena + page * PAGE_SIZE;
          const all = Array.from({ length: pages }, (_, index) => page + index);
          switch (next(5)) {
            case 0:
              space.munmap(at, pages * PAGE_SIZE);
              mapped = new Set([...mapped].filter((one) => !all.includes(one)));
              for (const one of all) written.delete(one);
              break;
            case 1:
              // In the place of what may be there: the list of mappings looks as it did.
              space.mmap({ address: at, lengthBytes: pages * PAGE_SIZE, shared });
              for (const one of all) {
                mapped.add(one);
                written.delete(one);
              }
              break;
            default:
              space.write(at, pages * PAGE_SIZE);
              for (const one of all) if (mapped.has(one)) written.add(one);
          }
        }
        const expected = [...written].sort((a, b) => a - b);
        expect([interval, pagesOf(tracker, arena)]).toEqual([interval, expected]);
      }
    },
  );

  test('a huge page is in it as a whole, with all of its small pages once a write has split it', () => {
    const space = new AddressSpace();
    const [pages, hugePages] = [512, 200];
    const lengthBytes = hugePages * pages * PAGE_SIZE;
    const start = space.mmap({ address: 0x7e0000000000, lengthBytes });
    space.madvise(start, lengthBytes, mman.MADV_HUGEPAGE);
    space.write(start, lengthBytes);
    const address = (huge: number) => start + huge * pages * PAGE_SIZE;
    const huge = Array.from({ length: hugePages }, (_, index) => index);
    const sample = new PageSample(0.2, 7);
    const ours = huge.filter((index) => {
      let isIn = false;
      sample.visit(address(index), address(index + 1), PAGE_IS_HUGE, () => {
        isIn = true;
      });
      return isIn;
    });
    expect(ours.length).toBeGreaterThan(20);
    using tracker = track(space, sample);
    const level = () => huge.map((index) => space.pageState(address(index)).level);
    expect(level()).toEqual(huge.map(() => 'pmd'));
    const write = () => {
      for (const index of huge) space.write(address(index) + 5 * PAGE_SIZE, 3 * PAGE_SIZE);
    };
    write();
    const first = tracker.collect();
    expect(first.writtenPages).toBe(ours.length * 3 * 5);
    // Each is one unit: the error is that of so few.
    expect(first.errorPages).toBe(Math.round((1.96 * Math.sqrt((ours.length * 9 + 1) * 0.8)) / 0.2));
    expect(level()).toEqual(huge.map((index) => (ours.includes(index) ? 'pte' : 'pmd')));
    write();
    const second = tracker.collect();
    expect([second.writtenPages, second.errorPages]).toEqual([first.writtenPages, first.errorPages]);
    expect(second.faultCount).toBe(ours.length * 3);
  });

  test('hugetlb memory is looked at by its own pages, those of a gibibyte not at all', () => {
    const space = new AddressSpace();
    const start = space.mmap({ lengthBytes: 64 << 20, hugetlb: true });
    space.write(start, 64 << 20);
    const sample = new PageSample(0.5, 5);
    const ours: number[] = [];
    sample.visit(start, start + (64 << 20), PAGE_IS_HUGE, (from) => ours.push((from - start) >> 21));
    expect(ours.length).toBeGreaterThan(5);
    {
      using tracker = track(space, sample);
      expect(tracker.collect().writtenPages).toBe(0);
      for (const huge of [ours[0]!, ours[3]!]) space.write(start + huge * (2 << 20), 1);
      expect(tracker.collect()).toMatchObject({ writtenPages: 2048, faultCount: 2 });
      expect(tracker.collect().writtenPages).toBe(0);
    }
    using tracker = track(space, sample, { hugetlbBytes: 1 << 30 });
    expect(tracker.skipped).toMatchObject([{ start, reason: 'hugetlb' }]);
    expect(tracker.collect()).toMatchObject({ writtenPages: 0, mappings: [] });
  });

  test('new mappings are marked, and cost no faults', () => {
    const space = new AddressSpace();
    const old = space.mmap({ address: 0x7e0000000000, lengthBytes: 4 * PAGE_SIZE });
    using tracker = track(space, ALL);
    const young = space.mmap({ address: 0x7e0000100000, lengthBytes: 4 * PAGE_SIZE });
    space.write(young, 2 * PAGE_SIZE);
    space.write(old, PAGE_SIZE);
    const rows = () => {
      const { mappings, faultCount } = tracker.collect();
      return [faultCount, ...mappings.map(({ start, writtenPages, isNew }) => [start, writtenPages, isNew])];
    };
    expect(rows()).toEqual([1, [old, 1, false], [young, 2, true]]);
    expect(rows()).toEqual([0, [old, 0, false], [young, 0, false]]);
  });

  test('what another userfaultfd has is left alone, and taken when it is free', () => {
    const space = new AddressSpace();
    const start = space.mmap({ lengthBytes: 4 * PAGE_SIZE });
    space.write(start, 4 * PAGE_SIZE);
    const other = space.userfaultfd();
    other.register(start, 2 * PAGE_SIZE);
    using tracker = track(space, ALL);
    const busy = [{ start, end: start + 2 * PAGE_SIZE, name: '', reason: 'busy' }];
    expect(tracker.skipped).toEqual(busy);
    space.write(start, 4 * PAGE_SIZE);
    expect(pagesOf(tracker, start)).toEqual([2, 3]);
    expect(tracker.skipped).toEqual(busy);
    // Its pages are not protected for it by us.
    expect((space.pageState(start).entry >> 10n) & 1n).toBe(0n);
    other[Symbol.dispose]();
    expect(pagesOf(tracker, start)).toEqual([0, 1]);
    expect(tracker.skipped).toEqual([]);
  });

  test('where others may track it, too, what they have taken in the place of ours is left to them', () => {
    const space = new AddressSpace();
    const start = space.mmap({ lengthBytes: 4 * PAGE_SIZE });
    using tracker = track(space, ALL, { isAlone: false });
    space.mmap({ address: start, lengthBytes: 4 * PAGE_SIZE });
    const other = space.userfaultfd();
    other.register(start, 4 * PAGE_SIZE);
    space.write(start, PAGE_SIZE);
    expect(pagesOf(tracker)).toEqual([]);
    expect(tracker.skipped).toMatchObject([{ reason: 'busy' }]);
    expect((space.pageState(start).entry >> 10n) & 1n).toBe(0n);
  });

  test('a process that begins to use userfaultfd gets its memory back', () => {
    const space = new AddressSpace();
    const start = space.mmap({ lengthBytes: 4 * PAGE_SIZE });
    const circumstances = { isClaimed: false };
    using tracker = track(space, ALL, circumstances);
    circumstances.isClaimed = true;
    expect(tracker.collect().mappings).toEqual([]);
    expect(tracker.skipped).toEqual([{ start, end: start + 4 * PAGE_SIZE, name: '', reason: 'userfaultfd' }]);
    space.userfaultfd().register(start, 4 * PAGE_SIZE);
    expect(tracker.collect().mappings).toEqual([]);
  });

  test('memory that cannot be written is left alone, and memory next to what is tracked is registered between collects', () => {
    const space = new AddressSpace();
    const start = space.mmap({ address: 0x7e0000000000, lengthBytes: 4 * PAGE_SIZE });
    space.mmap({ address: 0x7e0000100000, lengthBytes: 4 * PAGE_SIZE, prot: mman.PROT_READ, shared: true });
    using tracker = track(space, ALL);
    space.mmap({ address: start + 4 * PAGE_SIZE, lengthBytes: 4 * PAGE_SIZE });
    const registered = () => [...space.mappings()].map((mapping) => mapping.registered !== undefined);
    expect(registered()).toEqual([true, false, false]);
    tracker.lookForNeighbours();
    expect(registered()).toEqual([true, false]);
    tracker[Symbol.dispose]();
    expect(registered()).toEqual([false, false]);
    expect(() => tracker.collect()).toThrow(/EBADF.*it is disposed/);
  });
});
