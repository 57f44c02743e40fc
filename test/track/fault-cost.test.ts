/** What tracking costs those who are tracked, measured on this machine. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { CurrentLookCost } from '../../src/track/internal.js';
import { openDescriptors } from '../support/descriptors.js';
import { testWhere } from '../support/needs.js';

const live = testWhere('pagemap-scan', 'wp-async');

/** Page faults of this process so far that needed no disk. */
const faults = () => process.resourceUsage().minorPageFault;

live('a fault is measured, and measured again no more often than once a second', async () => {
  using cost = CurrentLookCost.open('writes')!;
  // Between a fast processor and a slow virtual machine under load.
  expect(cost.faultUs).toBeGreaterThan(0.05);
  expect(cost.faultUs).toBeLessThan(10_000);
  expect(cost.protectUs).toBeGreaterThan(0);
  await sleep(1100);
  const counts = [faults()];
  for (let time = 0; time < 2; time++) {
    cost.refresh();
    counts.push(faults());
  }
  const [before, once, twice] = counts as [number, number, number];
  expect(once - before).toBeGreaterThanOrEqual(32);
  expect(twice - once).toBeLessThan(32);
});

live('all who ask share one, and the last one takes it away', async () => {
  const before = openDescriptors();
  const first = CurrentLookCost.open('writes')!;
  const opened = openDescriptors();
  const second = CurrentLookCost.open('writes')!;
  expect(second).toBe(first);
  expect(openDescriptors()).toEqual(opened);
  first[Symbol.dispose]();
  await sleep(1100);
  const count = faults();
  second.refresh();
  expect(faults() - count).toBeGreaterThanOrEqual(32);
  expect(openDescriptors()).toEqual(opened);
  second[Symbol.dispose]();
  expect(openDescriptors()).toEqual(before);
});
