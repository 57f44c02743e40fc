import { describe, expect, test } from 'vitest';
import { paidAfterMs, requireCost, sampleOf, stretchedAdvice } from './budget.js';
import { CostMeter } from './cost.js';

/** What so many page faults in the last interval, of 10 µs each, are. */
function costOf(...faultCounts: number[]): CostMeter {
  const cost = new CostMeter({ faultUs: 10, protectUs: 0 }, () => undefined);
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
    // A large sample costs the tool more than all pages do.
    expect(advice(10, 98_000)).toContain('--sample 10% ');
    expect(advice(135_000, 9_900)).toBeUndefined();
    expect(stretchedAdvice({ cost: costOf(1) }, 98_000, 1000)).toBeUndefined();
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
