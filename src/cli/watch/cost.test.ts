import { expect, test } from 'vitest';
import { CostMeter, shortTime } from './cost.js';

const collected = (faultCount: number, stopMs?: number) => ({
  ...{ elapsedMs: 1000, intervalMs: 1000, scanMs: 1, writtenPages: faultCount, mappings: [] },
  ...{ faultCount, stopMs },
});

test('faults and stops add up, and are told as a share of the time that the process ran', () => {
  let ranMs: number | undefined = 500;
  const meter = new CostMeter({ faultUs: 10, protectUs: 0, singleUs: 0 }, () => ranMs);
  ranMs = 1500;
  meter.add(collected(2000, 5));
  expect([meter.latestMs, meter.totalMs, meter.share]).toEqual([25, 25, 0.025]);
  expect(meter.warning()).toBeUndefined();
  meter.add(collected(10_000));
  expect([meter.latestMs, meter.totalMs, meter.share]).toEqual([100, 125, 0.125]);
  expect(meter.warning()).toMatch(/about 13 % of the time that it runs: a page fault takes 10 µs here/);
  // Once is enough.
  expect(meter.warning()).toBeUndefined();
  expect(meter.lines()).toEqual([
    'cost to the process: about 125 ms, 13 % of the time that it ran (12,000 page faults of 10 µs, and waits while pages are protected)',
  ]);
  // It has ended: what was known stays.
  ranMs = undefined;
  meter.add(collected(0));
  expect(meter.share).toBe(0.125);
});

test('the time in which pages are protected counts, but not more of it than these pages take', () => {
  const meter = new CostMeter({ faultUs: 1, protectUs: 0.5, singleUs: 3 }, () => undefined);
  const ofScan = (scanMs: number) => {
    meter.add({ ...collected(4000), scanMs });
    return meter.latestMs;
  };
  expect([ofScan(1), ofScan(2), ofScan(20)]).toEqual([5, 6, 6]);
  // Those of a sample are protected one by one.
  meter.add({ ...collected(4000), scanMs: 20, errorPages: 10 });
  expect(meter.latestMs).toBe(16);
});

test('what a fault costs is asked for again with each interval, and whoever told it is let go', () => {
  const told: string[] = [];
  const cost = {
    ...{ faultUs: 1, protectUs: 0, singleUs: 0 },
    refresh() {
      this.faultUs *= 2;
      told.push('refresh');
    },
    [Symbol.dispose]: () => void told.push('dispose'),
  };
  {
    using meter = new CostMeter(cost, () => undefined);
    meter.add(collected(1000));
    meter.add(collected(1000));
    expect([meter.latestMs, meter.totalMs]).toEqual([4, 6]);
  }
  expect(told).toEqual(['refresh', 'refresh', 'dispose']);
});

test('a process that did not run has no share, and more than all of its time is all of it', () => {
  let ranMs = 0;
  const meter = new CostMeter({ faultUs: 1, protectUs: 0, singleUs: 0 }, () => ranMs);
  meter.add(collected(1000));
  expect(meter.share).toBeUndefined();
  expect(meter.lines()).toEqual([
    'cost to the process: about 1.0 ms (1,000 page faults of 1.0 µs, and waits while pages are protected)',
  ]);
  ranMs = 0.5;
  meter.add(collected(0));
  expect(meter.share).toBe(1);
});

test.each([
  [0.0012, '1.2 µs'],
  [0.25, '250 µs'],
  [3.14, '3.1 ms'],
  [42, '42 ms'],
  [12_345, '12.3 s'],
])('%d ms is %s', (ms, text) => expect(shortTime(ms)).toBe(text));
