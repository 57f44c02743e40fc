/** A target writes known pages; each interval reports exactly those. */
import { describe, expect } from 'vitest';
import { hugePageSize, pageSize } from '../../src/live/index.js';
import { type ProcessTracker, trackProcess } from '../../src/track/index.js';
import { hasZeroPage } from '../support/facts.js';
import { testWhere } from '../support/needs.js';
import { addPages, every, type Range } from '../support/pages.js';
import { startWrites, type Writes } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const hugetlb = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'hugetlb');
const huge = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'category-huge');

const zeroPage = hasZeroPage();
/** Pages of a huge one. */
const HUGE = hugePageSize() / pageSize();

/** On a busy machine targets may get no time on a processor for long. */
const PATIENT = { stopTimeoutMs: 60_000 };

/** The pages of `range` that were written in the interval that ends here, by their numbers in it. */
function written(tracker: ProcessTracker, range: Range): number[] {
  const pages: number[] = [];
  let all = 0;
  let last = 0;
  const interval = tracker.collect((start, end) => {
    expect(start).toBeGreaterThanOrEqual(last);
    last = end;
    all += (end - start) / pageSize();
    addPages(pages, range, start, end);
  });
  expect(interval.writtenPages).toBe(all);
  expect(interval.mappings.reduce((sum, { writtenPages }) => sum + writtenPages, 0)).toBe(all);
  // The target's own business (stack, input and output buffers) takes few pages.
  expect(all - pages.length).toBeLessThan(40);
  return pages;
}

async function begin(kind: string, pages: number): Promise<{ target: Writes; range: Range }> {
  const target = await startWrites();
  return { target, range: await target.order(`map 1 ${kind} ${pages}`) };
}

describe.each(['anon', 'shared', 'memfd', 'file', 'sharedfile', 'thp'])('%s memory', (kind) => {
  const where = kind === 'thp' ? huge : live;

  where('written before the attach: exactly what is written after', async () => {
    const { target, range } = await begin(kind, 2048);
    await using _ = target;
    await target.order('write 1 0 2048 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    expect(written(tracker, range)).toEqual([]);
    await target.order('write 1 3 100 7');
    expect(written(tracker, range)).toEqual(every(100, 3, 7));
    expect(written(tracker, range)).toEqual([]);
    await target.order('write 1 0 1 1');
    await target.order('write 1 2047 1 1');
    await target.order('kread 1 511 2');
    expect(written(tracker, range)).toEqual([0, 511, 512, 2047]);
    await target.order('read 1 0 2048 1');
    expect(written(tracker, range)).toEqual([]);
    await target.order('write 1 0 2048 1');
    expect(written(tracker, range)).toEqual(every(2048));
  });

  where('partly touched, read, and discarded', async () => {
    const { target, range } = await begin(kind, 1500);
    await using _ = target;
    if (kind === 'thp') await target.order('write 1 0 1 1');
    await target.order('write 1 0 100 2');
    await target.order('read 1 300 100 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    await target.order('read 1 250 100 1');
    // Of private memory, what was never touched is not protected: read, it is the zero page, or a new page of its own.
    expect(written(tracker, range)).toEqual(kind === 'anon' && !zeroPage ? every(50, 250) : []);
    await target.order('write 1 301 50 2');
    await target.order('write 1 4 1 1');
    expect(written(tracker, range)).toEqual([4, ...every(50, 301, 2)]);
    if (kind !== 'thp') {
      // Pages that never existed, written for the first time.
      await target.order('write 1 1000 20 3');
      expect(written(tracker, range)).toEqual(every(20, 1000, 3));
      await target.order('discard 1 0 400');
      await target.order('write 1 2 1 1');
      expect(written(tracker, range)).toEqual([2]);
    }
  });

  where('protection changed and back, and a fork', async () => {
    const { target, range } = await begin(kind, 1024);
    await using _ = target;
    await target.order('write 1 0 1024 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    await target.order('protect 1 r');
    await target.order('protect 1 rw');
    await target.order('write 1 10 5 2');
    await target.order('protect 1 none');
    expect(written(tracker, range)).toEqual(every(5, 10, 2));
    await target.order('protect 1 rw');
    await target.order('fork');
    // What the child writes in shared memory it writes by its own mapping, not by this one.
    expect(written(tracker, range)).toEqual([]);
    await target.order('write 1 100 5 3');
    expect(written(tracker, range)).toEqual(every(5, 100, 3));
    await target.order('child');
    await target.order('write 1 200 5 3');
    expect(written(tracker, range)).toEqual(every(5, 200, 3));
  });

  where('moved, unmapped, mapped anew in its place', async () => {
    const { target, range } = await begin(kind, 1024);
    await using _ = target;
    await target.order('write 1 0 1024 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    expect(written(tracker, range)).toEqual([]);
    await target.order('write 1 5 5 1');
    const moved = await target.order('move 1 1024');
    // At its new place it is a new mapping: all that exists counts, and in a file, what was not written may not exist.
    const born = written(tracker, moved);
    expect(born).toEqual(expect.arrayContaining(every(5, 5)));
    await target.order('write 1 7 2 1');
    expect(written(tracker, moved)).toEqual([7, 8]);

    await target.order(`again 1 ${kind === 'thp' ? 'anon' : kind}`);
    await target.order('write 1 30 4 2');
    expect(written(tracker, moved)).toEqual(every(4, 30, 2));
    await target.order('write 1 31 1 1');
    expect(written(tracker, moved)).toEqual([31]);

    await target.order('again 1 anon');
    expect(written(tracker, moved)).toEqual([]);
    await target.order('write 1 1023 1 1');
    expect(written(tracker, moved)).toEqual([1023]);
    await target.order('unmap 1');
    expect(written(tracker, moved)).toEqual([]);
  });
});

live('a heap that grows', async () => {
  await using target = await startWrites();
  const first = await target.order('brk 100');
  await target.order('write 0 0 100 1');
  using tracker = await trackProcess(target.pid, PATIENT);
  await target.order('write 0 20 10 1');
  expect(written(tracker, first)).toEqual(every(10, 20));
  const grown = await target.order('brk 200');
  expect(grown.start).toBe(first.end);
  await target.order('write 0 50 10 3');
  expect(written(tracker, grown)).toEqual(every(10, 50, 3));
  await target.order('write 0 51 10 3');
  expect(written(tracker, { start: first.start, end: grown.end })).toEqual(every(10, 151, 3));
});

live('mappings that come: what was written since they did; then, what is written', async () => {
  await using target = await startWrites();
  using tracker = await trackProcess(target.pid, PATIENT);
  for (const [slot, kind] of ['anon', 'shared', 'memfd', 'file', 'sharedfile'].entries()) {
    const range = await target.order(`map ${slot} ${kind} 700`);
    await target.order(`write ${slot} 100 20 5`);
    const { mappings } = tracker.collect();
    const mapping = mappings.find(({ start }) => start === range.start);
    expect(mapping).toMatchObject({ end: range.end, writtenPages: 20, isNew: true });
    expect(written(tracker, range)).toEqual([]);
    await target.order(`write ${slot} 600 9 1`);
    await target.order(`read ${slot} 0 700 1`);
    const comes = (page: number) => page >= 100 && page < 200 && page % 5 === 0;
    expect(written(tracker, range)).toEqual(
      kind === 'anon' && !zeroPage ? every(700).filter((page) => !comes(page)) : every(9, 600),
    );
    expect(tracker.collect().mappings.find(({ start }) => start === range.start)?.isNew).toBe(false);
  }
});

live('memory that is reserved first and made accessible later', async () => {
  const { target, range } = await begin('none', 1000);
  await using _ = target;
  using tracker = await trackProcess(target.pid, PATIENT);
  expect(written(tracker, range)).toEqual([]);
  await target.order('protect 1 rw');
  await target.order('write 1 500 3 1');
  expect(written(tracker, range)).toEqual([500, 501, 502]);
});

hugetlb('hugetlb memory, by huge pages', async () => {
  const { target, range } = await begin('hugetlb', 4 * HUGE);
  await using _ = target;
  await target.order('write 1 0 1 1');
  using tracker = await trackProcess(target.pid, PATIENT);
  expect(written(tracker, range)).toEqual([]);
  await target.order(`write 1 ${HUGE + 188} 1 1`);
  expect(written(tracker, range)).toEqual(every(HUGE, HUGE));
  await target.order(`read 1 ${2 * HUGE} 1 1`);
  expect(written(tracker, range)).toEqual([]);
  await target.order(`write 1 ${2 * HUGE} 1 1`);
  await target.order('write 1 3 1 1');
  expect(written(tracker, range)).toEqual([...every(HUGE), ...every(HUGE, 2 * HUGE)]);
  await target.order(`discard 1 0 ${HUGE}`);
  await target.order('write 1 5 1 1');
  expect(written(tracker, range)).toEqual(every(HUGE));
  const other = await target.order(`map 2 hugetlb ${2 * HUGE}`);
  await target.order(`write 2 ${HUGE + 88} 1 1`);
  expect(written(tracker, other)).toEqual(every(HUGE, HUGE));
  expect(written(tracker, other)).toEqual([]);
  await target.order('again 2 hugetlb');
  await target.order('write 2 0 1 1');
  expect(written(tracker, other)).toEqual(every(HUGE));
});

huge('a huge page that comes into being counts whole, then page by page', async () => {
  const { target, range } = await begin('thp', 2 * HUGE);
  await using _ = target;
  using tracker = await trackProcess(target.pid, PATIENT);
  await target.order('write 1 100 1 1');
  expect(written(tracker, range)).toEqual(every(HUGE));
  await target.order('write 1 100 1 1');
  expect(written(tracker, range)).toEqual([100]);
});

live('pages that are swapped out', async () => {
  const { target, range } = await begin('anon', 400);
  await using _ = target;
  await target.order('write 1 0 400 1');
  using tracker = await trackProcess(target.pid, PATIENT);
  await target.order('write 1 10 10 2');
  await target.order('swap 1');
  expect(written(tracker, range)).toEqual(every(10, 10, 2));
  await target.order('read 1 0 400 1');
  expect(written(tracker, range)).toEqual([]);
  await target.order('write 1 11 2 1');
  expect(written(tracker, range)).toEqual([11, 12]);
});

describe.each(['shared', 'memfd'])('%s memory', (kind) => {
  live('pages that are swapped out, and then have no entry', async () => {
    const { target, range } = await begin(kind, 400);
    await using _ = target;
    await target.order('write 1 0 400 1');
    using tracker = await trackProcess(target.pid, PATIENT);
    await target.order('write 1 10 10 2');
    await target.order('swap 1');
    expect(written(tracker, range)).toEqual(every(10, 10, 2));
    await target.order('swap 1');
    await target.order('read 1 0 400 1');
    expect(written(tracker, range)).toEqual([]);
    await target.order('write 1 11 2 1');
    expect(written(tracker, range)).toEqual([11, 12]);
  });
});

live('a stack that grows', async () => {
  await using target = await startWrites();
  using tracker = await trackProcess(target.pid, PATIENT);
  tracker.collect();
  await target.order('stack 300');
  const stack = tracker.collect().mappings.find(({ name }) => name === '[stack]');
  expect(stack?.writtenPages).toBeGreaterThanOrEqual(300);
  expect(stack?.writtenPages).toBeLessThan(310);
  await target.order('stack 5');
  const later = tracker.collect().mappings.find(({ name }) => name === '[stack]');
  expect(later?.writtenPages).toBeLessThan(20);
});

live('one of many mappings replaced: it is new, and the others stay exact', async () => {
  await using target = await startWrites();
  const ranges: Range[] = [];
  for (const slot of every(9, 1)) {
    ranges.push(await target.order(`map ${slot} anon 1500`));
    await target.order(`write ${slot} 0 1500 1`);
  }
  using tracker = await trackProcess(target.pid, PATIENT);
  for (const replaced of [5, 1, 9, 5]) {
    // More regions before it than fit into the kernel's own buffer, and than its last part holds.
    for (const slot of every(9, 1)) await target.order(`write ${slot} ${slot} 700 2`);
    await target.order(`again ${replaced} anon`);
    await target.order(`write ${replaced} 100 3 1`);
    const found = new Map<number, number[]>();
    tracker.collect((start, end) => {
      for (const [index, range] of ranges.entries()) {
        for (let at = Math.max(start, range.start); at < Math.min(end, range.end); at += pageSize()) {
          found.set(index + 1, [...(found.get(index + 1) ?? []), (at - range.start) / pageSize()]);
        }
      }
    });
    for (const slot of every(9, 1)) {
      expect(found.get(slot)).toEqual(slot === replaced ? [100, 101, 102] : every(700, slot, 2));
    }
  }
});

live('a part of a mapping replaced: it is new, and what lies before and behind stays exact', async () => {
  const { target, range } = await begin('anon', 4000);
  await using _ = target;
  await target.order('write 1 0 4000 1');
  using tracker = await trackProcess(target.pid, PATIENT);
  for (const first of [3000, 10, 1234, 3000]) {
    await target.order('write 1 0 2000 2');
    await target.order(`renew 1 ${first} 8`);
    const even = every(2000, 0, 2).filter((page) => page < first || page >= first + 8);
    await target.order(`write 1 ${first + 1} 2 1`);
    expect(written(tracker, range)).toEqual([...even, first + 1, first + 2].sort((a, b) => a - b));
    await target.order(`write 1 ${first} 3 1`);
    expect(written(tracker, range)).toEqual(every(3, first));
  }
});
