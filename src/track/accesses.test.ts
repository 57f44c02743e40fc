/** The tracker over a simulated address space: the same code as on a live process. */
import { describe, expect, test } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import { mman, PAGE_SIZE } from '../abi/index.js';
import type { Mapping } from '../proc/index.js';
import { AddressSpace, type SimulatedUserfaultfd } from '../sim/index.js';
import { type AccessedSpace, AccessTracker } from './accesses.js';
import { PageSample, SampledCount } from './sample.js';

const RWP = (1 << 17) | (1 << 18);

/** A simulated process as what is tracked. */
function simulated(space: AddressSpace, isClaimed = () => false): AccessedSpace {
  let ended = false;
  return {
    pid: 1,
    get ended() {
      return ended;
    },
    pagemap: space.pagemap,
    mappings: () =>
      [...space.mappings()].map(({ start, end, shared }): Mapping => {
        const perms = shared ? 'rw-s' : 'rw-p';
        return {
          start,
          end,
          perms,
          offset: 0,
          device: { major: 0, minor: 0 },
          inode: 0,
          name: '',
          deleted: false,
        };
      }),
    checkAlive: () => {
      if (ended) throw new Error('ended');
    },
    isClaimed,
    [Symbol.dispose]: () => {
      ended = true;
    },
  };
}

function faultsOf(uffd: SimulatedUserfaultfd) {
  return {
    register: (start: number, length: number, mode: number) => uffd.register(start, length, mode),
    unregister: (start: number, length: number) => uffd.unregister(start, length),
    rwProtect: (start: number, length: number, protect: boolean) => uffd.rwProtect(start, length, protect),
    [Symbol.dispose]: () => uffd[Symbol.dispose](),
  };
}

function trackSimulated(space: AddressSpace, sample?: PageSample, isClaimed?: () => boolean): AccessTracker {
  return new AccessTracker(simulated(space, isClaimed), faultsOf(space.userfaultfd(RWP)), 0, { sample });
}

/** The pages of an interval. */
function pagesOf(tracker: AccessTracker): number[] {
  const pages: number[] = [];
  const { accessedPages } = tracker.collect((start, end) => {
    for (let at = start; at < end; at += PAGE_SIZE) pages.push(at / PAGE_SIZE);
  });
  if (tracker.sample === undefined) expect(accessedPages).toBe(pages.length);
  return pages;
}

describe('accesses of a simulated process', () => {
  test('each page that is read, written or executed, once, in the interval in which it was', () => {
    const space = new AddressSpace({ profile: '7.3' });
    const start = space.mmap({ lengthBytes: 40 * PAGE_SIZE, prot: 7 });
    space.write(start, 20 * PAGE_SIZE);
    using tracker = trackSimulated(space);
    const first = start / PAGE_SIZE;
    expect(pagesOf(tracker)).toEqual([]);
    space.read(start + 2 * PAGE_SIZE, PAGE_SIZE);
    space.write(start + 3 * PAGE_SIZE, PAGE_SIZE);
    space.execute(start + 5 * PAGE_SIZE, PAGE_SIZE);
    // Untouched so far: it comes into being.
    space.read(start + 30 * PAGE_SIZE, PAGE_SIZE);
    space.read(start + 2 * PAGE_SIZE, PAGE_SIZE);
    expect(pagesOf(tracker)).toEqual([2, 3, 5, 30].map((page) => first + page));
    expect(pagesOf(tracker)).toEqual([]);
    space.read(start + 3 * PAGE_SIZE, PAGE_SIZE);
    expect(pagesOf(tracker)).toEqual([first + 3]);
  });

  test('agrees with what was done, at random, over mappings that come, go and are replaced', () => {
    const space = new AddressSpace({ profile: '7.3' });
    const next = randomBelow(20261129);
    const arena = space.mmap({ lengthBytes: 64 * PAGE_SIZE });
    let mapped = new Set(Array.from({ length: 64 }, (_, page) => page));
    for (let page = 0; page < 64; page += 3) space.write(arena + page * PAGE_SIZE, PAGE_SIZE);
    using tracker = trackSimulated(space);
    for (let interval = 0; interval < 200; interval++) {
      const touched = new Set<number>();
      for (let step = next(12); step > 0; step--) {
        const page = next(64);
        const pages = Math.min(1 + next(5), 64 - page);
        const at = arena + page * PAGE_SIZE;
        const all = Array.from({ length: pages }, (_, index) => page + index);
        switch (next(6)) {
          case 0:
            space.munmap(at, pages * PAGE_SIZE);
            mapped = new Set([...mapped].filter((one) => !all.includes(one)));
            for (const one of all) touched.delete(one);
            break;
          case 1:
            // In the place of what may be there: the list of mappings looks as it did.
            space.mmap({ address: at, lengthBytes: pages * PAGE_SIZE });
            for (const one of all) {
              mapped.add(one);
              touched.delete(one);
            }
            break;
          case 2:
            if (all.every((one) => mapped.has(one))) {
              space.madvise(at, pages * PAGE_SIZE, mman.MADV_DONTNEED);
              for (const one of all) touched.delete(one);
            }
            break;
          default:
            if (next(2) === 0) space.read(at, pages * PAGE_SIZE);
            else space.write(at, pages * PAGE_SIZE);
            for (const one of all) if (mapped.has(one)) touched.add(one);
        }
      }
      const expected = [...touched].sort((a, b) => a - b).map((page) => arena / PAGE_SIZE + page);
      expect([interval, pagesOf(tracker)]).toEqual([interval, expected]);
    }
  });

  test('a huge page counts with all of its pages, and stays huge', () => {
    const space = new AddressSpace({ profile: '7.3' });
    const start = space.mmap({ address: 0x7e0000000000, lengthBytes: 1024 * PAGE_SIZE });
    space.madvise(start, 1024 * PAGE_SIZE, mman.MADV_HUGEPAGE);
    space.write(start, PAGE_SIZE);
    using tracker = trackSimulated(space);
    space.read(start + 7 * PAGE_SIZE, PAGE_SIZE);
    expect(pagesOf(tracker).length).toBe(512);
    expect(space.pageState(start).level).toBe('pmd');
  });

  test('new mappings are marked, and mappings say what was accessed in them', () => {
    const space = new AddressSpace({ profile: '7.3' });
    const old = space.mmap({ address: 0x7e0000000000, lengthBytes: 4 * PAGE_SIZE });
    using tracker = trackSimulated(space);
    const young = space.mmap({ address: 0x7e0000100000, lengthBytes: 4 * PAGE_SIZE });
    space.write(young, 2 * PAGE_SIZE);
    space.read(old, PAGE_SIZE);
    const rows = () =>
      tracker.collect().mappings.map(({ start, accessedPages, isNew }) => [start, accessedPages, isNew]);
    expect(rows()).toEqual([
      [old, 1, false],
      [young, 2, true],
    ]);
    expect(rows()).toEqual([
      [old, 0, false],
      [young, 0, false],
    ]);
  });

  test('what another userfaultfd has is left out, and taken when it is free', () => {
    const space = new AddressSpace({ profile: '7.3' });
    const start = space.mmap({ lengthBytes: 4 * PAGE_SIZE });
    const other = space.userfaultfd(RWP);
    other.register(start, 2 * PAGE_SIZE, 8);
    using tracker = trackSimulated(space);
    expect(tracker.skipped).toEqual([{ start, end: start + 2 * PAGE_SIZE, name: '', reason: 'busy' }]);
    other[Symbol.dispose]();
    space.read(start, 4 * PAGE_SIZE);
    expect(pagesOf(tracker).length).toBe(4);
    expect(tracker.skipped).toEqual([]);
  });

  test('a process that begins to use userfaultfd gets its memory back', () => {
    const space = new AddressSpace({ profile: '7.3' });
    const start = space.mmap({ lengthBytes: 4 * PAGE_SIZE });
    let claimed = false;
    using tracker = trackSimulated(space, undefined, () => claimed);
    claimed = true;
    expect(tracker.collect().mappings).toEqual([]);
    expect(tracker.skipped).toEqual([{ start, end: start + 4 * PAGE_SIZE, name: '', reason: 'userfaultfd' }]);
    space.userfaultfd(RWP).register(start, 4 * PAGE_SIZE, 8);
  });

  test('of a sample, only its pages are protected, and the numbers are estimates with an error', () => {
    const space = new AddressSpace({ profile: '7.3' });
    const pages = 20_000;
    const start = space.mmap({ lengthBytes: pages * PAGE_SIZE });
    space.write(start, pages * PAGE_SIZE);
    using tracker = trackSimulated(space, new PageSample(0.05, 3));
    expect(tracker.collect().accessedPages).toBe(0);
    space.read(start, 5000 * PAGE_SIZE);
    const { accessedPages, errorPages } = tracker.collect();
    expect(errorPages).toBeGreaterThan(100);
    expect(Math.abs(accessedPages - 5000)).toBeLessThan(2 * errorPages);
  });

  test('disposed, it protects nothing and says so', () => {
    const space = new AddressSpace({ profile: '7.3' });
    space.mmap({ lengthBytes: 4 * PAGE_SIZE });
    const tracker = trackSimulated(space);
    tracker[Symbol.dispose]();
    expect(tracker.ended).toBe(true);
    expect(() => tracker.collect()).toThrow(/EBADF.*it is disposed/);
    expect([...space.mappings()].map(({ registered }) => registered)).toEqual([undefined]);
  });
});

describe('samples', () => {
  test('a true count lies within the error of its estimate in 95 of 100 samples', () => {
    for (const [share, pages, categories] of [
      [0.02, 40_000, 0],
      [0.2, 3000, 0],
      [0.1, 512 * 600, 64],
    ] as const) {
      let within = 0;
      for (let seed = 1; seed <= 400; seed++) {
        const count = new SampledCount(share);
        new PageSample(share, seed).visit(
          0x7f1234400000,
          0x7f1234400000 + pages * PAGE_SIZE,
          categories,
          (from, to) => count.add((to - from) / PAGE_SIZE),
        );
        if (Math.abs(count.pages - pages) <= count.errorPages) within++;
      }
      expect(within / 400).toBeGreaterThan(0.92);
      expect(within / 400).toBeLessThan(0.99);
    }
  });

  test('a sample is of pages of the size that it is told, and of huge pages of theirs', () => {
    const unitsOf = (pageBytes: number, categories: number) => {
      const units = new Set<number>();
      const sample = new PageSample(0.5, 1, pageBytes);
      sample.visit(0, 256 << 20, categories, (from, to) => units.add(to - from));
      return [...units];
    };
    expect(unitsOf(PAGE_SIZE, 0)).toEqual([PAGE_SIZE]);
    expect(unitsOf(16384, 0)).toEqual([16384]);
    expect(unitsOf(16384, 64)).toEqual([32 << 20]);
  });

  test('a sample of everything is everything, without error', () => {
    const count = new SampledCount(1);
    new PageSample(1).visit(0, 1000 * PAGE_SIZE, 0, (from, to) => count.add((to - from) / PAGE_SIZE));
    expect([count.pages, count.errorPages]).toEqual([1000, 0]);
  });

  test('other shares are refused', () => {
    for (const share of [0, -1, 1.5, Number.NaN])
      expect(() => new PageSample(share)).toThrow(/share above 0/);
  });
});
