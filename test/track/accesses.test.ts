/** A target accesses known pages; each interval reports exactly those. */
import { describe, expect, test } from 'vitest';
import { PAGE_IS_ACCESSED, PAGE_SIZE, RegionBuffer } from '../../src/abi/index.js';
import { type AccessTracker, allocateTracked, PageSample, trackProcess } from '../../src/track/index.js';
import { available, testWhere } from '../support/needs.js';
import { addPages, every, type Range } from '../support/pages.js';
import { startWrites, type Writes } from '../support/writes.js';

/** Read-write protection came with Linux 7.3; test/vm has one. */
const canTell = available('category-accessed');
const where = (...needs: string[]) =>
  canTell ? testWhere('pagemap-scan', 'ptrace', 'compiler', ...needs) : test.skip;

/** On a busy machine targets may get no time on a processor for long. */
const PATIENT = { stopTimeoutMs: 60_000, accesses: true } as const;

/** The pages of `range` that were accessed in the interval that ends here, by their numbers in it. */
function accessed(tracker: AccessTracker, range: Range): number[] {
  const pages: number[] = [];
  let all = 0;
  let last = 0;
  const interval = tracker.collect((start, end, categories) => {
    expect([start >= last, categories]).toEqual([true, PAGE_IS_ACCESSED]);
    last = end;
    all += (end - start) / PAGE_SIZE;
    addPages(pages, range, start, end);
  });
  expect([interval.accessedPages, interval.errorPages]).toEqual([all, 0]);
  expect(interval.mappings.reduce((sum, { accessedPages }) => sum + accessedPages, 0)).toBe(all);
  // The target's own business (its code, libraries, stack and buffers) takes few pages.
  expect(all - pages.length).toBeLessThan(120);
  return pages;
}

async function begin(kind: string, pages: number): Promise<{ target: Writes; range: Range }> {
  const target = await startWrites();
  return { target, range: await target.order(`map 1 ${kind} ${pages}`) };
}

describe.each(['anon', 'shared', 'memfd', 'file', 'sharedfile'])('%s memory', (kind) => {
  where()('reads, writes and the kernel: exactly what is accessed in each interval', async () => {
    const { target, range } = await begin(kind, 512);
    await using _ = target;
    await target.order('write 1 0 512 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    expect(accessed(tracker, range)).toEqual([]);
    await target.order('read 1 3 100 5');
    expect(accessed(tracker, range)).toEqual(every(100, 3, 5));
    await target.order('write 1 1 50 7');
    await target.order('read 1 0 8 1');
    const both = new Set([...every(50, 1, 7), ...every(8)]);
    expect(accessed(tracker, range)).toEqual([...both].sort((a, b) => a - b));
    await target.order('kread 1 40 20');
    expect(accessed(tracker, range)).toEqual(every(20, 40));
    expect(accessed(tracker, range)).toEqual([]);
  });

  where()('pages that come into being count when they do', async () => {
    const { target, range } = await begin(kind, 64);
    await using _ = target;
    using tracker = await trackProcess(target.pid, PATIENT);
    accessed(tracker, range);
    await target.order('write 1 10 3 2');
    expect(accessed(tracker, range).filter((page) => page <= 16)).toEqual(
      expect.arrayContaining([10, 12, 14]),
    );
    await target.order('discard 1 10 1');
    expect(accessed(tracker, range)).toEqual([]);
  });

  where()('in the place of a mapping, another: what exists of it counts', async () => {
    const { target, range } = await begin(kind, 64);
    await using _ = target;
    await target.order('write 1 0 64 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    await target.order(`again 1 ${kind}`);
    await target.order('write 1 5 4 1');
    expect(accessed(tracker, range)).toEqual(expect.arrayContaining(every(4, 5)));
    await target.order('read 1 5 2 1');
    expect(accessed(tracker, range)).toEqual([5, 6]);
  });
});

describe('other memory', () => {
  where('category-huge')('a transparent huge page counts with all of its pages', async () => {
    const { target, range } = await begin('thp', 1024);
    await using _ = target;
    await target.order('write 1 0 1024 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    await target.order('read 1 600 1 1');
    expect(accessed(tracker, range)).toEqual(every(512, 512));
    expect(accessed(tracker, range)).toEqual([]);
  });

  where('hugetlb')('hugetlb pages', async () => {
    const { target, range } = await begin('hugetlb', 1024);
    await using _ = target;
    await target.order('write 1 0 1024 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    await target.order('read 1 3 1 1');
    expect(accessed(tracker, range)).toEqual(every(512));
    expect(accessed(tracker, range)).toEqual([]);
  });

  where('category-swapped')('what was swapped out counts when it is read again', async () => {
    const { target, range } = await begin('anon', 64);
    await using _ = target;
    await target.order('write 1 0 64 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    await target.order('swap 1');
    expect(accessed(tracker, range)).toEqual([]);
    await target.order('read 1 8 1 1');
    expect(accessed(tracker, range)).toContain(8);
  });

  where()('the program’s own code, its libraries and its stack', async () => {
    const { target, range } = await begin('anon', 1);
    await using _ = target;
    using tracker = await trackProcess(target.pid, PATIENT);
    await target.order('stack 20');
    const { mappings } = tracker.collect();
    const of = (pattern: RegExp) =>
      mappings.filter(({ name }) => pattern.test(name)).reduce((sum, one) => sum + one.accessedPages, 0);
    expect(of(/writes$/)).toBeGreaterThan(0);
    expect(of(/libc/)).toBeGreaterThan(0);
    expect(of(/^\[stack\]$/)).toBeGreaterThanOrEqual(20);
    expect(tracker.skipped.map(({ name }) => name)).toContain('[vdso]');
    expect(range.start).toBeGreaterThan(0);
  });

  where()('memory that is moved, and the heap that grows', async () => {
    const { target } = await begin('anon', 64);
    await using _ = target;
    await target.order('write 1 0 64 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    const moved = await target.order('move 1 64');
    expect(accessed(tracker, moved)).toEqual(every(64));
    await target.order('read 1 9 1 1');
    expect(accessed(tracker, moved)).toEqual([9]);
    const grown = await target.order('brk 16');
    await target.order('write 0 2 3 1');
    expect(accessed(tracker, grown)).toEqual([2, 3, 4]);
  });

  where()('a child made by fork goes its own way', async () => {
    const { target, range } = await begin('anon', 32);
    await using _ = target;
    await target.order('write 1 0 32 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    await target.order('fork');
    // Copying the page tables is no access of the parent's.
    expect(accessed(tracker, range)).toEqual([]);
    await target.order('read 1 4 2 1');
    expect(accessed(tracker, range)).toEqual([4, 5]);
  });

  where()('of a sample: its pages alone are protected', async () => {
    const { target, range } = await begin('anon', 8192);
    await using _ = target;
    await target.order('write 1 0 8192 1');
    using tracker = await trackProcess(target.pid, { ...PATIENT, sample: new PageSample(0.1, 5) });
    tracker.collect();
    await target.order('read 1 0 4096 2');
    const { mappings, errorPages } = tracker.collect();
    const { accessedPages } = mappings.find(({ start }) => start === range.start)!;
    expect(errorPages).toBeGreaterThan(0);
    expect(Math.abs(accessedPages - 4096)).toBeLessThan(2 * errorPages);
  });

  where()('when it is disposed, nothing of it is left, and nothing was changed', async () => {
    const { target, range } = await begin('anon', 64);
    await using _ = target;
    await target.order('write 1 0 64 1');
    const tracker = await trackProcess(target.pid, PATIENT);
    tracker[Symbol.dispose]();
    await target.order('read 1 0 64 1');
    using again = await trackProcess(target.pid, PATIENT);
    expect(accessed(again, range)).toEqual([]);
  });
});

describe('own memory', () => {
  const own = canTell ? testWhere('pagemap-scan', 'userfaultfd') : test.skip;

  own.each([false, true])('pages that are read or written; shared: %s', (shared) => {
    using memory = allocateTracked(1 << 20, { accesses: true, shared: shared as true });
    const bytes = new Uint8Array(memory.buffer);
    const { tracker } = memory;
    const output = new RegionBuffer(64);
    const pages = () => {
      tracker.collect(output);
      return [...output].flatMap(({ start, end }) =>
        every((end - start) / PAGE_SIZE, (start - tracker.start) / PAGE_SIZE),
      );
    };
    expect(pages()).toEqual([]);
    bytes[5 * PAGE_SIZE] = 1;
    bytes[6 * PAGE_SIZE + 1] = 1;
    expect(pages()).toEqual([5, 6]);
    let sum = bytes[6 * PAGE_SIZE]!;
    expect(tracker.peek(output).pages).toBe(1);
    sum += bytes[9 * PAGE_SIZE]!;
    expect(pages()).toEqual([6, 9]);
    expect(pages()).toEqual([]);
    sum += bytes[9 * PAGE_SIZE]!;
    tracker.reset();
    expect(pages()).toEqual([]);
    expect(sum).toBe(0);
  });

  own('a buffer that is too small for all goes on where it stopped', () => {
    using memory = allocateTracked(1 << 20, { accesses: true });
    const bytes = new Uint8Array(memory.buffer);
    for (let page = 0; page < 100; page += 2) bytes[page * PAGE_SIZE] = 1;
    const output = new RegionBuffer(20);
    const found: number[] = [];
    for (let done = false; !done; ) {
      ({ done } = memory.tracker.collect(output));
      for (const { start } of output) found.push((start - memory.tracker.start) / PAGE_SIZE);
    }
    expect(found).toEqual(every(50, 0, 2));
    expect(memory.tracker.collect(output)).toMatchObject({ pages: 0, done: true });
  });
});

test.skipIf(canTell || !available('pagemap-scan'))(
  'a kernel before 7.3 says so before anything is touched',
  async () => {
    await expect(trackProcess(1, PATIENT)).rejects.toThrow(/EOPNOTSUPP.*came with Linux 7\.3/);
    expect(() => allocateTracked(1 << 16, { accesses: true })).toThrow(/EOPNOTSUPP.*came with Linux 7\.3/);
  },
);
