import { describe, expect, test } from 'vitest';
import { ProcessError } from '../../live/internal.js';
import type { Interval, PageSample, ProcessTracker } from '../../track/index.js';
import { CostMeter } from './cost.js';
import { openWithin } from './trial.js';

/** 10 µs a page; the process has a gibibyte and writes `writtenPages` of it in a trial. */
async function choose(writtenPages: number | Error, budget = 0.02, goesOn = true) {
  const opened: (number | undefined)[] = [];
  let [isOpen, waitedMs] = [0, 0];
  const open = async (sample?: PageSample): Promise<ProcessTracker> => {
    opened.push(sample?.share);
    isOpen++;
    return {
      collect(): Interval {
        if (typeof writtenPages !== 'number') throw writtenPages;
        const faultCount = Math.round(writtenPages * sample!.share);
        return { elapsedMs: 500, intervalMs: 500, scanMs: 1, writtenPages, faultCount, mappings: [] };
      },
      [Symbol.dispose]: () => isOpen--,
    } as unknown as ProcessTracker;
  };
  const cost = new CostMeter({ faultUs: 10, protectUs: 0, singleUs: 0 }, () => undefined);
  const pause = async (ms: number) => {
    waitedMs += ms;
    return goesOn;
  };
  const chosen = openWithin({ cost, budget }, 1000, () => 262_144, open, pause);
  const share = await chosen.then(
    ({ sample }) => sample?.share ?? 1,
    (error: Error) => error.message,
  );
  return { opened, share, isOpen, waitedMs, costMs: cost.totalMs };
}

describe('a watch within a budget', () => {
  test('looks at all pages at once where nothing is bounded', async () => {
    expect(await choose(0, 1)).toMatchObject({ opened: [undefined], share: 1, isOpen: 1, waitedMs: 0 });
  });

  test('goes on with what it tried where a process writes little', async () => {
    const { opened, share, ...rest } = await choose(20);
    expect(opened).toEqual([share]);
    expect(share).toBe(0.038);
    expect(rest).toMatchObject({ isOpen: 1, waitedMs: 500 });
  });

  test('looks at a smaller one of a process that writes much, and what the trial cost is paid for', async () => {
    const { opened, share, isOpen, costMs } = await choose(100_000);
    expect(opened).toEqual([0.038, 0.0075]);
    expect([share, isOpen]).toEqual([opened[1], 1]);
    expect(costMs).toBeCloseTo(100_000 * 0.038 * 0.01, 0);
  });

  test('goes on with the sample that it tried where that is about as large', async () => {
    const { opened, share, isOpen } = await choose(30_000);
    expect(opened).toEqual([share]);
    expect(isOpen).toBe(1);
  });

  test('does not begin anew when it is to end', async () => {
    expect(await choose(100_000, 0.02, false)).toMatchObject({ opened: [0.038], isOpen: 1, costMs: 0 });
  });

  test('a process that has ended is told of later; another error leaves nothing', async () => {
    const ended = new ProcessError('ended', 1, 'the process has ended');
    expect(await choose(ended)).toMatchObject({ opened: [0.038], isOpen: 1 });
    expect(await choose(new Error('no memory'))).toMatchObject({ share: 'no memory', isOpen: 0 });
  });
});
