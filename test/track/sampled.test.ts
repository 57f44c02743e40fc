/** A target writes known pages; each interval reports exactly those of them that are in the sample. */
import { describe, expect } from 'vitest';
import { type NotSupportedError, PAGE_IS_HUGE } from '../../src/abi/index.js';
import { hugePageSize, pageSize } from '../../src/live/index.js';
import { PageSample, type ProcessTracker, trackProcess } from '../../src/track/index.js';
import { testWhere } from '../support/needs.js';
import { addPages, every, type Range } from '../support/pages.js';
import { startWrites } from '../support/writes.js';

const NEEDS = ['pagemap-scan', 'wp-async', 'ptrace', 'compiler'];
const live = testWhere(...NEEDS);
const huge = testWhere(...NEEDS, 'category-huge');
const hugetlb = testWhere(...NEEDS, 'hugetlb');

/** Pages of a huge one. */
const HUGE = hugePageSize() / pageSize();
/** On a busy machine targets may get no time on a processor for long. */
const PATIENT = { stopTimeoutMs: 60_000 };

/** The pages of `range` that were written and looked at in the interval that ends here, by their numbers in it. */
function written(tracker: ProcessTracker, range: Range): number[] {
  const pages: number[] = [];
  tracker.collect((start, end) => addPages(pages, range, start, end));
  return pages;
}

function inSample(sample: PageSample, range: Range, pages: readonly number[]): number[] {
  return pages.filter((page) => {
    let isIn = false;
    const at = range.start + page * pageSize();
    sample.visit(at, at + pageSize(), 0, () => {
      isIn = true;
    });
    return isIn;
  });
}

describe.each(['anon', 'shared', 'memfd', 'file', 'sharedfile'])('%s memory', (kind) => {
  live('those that are written, of the sample, once', async () => {
    await using target = await startWrites();
    const range = await target.order(`map 1 ${kind} 4000`);
    await target.order('write 1 0 3000 1');
    const sample = new PageSample(0.2, 11);
    using tracker = await trackProcess(target.pid, { ...PATIENT, sample });
    expect(written(tracker, range)).toEqual([]);
    // Some of them come into being.
    await target.order('write 1 2500 800 1');
    const expected = inSample(sample, range, every(800, 2500));
    expect(expected.length).toBeGreaterThan(100);
    expect(written(tracker, range)).toEqual(expected);
    expect(written(tracker, range)).toEqual([]);
    await target.order('write 1 3 900 3');
    expect(written(tracker, range)).toEqual(inSample(sample, range, every(900, 3, 3)));
  });

  live('in a mapping that came in the place of another, and in one that was moved', async () => {
    await using target = await startWrites();
    const range = await target.order(`map 1 ${kind} 1000`);
    await target.order('write 1 0 1000 1');
    const sample = new PageSample(0.3, 12);
    using tracker = await trackProcess(target.pid, { ...PATIENT, sample });
    await target.order(`again 1 ${kind}`);
    await target.order('write 1 0 200 1');
    const replaced = written(tracker, range);
    expect(replaced).toEqual(expect.arrayContaining(inSample(sample, range, every(200))));
    await target.order('write 1 100 50 1');
    expect(written(tracker, range)).toEqual(inSample(sample, range, every(50, 100)));
    const moved = await target.order('move 1 1000');
    written(tracker, moved);
    await target.order('write 1 7 100 2');
    expect(written(tracker, moved)).toEqual(inSample(sample, moved, every(100, 7, 2)));
  });
});

huge('a huge page is in it with all of its pages, and not split where it is not', async () => {
  await using target = await startWrites();
  const range = await target.order(`map 1 thp ${64 * HUGE}`);
  await target.order(`write 1 0 ${64 * HUGE} 1`);
  const sample = new PageSample(0.5, 13);
  const first = Math.ceil(range.start / hugePageSize());
  const ours = new Set<number>();
  for (let page = first; (page + 1) * hugePageSize() <= range.end; page++)
    sample.visit(page * hugePageSize(), (page + 1) * hugePageSize(), PAGE_IS_HUGE, () => ours.add(page));
  expect(ours.size).toBeGreaterThan(10);
  using tracker = await trackProcess(target.pid, { ...PATIENT, sample });
  for (let round = 0; round < 2; round++) {
    await target.order(`write 1 5 64 ${HUGE}`);
    const told = written(tracker, range).map((page) => (range.start + page * pageSize()) / hugePageSize());
    // Small pages before the first huge one and behind the last are in it by themselves.
    const whole = told.filter((at) => at >= first && (Math.floor(at) + 1) * hugePageSize() <= range.end);
    expect(whole.map(Math.floor)).toEqual([...ours]);
  }
});

huge('huge pages that something else splits stay in the sample, or out of it, as wholes', async () => {
  await using target = await startWrites();
  const count = 32;
  const range = await target.order(`map 1 thp ${(count + 1) * HUGE}`);
  await target.order(`write 1 0 ${(count + 1) * HUGE} 1`);
  const sample = new PageSample(0.3, 14);
  const first = Math.ceil(range.start / hugePageSize()) * HUGE - range.start / pageSize();
  const pages = every(count * HUGE, first);
  const isIn = (page: number) => {
    let isIn = false;
    const at = Math.floor((range.start / pageSize() + page) / HUGE) * hugePageSize();
    sample.visit(at, at + hugePageSize(), PAGE_IS_HUGE, () => {
      isIn = true;
    });
    return isIn;
  };
  using tracker = await trackProcess(target.pid, { ...PATIENT, sample });
  const told = () => written(tracker, range).filter((page) => page >= first && page < first + count * HUGE);
  for (let index = 0; index < count; index++) await target.order(`discard 1 ${first + index * HUGE + 3} 1`);
  expect(told()).toEqual([]);
  await target.order(`write 1 ${first} ${count * HUGE} 1`);
  expect(told()).toEqual(pages.filter(isIn));
});

live('shared memory that is only read is not written', async () => {
  await using target = await startWrites();
  const range = await target.order('map 1 shared 2000');
  const sample = new PageSample(0.3, 15);
  using tracker = await trackProcess(target.pid, { ...PATIENT, sample });
  await target.order('read 1 0 2000 1');
  expect(written(tracker, range)).toEqual([]);
  await target.order('write 1 500 500 1');
  expect(written(tracker, range)).toEqual(inSample(sample, range, every(500, 500)));
});

live('a mapping that grows costs what was protected of it', async () => {
  await using target = await startWrites();
  const sample = new PageSample(0.5, 16);
  const range = await target.order('map 1 anon 2000');
  await target.order('write 1 0 2000 1');
  using tracker = await trackProcess(target.pid, { ...PATIENT, sample });
  tracker.collect();
  // Memory right below it, or above it, is one mapping with it for the kernel; the list says so.
  const more = await target.order('map 2 anon 1000');
  await target.order('write 1 0 2000 1');
  await target.order('write 2 0 1000 1');
  const ours = inSample(sample, range, every(2000)).length;
  const { faultCount, mappings } = tracker.collect();
  expect(faultCount).toBeGreaterThanOrEqual(ours);
  // Its stack and buffers, besides.
  expect(faultCount).toBeLessThan(ours + 40);
  expect(mappings.some(({ start, end, isNew }) => isNew && start <= more.start && end >= more.end)).toBe(
    true,
  );
});

hugetlb('hugetlb memory, by its own pages', async () => {
  await using target = await startWrites();
  const range = await target.order(`map 1 hugetlb ${8 * HUGE}`);
  await target.order(`write 1 0 ${8 * HUGE} 1`);
  const hugePagesIn = (sample: PageSample) => {
    const found: number[] = [];
    sample.visit(range.start, range.end, PAGE_IS_HUGE, (start) => {
      found.push((start - range.start) / hugePageSize());
    });
    return found;
  };
  // Eight pages, wherever the kernel put them: of two seeds of 256, the sample has none of them, or all.
  const isMixed = (sample: PageSample) => ![0, 8].includes(hugePagesIn(sample).length);
  const sample = every(100)
    .map((seed) => new PageSample(0.5, seed))
    .find(isMixed)!;
  const ours = hugePagesIn(sample);
  using tracker = await trackProcess(target.pid, { ...PATIENT, sample });
  expect(written(tracker, range)).toEqual([]);
  await target.order(`write 1 0 8 ${HUGE}`);
  expect(written(tracker, range).filter((page) => page % HUGE === 0)).toEqual(
    ours.map((page) => page * HUGE),
  );
});

live('memory has one tracker, whether it looks at all pages or at some', async () => {
  await using target = await startWrites();
  const range = await target.order('map 1 anon 1000');
  await target.order('write 1 0 1000 1');
  const sample = new PageSample(0.3, 12);
  using all = await trackProcess(target.pid, PATIENT);
  {
    using some = await trackProcess(target.pid, { ...PATIENT, sample });
    expect(some.skipped).toEqual(
      expect.arrayContaining([expect.objectContaining({ start: range.start, reason: 'busy' })]),
    );
    await target.order('write 1 0 1000 1');
    expect(written(some, range)).toEqual([]);
    expect(written(all, range)).toEqual(every(1000));
  }
  all[Symbol.dispose]();
  using some = await trackProcess(target.pid, { ...PATIENT, sample });
  await target.order('write 1 0 1000 1');
  expect(written(some, range)).toEqual(inSample(sample, range, every(1000)));
});

live('by soft-dirty bits there is none', async () => {
  const sample = new PageSample(0.5);
  await expect(trackProcess('self', { provider: 'fallback', sample })).rejects.toMatchObject({
    code: 'EOPNOTSUPP',
    needs: 'Linux 6.7',
  } satisfies Partial<NotSupportedError>);
});
