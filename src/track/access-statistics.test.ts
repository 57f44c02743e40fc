import { describe, expect, test } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import { PAGE_SIZE } from '../abi/index.js';
import { AddressSpace } from '../sim/index.js';
import { AccessStatistics } from './access-statistics.js';
import { PageSample } from './sample.js';

const FIRST = 0x7e0000000000;

/** A simulated process with resident pages, and what to measure it with. */
function begin(pages: number, windowsMs: readonly number[], sample?: PageSample) {
  const space = new AddressSpace({ profile: '7.3' });
  space.mmap({ address: FIRST, lengthBytes: pages * PAGE_SIZE });
  space.write(FIRST, pages * PAGE_SIZE);
  const mappings = [{ start: FIRST, end: FIRST + pages * PAGE_SIZE, name: '' }];
  return { space, mappings, statistics: new AccessStatistics({ intervalMs: 1000, windowsMs, sample }) };
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('access statistics', () => {
  test('windows and idleness agree with sets of pages', () => {
    const windowsMs = [1000, 3000, 10_000];
    const { space, mappings, statistics } = begin(600, windowsMs);
    const next = randomBelow(42);
    const history: Set<number>[] = [];
    for (let interval = 0; interval < 40; interval++) {
      const touched = new Set<number>();
      for (let run = next(5); run > 0; run--) {
        const page = next(500);
        const pages = 1 + next(30);
        statistics.add(FIRST + page * PAGE_SIZE, FIRST + (page + pages) * PAGE_SIZE);
        for (let index = 0; index < pages; index++) touched.add(page + index);
      }
      statistics.endInterval();
      history.push(touched);
    }
    const { residentPages, windows, idle, mappings: rows } = statistics.report(space.pagemap, mappings);
    expect(residentPages).toBe(600);
    for (const [index, ms] of windowsMs.entries()) {
      const length = ms / 1000;
      const sizes = history
        .slice(length - 1)
        .map((_, from) => new Set(history.slice(from, from + length).flatMap((set) => [...set])).size);
      const sorted = [...sizes].sort((a, b) => a - b);
      expect(windows[index]).toEqual({
        ms,
        meanPages: Math.round(mean(sizes)),
        p95Pages: sorted[Math.ceil(sizes.length * 0.95) - 1],
        maxPages: Math.max(...sizes),
        errorPages: 0,
      });
    }
    const idleFor = (intervals: number) => {
      const recent = new Set(history.slice(history.length - intervals).flatMap((set) => [...set]));
      return 600 - recent.size;
    };
    expect(idle).toEqual([1, 3, 10, 40].map((s) => ({ atLeastMs: s * 1000, pages: idleFor(s) })));
    const never = idleFor(40);
    expect(rows).toEqual([
      {
        start: FIRST,
        end: mappings[0]!.end,
        name: '',
        residentPages: 600,
        accessedPages: 600 - never,
        idlePages: never,
      },
    ]);
  });

  test('a window that was never complete is not told', () => {
    const { statistics } = begin(10, [1000, 10_000]);
    statistics.add(FIRST, FIRST + PAGE_SIZE);
    statistics.endInterval();
    expect(statistics.windows().map(({ ms }) => ms)).toEqual([1000]);
  });

  test('of samples, the true numbers lie within the errors of most', () => {
    let within = 0;
    const samples = 60;
    for (let seed = 1; seed <= samples; seed++) {
      const sample = new PageSample(0.1, seed);
      const { space, mappings, statistics } = begin(8000, [1000], sample);
      sample.visit(FIRST, FIRST + 3000 * PAGE_SIZE, 0, (start, end) => statistics.add(start, end));
      statistics.endInterval();
      const { windows, idle, residentPages } = statistics.report(space.pagemap, mappings);
      const { meanPages, errorPages } = windows[0]!;
      expect(Math.abs(residentPages - 8000)).toBeLessThan(1200);
      expect(Math.abs(idle[0]!.pages / residentPages - 5 / 8)).toBeLessThan(0.1);
      if (Math.abs(meanPages - 3000) <= errorPages) within++;
    }
    expect(within / samples).toBeGreaterThan(0.85);
  });
});
