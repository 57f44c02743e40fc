import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../abi/index.js';
import type { Mapping } from '../proc/index.js';
import { NO_TRAITS } from './filter.js';
import type { Planned } from './plan.js';
import { RangeSet } from './range-set.js';
import {
  type Candidates,
  findCandidates,
  findPresent,
  inOrder,
  intersect,
  joinWritten,
  judgeParts,
  type Part,
  type Questions,
  readingOrder,
  selectTaken,
  visitRest,
} from './selection.js';

/** All in pages here, to be readable. */
const at = (page: number) => page * PAGE_SIZE;
const bounds = (pages: readonly number[]) => pages.map(at);

interface Kind {
  perms?: string;
  inode?: number;
  name?: string;
  share?: Planned['share'];
  huge?: boolean;
}

function planned(
  start: number,
  end: number,
  { perms = 'rw-p', inode = 0, name = '', share = 'written', huge = false }: Kind = {},
): Planned {
  const mapping: Mapping = {
    start: at(start),
    end: at(end),
    perms,
    offset: 0,
    device: { major: 0, minor: 1 },
    inode,
    name,
    deleted: false,
  };
  return { mapping, traits: { ...NO_TRAITS, huge }, known: true, share };
}

const part = (of: Planned, start: number, end: number): Part => ({
  start: at(start),
  end: at(end),
  planned: of,
});
const inPages = (parts: readonly { start: number; end: number }[]) =>
  parts.map(({ start, end }) => [start / PAGE_SIZE, end / PAGE_SIZE]);

describe('joinWritten', () => {
  const join = (written: number[], start: number, end: number, copied: (page: number) => boolean) => {
    const found: number[][] = [];
    const wasCopied = (from: number, to: number) => {
      for (let page = from / PAGE_SIZE; page < to / PAGE_SIZE; page++) if (!copied(page)) return false;
      return true;
    };
    joinWritten(bounds(written), 0, { start: at(start), end: at(end) }, wasCopied, (from, to) =>
      found.push([from / PAGE_SIZE, to / PAGE_SIZE]),
    );
    return found;
  };

  test('up to three pages between come along, when they were copied before', () => {
    expect(join([0, 1, 4, 5], 0, 10, () => true)).toEqual([[0, 5]]);
    expect(join([0, 1, 5, 6], 0, 10, () => true)).toEqual([
      [0, 1],
      [5, 6],
    ]);
    expect(join([0, 1, 4, 5], 0, 10, (page) => page !== 2)).toEqual([
      [0, 1],
      [4, 5],
    ]);
  });

  test('only what lies between the bounds', () => {
    expect(join([0, 3, 5, 20, 30, 31], 2, 10, () => false)).toEqual([
      [2, 3],
      [5, 10],
    ]);
    expect(join([0, 2, 10, 12], 2, 10, () => true)).toEqual([]);
  });
});

describe('judgeParts', () => {
  const baseline = new RangeSet();
  baseline.add(at(2), at(4));
  const watched = [{ start: at(1), end: at(6) }];
  const judge = (of: Planned, early = true) =>
    [...judgeParts([of], watched, baseline, () => early)].map(({ start, end, trusted }) => [
      start / PAGE_SIZE,
      end / PAGE_SIZE,
      trusted,
    ]);

  test('what is watched and was copied is trusted, and nothing else', () => {
    expect(judge(planned(0, 8))).toEqual([
      [0, 1, false],
      [1, 2, false],
      [2, 4, true],
      [4, 6, false],
      [6, 8, false],
    ]);
  });

  test('nothing is, of memory that is copied at the stop in any case', () => {
    expect(judge(planned(0, 8), false)).toEqual([[0, 8, false]]);
  });

  test.each([{ share: 'none' }, { share: 'header' }, { name: '[vdso]', share: 'all' }] satisfies Kind[])(
    'mappings without pages to dump are left out: %j',
    (kind) => {
      expect(judge(planned(0, 8, kind))).toEqual([]);
    },
  );
});

describe('findCandidates', () => {
  const nothing: Questions = {
    written: () => [],
    discarded: () => [],
    known: () => [],
    hasFile: () => true,
    showsDiscarded: true,
    isLookedThrough: () => false,
  };
  const trusted = (of: Planned, start: number, end: number) => ({ ...part(of, start, end), trusted: true });

  test('of trusted memory what shows as written, what is known to be out of date, and no more', () => {
    const of = planned(0, 10);
    const ask = { ...nothing, written: () => bounds([1, 2, 8, 9]), known: () => bounds([2, 3, 5, 6]) };
    const found = findCandidates([trusted(of, 0, 10)], ask);
    expect(inPages(found.changed)).toEqual([
      [1, 3],
      [5, 6],
      [8, 9],
    ]);
    expect(inPages(found.checked)).toEqual(inPages(found.changed));
    expect(found.isChecksMore).toBe(false);
  });

  test('all of what is not trusted, without a question', () => {
    const of = planned(0, 10);
    const ask = {
      ...nothing,
      written: () => {
        throw new Error('asked');
      },
    };
    const found = findCandidates([{ ...part(of, 0, 10), trusted: false }], ask);
    expect(inPages(found.changed)).toEqual([[0, 10]]);
  });

  test('neighbours are asked about together; one that is tracked no more counts as a whole', () => {
    const [one, two, apart] = [planned(0, 4), planned(4, 8), planned(9, 12)];
    const asked: number[][] = [];
    const ask: Questions = {
      ...nothing,
      written: (start, end) => {
        asked.push([start / PAGE_SIZE, end / PAGE_SIZE]);
        // Of what is at 4 to 8, nothing can be told.
        return start < at(8) && end > at(4) ? undefined : bounds([1, 2]);
      },
    };
    const found = findCandidates([trusted(one, 0, 4), trusted(two, 4, 8), trusted(apart, 9, 12)], ask);
    expect(asked).toEqual([
      [0, 8],
      [0, 4],
      [4, 8],
      [9, 12],
    ]);
    expect(inPages(found.changed)).toEqual([
      [1, 2],
      [4, 8],
    ]);
  });

  test.each([
    [{ huge: true }, true],
    [{ huge: false }, false],
  ])('where discarded pages do not show, all of it is checked: %j', (kind, showsDiscarded) => {
    const ask = { ...nothing, written: () => bounds([3, 4]), showsDiscarded };
    const found = findCandidates([trusted(planned(0, 10, kind), 0, 10)], ask);
    expect(inPages(found.changed)).toEqual([[3, 4]]);
    expect(inPages(found.checked)).toEqual([[0, 10]]);
    expect(found.isChecksMore).toBe(true);
  });

  test('of a part that is looked through, all is checked; its neighbours are asked about apart from it', () => {
    const [one, two, three] = [planned(0, 4), planned(4, 8), planned(8, 12)];
    const asked: number[][] = [];
    const ask: Questions = {
      ...nothing,
      written: (start, end) => {
        asked.push([start / PAGE_SIZE, end / PAGE_SIZE]);
        return bounds([start / PAGE_SIZE, start / PAGE_SIZE + 1]);
      },
      isLookedThrough: ({ start }) => start === at(4),
    };
    const found = findCandidates([trusted(one, 0, 4), trusted(two, 4, 8), trusted(three, 8, 12)], ask);
    expect(asked).toEqual([
      [0, 4],
      [4, 8],
      [8, 12],
    ]);
    expect(inPages(found.changed)).toEqual([
      [0, 1],
      [4, 5],
      [8, 9],
    ]);
    expect(inPages(found.checked)).toEqual([
      [0, 1],
      [4, 8],
      [8, 9],
    ]);
    expect(found.isChecksMore).toBe(true);
  });

  test('of private mappings of files, discarded pages are asked for', () => {
    const of = planned(0, 10, { inode: 7, name: '/lib' });
    const ask = { ...nothing, written: () => bounds([6, 8]), discarded: () => bounds([2, 3, 7, 9]) };
    const found = findCandidates([trusted(of, 0, 10)], ask);
    // Sorted, and none twice.
    expect(inPages(found.changed)).toEqual([
      [2, 3],
      [6, 8],
      [8, 9],
    ]);
  });

  test('shared memory is read from its file, or by way of the process if it cannot be opened', () => {
    const of = planned(0, 10, { perms: 'rw-s', inode: 7, share: 'all' });
    const parts = [{ ...part(of, 0, 10), trusted: false }];
    const withFile = findCandidates(parts, nothing);
    expect([inPages(withFile.shared), withFile.changed]).toEqual([[[0, 10]], []]);
    const without = findCandidates(parts, { ...nothing, hasFile: () => false });
    expect([without.shared, inPages(without.changed)]).toEqual([[], [[0, 10]]]);
  });
});

describe('parts', () => {
  const of = planned(0, 100);
  const parts = (...pages: [number, number][]) => pages.map(([start, end]) => part(of, start, end));

  test('inOrder sorts, and cuts what overlaps', () => {
    expect(inPages(inOrder(parts([8, 9], [0, 4], [2, 6], [3, 5], [6, 7])))).toEqual([
      [0, 4],
      [4, 6],
      [6, 7],
      [8, 9],
    ]);
  });

  test('intersect and visitRest together are all there is, for every set of six pages', () => {
    const runs = (mask: number) => {
      const found: [number, number][] = [];
      for (let page = 0; page < 6; page++) {
        if (!(mask & (1 << page))) continue;
        const last = found.at(-1);
        if (last?.[1] === page) last[1]++;
        else found.push([page, page + 1]);
      }
      return parts(...found);
    };
    const maskOf = (found: readonly { start: number; end: number }[]) =>
      inPages(found).reduce((mask, [start, end]) => mask | ((1 << end!) - (1 << start!)), 0);
    const wrong: number[][] = [];
    for (let some = 0; some < 64; some++) {
      for (let others = 0; others < 64; others++) {
        const both = intersect(runs(some), runs(others));
        const rest: { start: number; end: number }[] = [];
        visitRest(runs(some), both, (start, end) => rest.push({ start, end }));
        if (maskOf(both) !== (some & others) || maskOf(rest) !== (some & ~others)) wrong.push([some, others]);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('findPresent asks once about what is near and alike, and keeps to what was asked', () => {
    const file = planned(100, 200, { inode: 7, name: '/lib' });
    const asked: number[][] = [];
    const present = findPresent(
      [...parts([0, 2], [4, 6]), part(file, 100, 102), part(file, 198, 200)],
      (_, start, end, visit) => {
        asked.push([start / PAGE_SIZE, end / PAGE_SIZE]);
        visit(start + PAGE_SIZE, end);
      },
    );
    expect(asked).toEqual([
      [0, 6],
      [100, 200],
    ]);
    expect(inPages(present)).toEqual([
      [1, 2],
      [4, 6],
      [101, 102],
      [198, 200],
    ]);
  });

  test('what is far apart is asked about one by one', () => {
    const large = planned(0, 1000);
    let calls = 0;
    findPresent([part(large, 0, 1), part(large, 258, 259)], () => calls++);
    expect(calls).toBe(2);
  });
});

describe('selectTaken', () => {
  const none: Candidates = { changed: [], checked: [], shared: [], isChecksMore: false };

  test('what has pages; of what is checked beyond the changes, only what has changed', () => {
    const of = planned(0, 20);
    const present = [part(of, 0, 8)];
    const changed = [part(of, 4, 12)];
    expect(inPages(selectTaken({ ...none, changed }, present, () => true))).toEqual([[0, 8]]);
    const narrowed = selectTaken({ ...none, changed, isChecksMore: true }, present, () => true);
    expect(inPages(narrowed)).toEqual([[4, 8]]);
  });

  test('a private file that cannot be opened is taken whole, when any page is its own, or all is asked for', () => {
    const lib = { inode: 7, name: '/lib' };
    const own = planned(0, 10, lib);
    const untouched = planned(20, 30, lib);
    const all = planned(40, 50, { ...lib, share: 'all' });
    const changed = [part(own, 0, 10), part(untouched, 20, 30), part(all, 40, 50)];
    const taken = selectTaken({ ...none, changed }, [part(own, 3, 4)], () => false);
    expect(inPages(taken)).toEqual([
      [0, 10],
      [40, 50],
    ]);
    expect(inPages(selectTaken({ ...none, changed }, [part(own, 3, 4)], () => true))).toEqual([[3, 4]]);
  });

  test('rings are read before what devices write', () => {
    const [memory, ring] = [planned(0, 4), planned(8, 9, { perms: 'rw-s', name: 'anon_inode:[io_uring]' })];
    expect(readingOrder([part(memory, 0, 4), part(ring, 8, 9)])).toEqual(bounds([8, 9, 0, 4]));
  });
});
