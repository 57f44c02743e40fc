import { afterEach, describe, expect, test, vi } from 'vitest';
import { PAGE_SIZE } from '../../abi/index.js';
import { ProcessError } from '../../live/index.js';
import type { Owner } from '../../owners/index.js';
import { Output } from '../output.js';
import { CostMeter } from './cost.js';
import { exitCodeOf, JsonSink, LineSink, type WatchSink, watchLoop } from './loop.js';
import type { Collected, WatchTracker } from './tracker.js';

/** A process that writes its first `pages` pages in each interval, and ends after `lives` of them. */
class FakeTracker implements WatchTracker {
  readonly pid = 1;
  readonly skipped = [];
  collects = 0;
  readonly #pages: number;
  readonly #lives: number;

  constructor(pages: number, lives = Number.POSITIVE_INFINITY) {
    this.#pages = pages;
    this.#lives = lives;
  }

  collect(visit?: (start: number, end: number) => void): Collected {
    if (this.collects >= this.#lives) throw new ProcessError('ended', 1, 'the process has ended');
    this.collects++;
    visit?.(0x1000, 0x1000 + this.#pages * PAGE_SIZE);
    return {
      elapsedMs: this.collects * 10,
      intervalMs: 10,
      scanMs: 0.5,
      writtenPages: this.#pages,
      mappings: [
        { start: 0x1000, end: 0x101000, name: '[heap]\x1b', writtenPages: this.#pages },
        { start: 0x201000, end: 0x301000, name: '', writtenPages: 0 },
      ],
    };
  }
}

const nothing: WatchSink = { ended: new Promise(() => undefined), interval() {}, [Symbol.dispose]() {} };

describe('the loop', () => {
  test('ends with the duration, and collects what came last', async () => {
    const tracker = new FakeTracker(3);
    const { end, summary } = await watchLoop(tracker, nothing, { intervalMs: 5, durationMs: 20 });
    expect(end).toBe('duration');
    expect(summary.intervals).toBe(tracker.collects);
    expect(summary.intervals).toBeGreaterThan(0);
    expect(summary.writtenPages).toBe(3 * tracker.collects);
    expect(summary.workingSet.distinctPages).toBe(3);
    expect(exitCodeOf(end, summary)).toBe(0);
  });

  test('ends with the process: as a failure only when nothing was measured', async () => {
    const some = await watchLoop(new FakeTracker(1, 3), nothing, { intervalMs: 1 });
    expect([some.end, some.summary.intervals, exitCodeOf(some.end, some.summary)]).toEqual([
      'process ended',
      3,
      0,
    ]);
    const none = await watchLoop(new FakeTracker(1, 0), nothing, { intervalMs: 1 });
    expect([none.error?.reason, exitCodeOf(none.end, none.summary)]).toEqual(['ended', 3]);
  });

  test('a budget makes intervals longer: at no time the process has paid more', async () => {
    const tracker = new FakeTracker(1, 6);
    const collect = tracker.collect.bind(tracker);
    // Dear at first, then cheap.
    tracker.collect = (visit) => ({ ...collect(visit), faultCount: tracker.collects <= 3 ? 4 : 0 });
    const cost = new CostMeter({ faultUs: 1000, protectUs: 0, singleUs: 0 }, () => undefined);
    const began = performance.now();
    const shares: number[] = [];
    const lates: boolean[] = [];
    const sink: WatchSink = {
      ...nothing,
      interval(_, summary) {
        shares.push(cost.totalMs / (performance.now() - began));
        lates.push(summary.isLate);
      },
    };
    await watchLoop(tracker, sink, { intervalMs: 2, cost, budget: 0.1 });
    // Nothing was known of the first one. Timers may be a millisecond early.
    expect(shares).toHaveLength(6);
    for (const share of shares.slice(1)) expect(share).toBeLessThanOrEqual(0.105);
    expect(cost.totalMs).toBe(12);
  });

  test('an interrupt ends it at once, after a last collect', async () => {
    const tracker = new FakeTracker(1);
    const { end, summary } = await watchLoop(tracker, nothing, { intervalMs: 1e6 }, Promise.resolve());
    expect([end, tracker.collects, exitCodeOf(end, summary)]).toEqual(['interrupt', 1, 130]);
  });

  test('while it waits, its sink is called, with the time that is left', async () => {
    let quit: (how: 'quit') => void = () => undefined;
    const ended = new Promise<'quit'>((resolve) => {
      quit = resolve;
    });
    const left: number[] = [];
    const sink = {
      ...nothing,
      ended,
      waiting(leftMs: number) {
        left.push(leftMs);
        if (left.length === 2) quit('quit');
      },
    };
    const { summary } = await watchLoop(new FakeTracker(1), sink, { intervalMs: 1e6 });
    expect([left.length, summary.intervals]).toEqual([2, 1]);
    expect(left[0]).toBeLessThan(1e6);
    expect(left[1]).toBeLessThan(left[0]!);
  });

  test('a key to leave does, too', async () => {
    const quitting = { ...nothing, ended: Promise.resolve('quit' as const) };
    const { end, summary } = await watchLoop(new FakeTracker(1), quitting, { intervalMs: 1e6 });
    expect([end, exitCodeOf(end, summary)]).toEqual(['quit', 0]);
  });

  test('other errors are not swallowed', async () => {
    const broken = new FakeTracker(1);
    broken.collect = () => {
      throw new Error('broken');
    };
    await expect(watchLoop(broken, nothing, { intervalMs: 1 })).rejects.toThrow('broken');
  });
});

describe('what is written', () => {
  let text = '';
  const capture = () => {
    text = '';
    vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      text += chunk;
      return true;
    });
    return new Output();
  };
  afterEach(() => vi.restoreAllMocks());

  test('as JSON, a line an interval, as the contract says', async () => {
    await watchLoop(new FakeTracker(2, 2), new JsonSink(capture(), true, () => 3), { intervalMs: 1 });
    const lines = text.trim().split('\n');
    expect(lines).toHaveLength(2);
    const { late: _, ...line } = JSON.parse(lines[1]!);
    expect(line).toEqual({
      schema: 'pagemap-scan/watch@1',
      elapsedMs: 20,
      intervalMs: 10,
      scanMs: 0.5,
      writtenPages: 2,
      writtenBytes: 8192,
      untrackedMappings: 3,
      mappings: [{ start: '0x1000', end: '0x101000', name: '[heap]\x1b', owner: null, writtenPages: 2 }],
      regions: [{ start: '0x1000', end: '0x3000', pages: 2 }],
    });
    await watchLoop(new FakeTracker(2, 1), new JsonSink(capture(), false, () => 0), { intervalMs: 1 });
    expect(JSON.parse(text)).not.toHaveProperty('regions');
  });

  test('longer than asked for is late, everywhere, whatever kept it', async () => {
    const slow = new FakeTracker(2, 2);
    const { collect } = slow;
    slow.collect = (visit) => ({ ...collect.call(slow, visit), intervalMs: 40 });
    const { summary } = await watchLoop(slow, new JsonSink(capture(), false, () => 0), { intervalMs: 5 });
    expect(
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).late),
    ).toEqual([true, true]);
    expect(summary.lateIntervals).toBe(2);
    expect(summary.lines()[0]).toContain('2 late');
  });

  test('as text, a line an interval, harmless', async () => {
    const { summary } = await watchLoop(new FakeTracker(2, 2), new LineSink(capture(), true), {
      intervalMs: 1,
    });
    expect(text.split('\n')[0]).toBe(
      '    0.0 s    800 KiB/s          2 pages  scan 0.5 ms  [heap]\\x1b 8 KiB',
    );
    expect(text).toContain('0x1000-0x3000  2 pages');
    expect(summary.lines()).toEqual([
      expect.stringMatching(/^2 intervals in 0.0 s, \S+ late$/),
      'written 16 KiB: 800 KiB/s on average, 800 KiB/s at most',
      'distinct pages 2 (8 KiB)',
      'write working set of 1 interval: 8 KiB on average, 8 KiB at most',
      'most written: [heap]\\x1b 16 KiB',
    ]);
  });

  test('by owner: what one owner has is added up, with where most of it is', async () => {
    class Owned extends FakeTracker {
      override collect(visit?: (start: number, end: number) => void): Collected {
        const old: Owner = { name: '[v8 old space]', kind: 'v8-old', sure: true };
        const other: Owner = { name: '[stack: a\x1b 5]', kind: 'stack', sure: false };
        const mappings = [1, 2, 3, 4, 5].map((index) => ({
          start: index * 0x100000,
          end: index * 0x100000 + 0x10000,
          name: '',
          writtenPages: index,
        }));
        const ownerOf = ({ start }: { start: number }) =>
          [undefined, old, other, old, undefined][start / 0x100000 - 1];
        return { ...super.collect(visit), writtenPages: 15, mappings, ownerOf };
      }
    }
    const { summary } = await watchLoop(new Owned(1, 2), new LineSink(capture(), false), { intervalMs: 1 });
    expect(text.split('\n')[0]).toMatch(
      / {2}\[v8 old space\] 24 KiB, \[anon\] at 0x500000 20 KiB, \[stack: a\\x1b 5\?\] 12 KiB$/,
    );
    expect(summary.lines().at(-1)).toBe(
      'most written: [v8 old space] 48 KiB (2 mappings, most at 0x400000), [anon] at 0x500000 40 KiB, [stack: a\\x1b 5?] 24 KiB, [anon] at 0x100000 8 KiB',
    );
    await watchLoop(new Owned(1, 1), new JsonSink(capture(), false, () => 0), { intervalMs: 1 });
    expect(JSON.parse(text).mappings.map(({ owner }: { owner: string | null }) => owner)).toEqual([
      null,
      '[v8 old space]',
      '[stack: a\x1b 5?]',
      '[v8 old space]',
      null,
    ]);
  });
});
