/**
 * Tracking by soft-dirty bits, for kernels before 6.7. Where the kernel keeps none, that it is refused; the rest runs in virtual
 * machines (npm run test:vm -- --kernel 6.1 test/track/soft-dirty.test.ts).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ProcessHandle, stopProcess } from '../../src/live/index.js';
import { type ProcessTracker, trackBySoftDirty, trackProcess } from '../../src/track/internal.js';
import { lostInProcess } from '../support/lost.mjs';
import { nativeProgram } from '../support/native.js';
import { available, testWhere } from '../support/needs.js';
import { addPages, every, type Range } from '../support/pages.js';
import { startWrites } from '../support/writes.js';

const kept = available('soft-dirty');
const here = testWhere('fallback', 'ptrace', 'compiler');
// Kernels without these bits are the rule: that the tests of them are left out there is no claim about this machine.
const tracking = kept ? here : (test.skip as unknown as typeof test);
const refusing = kept ? (test.skip as unknown as typeof test) : here;

/** The pages of `range` that were written since the last time. */
function written(tracker: ProcessTracker, range: Range): number[] {
  const pages: number[] = [];
  tracker.collect((start, end) => {
    addPages(pages, range, start, end);
  });
  return pages;
}

refusing('is refused, with the reason, where the kernel keeps no such bits', async () => {
  await using target = await startWrites();
  expect(() => trackBySoftDirty(target.pid)).toThrow(/EOPNOTSUPP.*CONFIG_MEM_SOFT_DIRTY/);
  // Nothing is left: it could be stopped at once.
  using handle = new ProcessHandle(target.pid);
  using stopped = stopProcess(handle);
  expect(stopped.tids).toEqual([target.pid]);
});

describe.each(['anon', 'file', 'thp'])('%s memory', (kind) => {
  tracking('exactly what is written after the attach, interval by interval', async () => {
    await using target = await startWrites();
    const range = await target.order(`map 1 ${kind} 2048`);
    await target.order('write 1 0 2048 1');
    using tracker = trackBySoftDirty(target.pid);
    expect(written(tracker, range)).toEqual([]);
    const pages = every(100, 3, 7);
    await target.order('write 1 3 100 7');
    const seen = written(tracker, range);
    if (kind === 'thp') expect(seen).toEqual(expect.arrayContaining(pages));
    else expect(seen).toEqual(pages);
    expect(written(tracker, range)).toEqual([]);
    await target.order('kread 1 511 2');
    expect(written(tracker, range)).toEqual(expect.arrayContaining([511, 512]));
  });
});

tracking('shared memory is not tracked, and said to be so', async () => {
  await using target = await startWrites();
  const range = await target.order('map 1 shared 16');
  using tracker = trackBySoftDirty(target.pid);
  await target.order('write 1 0 16 1');
  expect(written(tracker, range)).toEqual([]);
  expect(tracker.skipped).toContainEqual(
    expect.objectContaining({ start: range.start, end: range.end, reason: 'shared' }),
  );
});

tracking('a new mapping counts as a whole once, and its row says that it is new', async () => {
  await using target = await startWrites();
  using tracker = trackBySoftDirty(target.pid);
  const range = await target.order('map 1 anon 64');
  await target.order('write 1 5 3 1');
  const { mappings } = tracker.collect();
  const row = mappings.find(({ start, end }) => start <= range.start && end >= range.end);
  expect(row).toMatchObject({ isNew: true });
  expect(row!.writtenPages).toBeGreaterThanOrEqual(3);
  await target.order('write 1 6 1 1');
  expect(written(tracker, range)).toEqual([6]);
});

tracking('a second tracker is refused, until the first is done', async () => {
  await using target = await startWrites();
  {
    using _first = trackBySoftDirty(target.pid);
    expect(() => trackBySoftDirty(target.pid)).toThrow(/EBUSY.*only one can/);
  }
  using second = trackBySoftDirty(target.pid);
  expect(second.collect().intervalMs).toBeGreaterThan(0);
});

tracking('the end of the process is told, and nothing is left behind', async () => {
  const target = await startWrites();
  const before = readdirSync('/proc/self/fd').length;
  {
    using tracker = trackBySoftDirty(target.pid);
    expect(tracker.ended).toBe(false);
    const status = readFileSync(`/proc/${target.pid}/status`, 'utf8');
    expect(status).toMatch(/TracerPid:\s+0/);
    await target[Symbol.asyncDispose]();
    expect(() => tracker.collect()).toThrow(/ended/);
    expect(tracker.ended).toBe(true);
  }
  expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before);
});

describe('chosen by the environment', () => {
  beforeAll(() => {
    process.env['PMSCAN_PROVIDER'] = 'fallback';
  });
  afterAll(() => {
    delete process.env['PMSCAN_PROVIDER'];
  });

  tracking('trackProcess takes it', async () => {
    await using target = await startWrites();
    using tracker = await trackProcess(target.pid);
    expect(tracker.provider).toBe('fallback');
  });

  tracking('no write of six threads at full speed is lost', async () => {
    const tally = await lostInProcess(nativeProgram('writers', ['-pthread']), 200_000);
    expect(tally).toMatchObject({ lost: 0, invented: 0 });
    expect(tally.reported).toBeGreaterThan(100);
  });
});
