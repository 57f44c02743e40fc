import { describe, expect, test } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import { differingSpans, type PageSpan, SPAN, Touches, uniteSpans } from './touches.js';

const SEED = 31;
const PAGES = 300;

type Below = ReturnType<typeof randomBelow>;

const randomSpans = (below: Below, count: number) =>
  uniteSpans(
    Array.from({ length: count }, (): PageSpan => {
      const first = below(PAGES);
      return [first, Math.min(PAGES, first + 1 + below(20))];
    }),
  );

const pagesOf = (spans: readonly PageSpan[]) => {
  const pages: number[] = [];
  for (const [first, end] of spans) for (let page = first; page < end; page++) pages.push(page);
  return pages;
};

/** Ascending, not empty, and apart from each other. */
const isTidy = (spans: readonly PageSpan[]) =>
  spans.every(([first, end], index) => first < end && (index === 0 || spans[index - 1]![1] < first));

describe('ranges of pages', () => {
  test(`are united, and told apart, page by page (seed ${SEED})`, () => {
    const below = randomBelow(SEED);
    for (let turn = 0; turn < 200; turn++) {
      const [one, other] = [randomSpans(below, below(12)), randomSpans(below, below(12))];
      const [ones, others] = [new Set(pagesOf(one)), new Set(pagesOf(other))];
      const united = uniteSpans([...one, ...other]);
      expect(pagesOf(united)).toEqual([...new Set([...ones, ...others])].sort((a, b) => a - b));
      const differing = differingSpans(one, other);
      expect(pagesOf(differing)).toEqual(
        [...new Set([...ones, ...others])]
          .filter((page) => ones.has(page) !== others.has(page))
          .sort((a, b) => a - b),
      );
      expect([united, differing].every(isTidy)).toBe(true);
    }
  });
});

describe('touches', () => {
  test(`have a bit for each snapshot that touches a page (seed ${SEED})`, () => {
    const below = randomBelow(SEED);
    const touches = new Touches();
    for (let turn = 0; turn < 3; turn++) {
      touches.clear();
      const model = Array.from({ length: PAGES }, () => new Set<number>());
      for (let bit = 0; bit < SPAN; bit++) {
        if (below(4) === 0) continue;
        const spans = randomSpans(below, below(6));
        touches.add(bit, spans);
        for (const page of pagesOf(spans)) model[page]!.add(bit);
      }
      const found = Array.from({ length: PAGES }, () => new Set<number>());
      let behind = -1;
      touches.visit((first, end, bits, at) => {
        expect(first).toBeGreaterThanOrEqual(behind);
        expect(end).toBeGreaterThan(first);
        behind = end;
        for (let page = first; page < end; page++)
          for (let bit = 0; bit < SPAN; bit++)
            if ((bits[at + (bit >> 5)]! >>> (bit & 31)) & 1) found[page]!.add(bit);
      });
      expect(found).toEqual(model);
    }
  });

  test('of neighbours that the same snapshots touch are one piece', () => {
    const touches = new Touches();
    touches.add(0, [[10, 20]]);
    touches.add(127, [[15, 16]]);
    expect(touches.length).toBe(3);
    touches.add(127, [[10, 20]]);
    expect(touches.length).toBe(1);
    // A terabyte is one piece, too.
    touches.add(3, [[0, 2 ** 28]]);
    expect(touches.length).toBe(3);
  });
});
