import { describe, expect, test } from 'vitest';
import { random } from '../../test/support/random.mjs';
import { PAGE_SIZE } from '../abi/index.js';
import { AccessAges } from './access-ages.js';
import { PageSample } from './sample.js';

const LIMITS = [1000, 2000, 5000];

describe('ages of pages', () => {
  test('agree with a list of all pages, whatever is accessed when', () => {
    const next = random(7);
    const pages = 3000;
    const ages = new AccessAges();
    const last = new Float64Array(pages);
    let now = 0;
    for (let interval = 0; interval < 40; interval++) {
      const touched: [number, number][] = [];
      for (let run = 0; run < 5; run++) {
        const start = Math.floor(next() * pages);
        const end = Math.min(pages, start + 1 + Math.floor(next() * 100));
        touched.push([start, end]);
        ages.add(start * PAGE_SIZE, end * PAGE_SIZE);
      }
      // Intervals are not all of one length.
      now += 200 + Math.floor(next() * 300);
      ages.endInterval(now);
      for (const [start, end] of touched) last.fill(now, start, end);
    }
    expect(ages.elapsedMs).toBe(now);
    const classes = new Int8Array(pages).fill(-1);
    ages.visit(0, pages * PAGE_SIZE, 0, LIMITS, (start, end, index) => {
      for (let page = start / PAGE_SIZE; page < end / PAGE_SIZE; page++) {
        expect(classes[page]).toBe(-1);
        classes[page] = index;
      }
    });
    for (let page = 0; page < pages; page++) {
      const age = now - last[page]!;
      expect(ages.ageMs(page * PAGE_SIZE)).toBe(age);
      expect(classes[page]).toBe(LIMITS.filter((limit) => age >= limit).length);
    }
  });

  test('are of pages of the size that it is told', () => {
    const ages = new AccessAges(undefined, 16384);
    ages.add(16384, 3 * 16384);
    ages.endInterval(1500);
    const runs: number[][] = [];
    ages.visit(0, 4 * 16384, 0, [1000], (start, end, index) =>
      runs.push([start / 16384, end / 16384, index]),
    );
    expect(runs).toEqual([
      [0, 1, 1],
      [1, 3, 0],
      [3, 4, 1],
    ]);
  });

  test('runs are as long as they can be', () => {
    const ages = new AccessAges();
    ages.add(0, 10 * PAGE_SIZE);
    ages.endInterval(1500);
    ages.add(2 * PAGE_SIZE, 4 * PAGE_SIZE);
    ages.endInterval(3000);
    const runs: number[][] = [];
    ages.visit(0, 20 * PAGE_SIZE, 0, LIMITS, (start, end, index) =>
      runs.push([start / PAGE_SIZE, end / PAGE_SIZE, index]),
    );
    expect(runs).toEqual([
      [0, 2, 1],
      [2, 4, 0],
      [4, 10, 1],
      [10, 20, 2],
    ]);
  });

  test('of a sample, only its pages are told', () => {
    const sample = new PageSample(0.1, 3);
    const ages = new AccessAges(sample);
    ages.endInterval(10_000);
    let told = 0;
    ages.visit(0, 10_000 * PAGE_SIZE, 0, LIMITS, (start, end, index) => {
      expect(index).toBe(3);
      told += (end - start) / PAGE_SIZE;
    });
    let sampled = 0;
    sample.visit(0, 10_000 * PAGE_SIZE, 0, (start, end) => {
      sampled += (end - start) / PAGE_SIZE;
    });
    expect(told).toBe(sampled);
    expect(told).toBeLessThan(2000);
  });
});
