import { describe, expect, test } from 'vitest';
import {
  paidAfterMs,
  requireCost,
  sampledAdvice,
  sampleOf,
  stretchedAdvice,
  trialShare,
  usualShare,
} from './budget.js';
import { CostMeter } from './cost.js';

/** What so many page faults in the last interval, of 10 µs each, are. */
function costOf(...faultCounts: number[]): CostMeter {
  const cost = new CostMeter({ faultUs: 10, protectUs: 0, singleUs: 0 }, () => undefined);
  for (const faultCount of faultCounts)
    cost.add({ elapsedMs: 0, intervalMs: 0, scanMs: 0, writtenPages: 0, mappings: [], faultCount });
  return cost;
}

describe('a budget', () => {
  test('is kept when what was spent, and as much once more as last time, is paid for', () => {
    expect(paidAfterMs({ cost: costOf(1000, 3000), budget: 0.02 })).toBe((40 + 30) / 0.02);
    expect(paidAfterMs({ cost: costOf(1000), budget: 1 })).toBe(0);
    expect(paidAfterMs({ cost: costOf(1000) })).toBe(0);
    expect(paidAfterMs({ budget: 0.02 })).toBe(0);
  });

  test('tells of intervals that are much longer for it, and what to do', () => {
    const advice = (faults: number, nextMs: number, budget = 0.02) =>
      stretchedAdvice({ cost: costOf(faults), budget }, nextMs, 1000);
    expect(advice(135_000, 98_000)).toBe(
      'to stay within --budget 2 %, the next interval takes 98.0 s; --sample 1% looks at a random share of the pages, and more often',
    );
    expect(advice(1_350_000, 980_000)).toContain('--sample 0.1% ');
    // A page of a sample costs four times as much here.
    const cost = new CostMeter({ faultUs: 10, protectUs: 0, singleUs: 30 }, () => undefined);
    cost.add({ elapsedMs: 0, intervalMs: 0, scanMs: 0, writtenPages: 0, mappings: [], faultCount: 50_000 });
    expect(stretchedAdvice({ cost, budget: 0.02 }, 98_000, 1000)).toContain('--sample 1% ');
    // A large sample costs the tool more than all pages do.
    expect(advice(10, 98_000)).toContain('--sample 10% ');
    expect(advice(135_000, 9_900)).toBeUndefined();
    expect(stretchedAdvice({ cost: costOf(1) }, 98_000, 1000)).toBeUndefined();
  });

  test('looks at all pages where ten intervals pay for all, else tries what five pay for', () => {
    const share = (pages: number, intervalMs = 1000) =>
      trialShare({ cost: costOf(), budget: 0.02 }, intervalMs, pages);
    // 20 ms an interval, and 10 µs a page.
    expect(share(20_000)).toBeUndefined();
    expect(share(400_000)).toBe(0.025);
    expect(share(400_000, 100)).toBe(0.0025);
    // A large sample costs the tool more than all pages do, and a hundred pages are the least.
    expect(share(40_000)).toBe(0.1);
    expect(share(400_000, 1)).toBe(0.00025);
    // Pages of a sample are protected one by one, which costs the process more, also at first.
    const cost = new CostMeter({ faultUs: 10, protectUs: 0, singleUs: 30 }, () => undefined);
    const limits = { cost, budget: 0.02 };
    expect(trialShare(limits, 1000, 20_000)).toBeUndefined();
    expect(trialShare(limits, 1000, 400_000)).toBe(0.0035);
    cost.addFirst(1000);
    expect(cost.totalMs).toBe(30);
  });

  test('keeps intervals short with a share that one pays for', () => {
    const usual = (writtenPages: number, errorPages: number, intervalMs = 1000) =>
      usualShare({ cost: costOf(), budget: 0.02 }, 1000, 3_000_000, {
        ...{ elapsedMs: 500, intervalMs, scanMs: 1, mappings: [] },
        ...{ writtenPages, errorPages },
      });
    // Three quarters of 20 ms pay for 1,500 pages.
    expect(usual(20_000, 10_000)).toBeCloseTo(0.05);
    expect(usual(10_000, 5000, 500)).toBeCloseTo(0.05);
    expect(usual(1_000_000, 500_000)).toBeCloseTo(0.001);
    expect(usual(100, 50)).toBe(0.1);
    // No more than there are.
    expect(usual(2_000_000, 2_000_000)).toBe(usual(3_000_000, 0));
    expect(usual(0, 0)).toBe(0.1);
    expect(sampledAdvice(0.02, 0.001)).toBe(
      'to stay within --budget 2 %, a random 0.1 % of the pages is looked at, and numbers are estimates; --sample 100% looks at all of them, in longer intervals',
    );
  });

  test('needs to know what is spent, unless it is no bound', () => {
    expect(() => requireCost({ budget: 0.1 })).toThrow(/cannot be measured here/);
    requireCost({ budget: 1 });
    requireCost({});
    requireCost({ budget: 0.1, cost: costOf() });
  });

  test('a sample of all pages is none', () => {
    expect([sampleOf(undefined), sampleOf(1), sampleOf(0.1)?.share]).toEqual([undefined, undefined, 0.1]);
  });
});
