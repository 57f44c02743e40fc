import { describe, expect, test } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import { PAGE_SIZE } from '../abi/index.js';
import { WriteWorkingSet } from './working-set.js';

describe('WriteWorkingSet', () => {
  test('agrees with sets of pages, window by window', () => {
    const windows = [1, 2, 5, 20];
    const set = new WriteWorkingSet(windows);
    const next = randomBelow(1234567);
    const history: Set<number>[] = [];
    for (let interval = 0; interval < 60; interval++) {
      const written = new Set<number>();
      for (let write = 0; write < 8; write++) {
        // Around a chunk's border, far up in the address space; the same page twice now and then.
        const page = 0x7f0000000 + 500 + next(40);
        const pages = 1 + next(4);
        set.add(page * PAGE_SIZE, (page + pages) * PAGE_SIZE);
        for (let offset = 0; offset < pages; offset++) written.add(page + offset);
      }
      history.push(written);
      set.endInterval();
    }
    expect(set.distinctPages).toBe(new Set(history.flatMap((written) => [...written])).size);
    for (const [index, length] of windows.entries()) {
      const complete = [];
      let peak = 0;
      for (let end = 1; end <= history.length; end++) {
        const inside = history.slice(Math.max(0, end - length), end).flatMap((written) => [...written]);
        const pages = new Set(inside).size;
        peak = Math.max(peak, pages);
        if (end >= length) complete.push(pages);
      }
      const mean = complete.reduce((sum, pages) => sum + pages, 0) / complete.length;
      expect(set.sizes()[index]).toMatchObject({ intervals: length, peakPages: peak });
      expect(set.sizes()[index]!.meanPages).toBeCloseTo(mean, 9);
    }
  });

  test('counts in pages of the size that it is told', () => {
    const [small, large] = [new WriteWorkingSet([1], PAGE_SIZE), new WriteWorkingSet([1], 16384)];
    // Across the border of a chunk, of either.
    for (const set of [small, large]) set.add(16384 * 510, 16384 * 514);
    expect([small.distinctPages, large.distinctPages]).toEqual([16, 4]);
    expect([511, 513, 514].map((page) => large.lastInterval(page * 16384 + 9000))).toEqual([1, 1, 0]);
  });

  test('a window that never filled reports what there was', () => {
    const set = new WriteWorkingSet([10]);
    set.add(0, 3 * PAGE_SIZE);
    set.endInterval();
    expect(set.sizes()).toEqual([{ intervals: 10, meanPages: 3, peakPages: 3 }]);
    expect(new WriteWorkingSet().sizes()).toMatchObject([
      { peakPages: 0 },
      { peakPages: 0 },
      { peakPages: 0 },
    ]);
  });
});
