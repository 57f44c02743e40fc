import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../abi/index.js';
import type { Mapping } from '../proc/index.js';
import { NO_TRAITS } from './filter.js';
import type { Planned } from './plan.js';
import { addressIn, findViews } from './views.js';

/** All in pages: a mapping from `start` on, of so many pages of a file from `offset` on. */
function planned(
  start: number,
  pages: number,
  offset: number,
  inode = 7,
  share: Planned['share'] = 'all',
): Planned {
  const mapping: Mapping = {
    start: start * PAGE_SIZE,
    end: (start + pages) * PAGE_SIZE,
    perms: 'rw-s',
    offset: offset * PAGE_SIZE,
    device: { major: 0, minor: 1 },
    inode,
    name: '/memfd:heap',
    deleted: true,
  };
  return { mapping, traits: NO_TRAITS, known: true, share };
}

const found = (...plan: Planned[]) =>
  [...findViews(plan, () => true)].map(([start, whole]) => [
    start / PAGE_SIZE,
    whole.mapping.start / PAGE_SIZE,
  ]);

describe('findViews', () => {
  test('of equal mappings, the lowest one has the memory of all', () => {
    expect(found(planned(10, 5, 0), planned(30, 5, 0), planned(50, 5, 0))).toEqual([
      [30, 10],
      [50, 10],
    ]);
  });

  test('a part of a longer one is a view, wherever it is', () => {
    const [part, whole] = [planned(10, 2, 3), planned(30, 8, 1)];
    expect(found(part, whole)).toEqual([[10, 30]]);
    expect(addressIn(whole, part) / PAGE_SIZE).toBe(32);
  });

  test('what lies only partly in another one is not', () => {
    expect(found(planned(10, 5, 0), planned(30, 5, 3))).toEqual([]);
    expect(found(planned(10, 5, 0), planned(30, 5, 5))).toEqual([]);
  });

  test('nor are other files, what is kept otherwise, and what is not asked for', () => {
    expect(found(planned(10, 5, 0), planned(30, 5, 0, 8))).toEqual([]);
    expect(found(planned(10, 5, 0), planned(30, 5, 0, 7, 'zeros'))).toEqual([]);
    // A segment of System V may have the number of a memfd.
    const memfd = planned(10, 5, 0);
    const segment = planned(30, 5, 0);
    expect(found(memfd, { ...segment, mapping: { ...segment.mapping, name: '/SYSV00000000' } })).toEqual([]);
    const plan = [planned(10, 5, 0), planned(30, 5, 0)];
    expect(findViews(plan, ({ mapping }) => mapping.start > 20 * PAGE_SIZE).size).toBe(0);
  });
});
