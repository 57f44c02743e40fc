import { describe, expect, test } from 'vitest';
import { affordableShare, checkSampleUsage, requireCost } from './afford.js';
import { CostMeter } from './cost.js';

describe('pages that may be looked at', () => {
  const cheap = { budget: 0.02, intervalMs: 1000, faultUs: 1 };

  test('all of them, where four intervals pay for that', () => {
    expect(affordableShare(80_000, cheap)).toBe(1);
    expect(affordableShare(160_000, cheap)).toBe(0.5);
  });

  test.each([
    ['a larger budget', { ...cheap, budget: 0.04 }, 2],
    ['a longer interval', { ...cheap, intervalMs: 5000 }, 5],
    ['dearer page faults', { ...cheap, faultUs: 16 }, 1 / 16],
  ])('with %s, more or less', (_, circumstances, times) => {
    expect(affordableShare(10_000_000, circumstances)).toBeCloseTo(
      affordableShare(10_000_000, cheap) * times,
      12,
    );
  });

  test('never so few that they tell nothing', () => {
    expect(affordableShare(1_000_000, { budget: 0.0001, intervalMs: 1, faultUs: 20 })).toBe(0.001);
    expect(affordableShare(500, { budget: 0.0001, intervalMs: 1, faultUs: 20 })).toBe(1);
    expect(affordableShare(0, cheap)).toBe(1);
  });

  test('all of them without a bound', () => {
    expect(affordableShare(1e9, { budget: 1, intervalMs: 1, faultUs: 100 })).toBe(1);
  });

  test('options that exclude each other, and a budget that nobody can keep, are refused', () => {
    expect(() => checkSampleUsage({ sample: 0.1, exact: true })).toThrow(/--exact or --sample, not both/);
    checkSampleUsage({ sample: 0.1 });
    checkSampleUsage({ exact: true, budget: 0.1 });
    expect(() => requireCost(0.1, undefined)).toThrow(/cannot be measured here/);
    requireCost(undefined, undefined);
    requireCost(0.1, new CostMeter(1, () => undefined));
  });
});
