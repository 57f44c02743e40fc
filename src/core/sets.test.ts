import { describe, expect, test } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import { PAGE_SIZE } from '../abi/index.js';
import { forEachPiece, Layout } from './layout.js';
import { PageSet } from './page-set.js';
import { ordered, RangeSet, visitUnion } from './range-set.js';

const SEED = 20240601;

/** Around a border of the 2 MiB chunks. */
const BASE = 2 ** 40 + 500 * PAGE_SIZE;
const PAGES = 1100;

/** `toEqual` looks at each byte with care, which takes milliseconds: only when there is something to show. */
function expectSame(seen: Uint8Array, wanted: Uint8Array, what: string): void {
  if (Buffer.compare(seen, wanted) !== 0) expect(seen, what).toEqual(wanted);
}

function randomRange(random: (most: number) => number): [number, number] {
  const from = random(PAGES);
  return [from, from + random(PAGES - from + 1)];
}

test('terabytes that were never touched take no time', () => {
  const set = new PageSet();
  const [base, tebibyte] = [2 ** 44, 2 ** 40];
  const pages = [5, 3 * 2 ** 30, 9 * tebibyte, 19 * tebibyte].map((at) => base + at - (at % PAGE_SIZE));
  for (const page of pages) set.add(page, page + PAGE_SIZE);
  const found: number[] = [];
  // By 2 MiB, each look would take some 10 million steps: all of them together, minutes.
  for (let look = 0; look < 1000; look++) {
    found.length = 0;
    set.runs(base, base + 20 * tebibyte, true, (start) => found.push(start));
  }
  expect(found).toEqual(pages);
  let gaps = 0;
  set.runs(base, base + 20 * tebibyte, false, () => gaps++);
  expect(gaps).toBe(4);
  set.delete(base + PAGE_SIZE, base + 10 * tebibyte);
  expect(set.some(base + PAGE_SIZE, base + 18 * tebibyte)).toBe(false);
  expect(set.some(base, base + 18 * tebibyte)).toBe(true);
  expect(set.every(base, base + 20 * tebibyte)).toBe(false);
});

test('chunks that come and go, strewn over terabytes, are found', () => {
  const random = randomBelow(SEED);
  const set = new PageSet();
  const chunkBytes = 512 * PAGE_SIZE;
  const wanted = new Set<number>();
  const all = 2 ** 45;
  for (let step = 0; step < 3000; step++) {
    const page = random(2000) * 5000 * chunkBytes;
    if (random(3) > 0) {
      set.add(page, page + PAGE_SIZE);
      wanted.add(page);
    } else {
      // As a whole, so that nothing is kept of it.
      const to = page + (1 + random(20_000)) * chunkBytes;
      set.delete(page, to);
      for (const other of wanted) if (other >= page && other < to) wanted.delete(other);
    }
    if (step % 50 > 0) continue;
    const found: number[] = [];
    set.runs(0, all, true, (start) => found.push(start));
    expect(found).toEqual([...wanted].sort((a, b) => a - b));
    expect(set.count(0, all)).toBe(wanted.size);
    const most = random(wanted.size + 1);
    expect(set.count(0, all, most) > most).toBe(wanted.size > most);
  }
});

test('ordered', () => {
  expect(ordered([])).toEqual([]);
  const inOrder = [1, 2, 2, 3, 7, 9];
  expect(ordered(inOrder)).toBe(inOrder);
  expect(ordered([7, 9, 1, 4, 3, 5, 9, 10])).toEqual([1, 5, 7, 10]);
});

describe('sets of pages, against one bit per page', () => {
  test('PageSet', () => {
    const random = randomBelow(SEED);
    const set = new PageSet();
    const bits = new Uint8Array(PAGES);
    for (let step = 0; step < 800; step++) {
      // Many ranges of a few pages, some that cover all of a chunk.
      const [from, most] = randomRange(random);
      const to = random(3) > 0 ? Math.min(most, from + random(40)) : most;
      const value = random(2);
      bits.fill(value, from, to);
      if (value) set.add(BASE + from * PAGE_SIZE, BASE + to * PAGE_SIZE);
      else set.delete(BASE + from * PAGE_SIZE, BASE + to * PAGE_SIZE);
      const [first, last] = randomRange(random);
      for (const wanted of [0, 1]) {
        const seen = new Uint8Array(PAGES).fill(1 - wanted);
        let end = -1;
        set.runs(BASE + first * PAGE_SIZE, BASE + last * PAGE_SIZE, wanted === 1, (a, b) => {
          if (a <= end || b <= a) expect([a, b, end]).toEqual('ascending, and none of them empty');
          end = b;
          seen.fill(wanted, (a - BASE) / PAGE_SIZE, (b - BASE) / PAGE_SIZE);
        });
        expectSame(seen.subarray(first, last), bits.subarray(first, last), `seed ${SEED}, step ${step}`);
      }
      const some = bits.subarray(first, last).includes(1);
      const every = !bits.subarray(first, last).includes(0);
      expect(set.every(BASE + first * PAGE_SIZE, BASE + last * PAGE_SIZE)).toBe(every);
      expect(set.some(BASE + first * PAGE_SIZE, BASE + last * PAGE_SIZE)).toBe(some);
    }
  });

  test('the union of two lists of ranges', () => {
    for (let seed = SEED; seed < SEED + 60; seed++) {
      const random = randomBelow(seed);
      const bits = new Uint8Array(PAGES);
      const lists = [0, 1].map(() => {
        const list: number[] = [];
        for (let at = random(9); at < PAGES - 20; at += 1 + random(12)) {
          const end = at + 1 + random(8);
          list.push(at, end);
          bits.fill(1, at, end);
          at = end;
        }
        return list;
      });
      const seen = new Uint8Array(PAGES);
      let last = -1;
      visitUnion(lists[0]!, lists[1]!, (start, end) => {
        if (start <= last || end <= start) expect([start, end, last]).toEqual('ascending, and none empty');
        last = end;
        seen.fill(1, start, end);
      });
      expectSame(seen, bits, `seed ${seed}`);
    }
    const none: number[] = [];
    visitUnion([], [], (start) => none.push(start));
    expect(none).toEqual([]);
  });

  test('RangeSet', () => {
    for (let seed = SEED; seed < SEED + 20; seed++) {
      const random = randomBelow(seed);
      const set = new RangeSet();
      const bits = new Uint8Array(PAGES);
      for (let step = 0; step < 25; step++) {
        const from = random(PAGES);
        const to = Math.min(PAGES, from + random(40));
        bits.fill(1, from, to);
        set.add(from, to);
        if (step % 3 === 2) {
          const [start, end] = randomRange(random);
          bits.fill(0, start, Math.max(start, end));
          set.delete(start, Math.max(start, end));
        }
        const [first, last] = randomRange(random);
        const seen = new Uint8Array(PAGES).fill(9);
        let at = first;
        let before: boolean | undefined;
        set.parts(first, last, (a, b, inside) => {
          expect([a, inside]).toEqual([at, !before || before === undefined ? inside : !before]);
          if (before !== undefined) expect(inside).toBe(!before);
          before = inside;
          at = b;
          seen.fill(inside ? 1 : 0, a, b);
        });
        if (last > first) expect(at).toBe(last);
        expectSame(seen.subarray(first, last), bits.subarray(first, last), `seed ${seed}, step ${step}`);
      }
    }
  });
});

test('a place in the file is kept, and nobody else gets it', () => {
  const random = randomBelow(SEED);
  const layout = new Layout(1000 * PAGE_SIZE);
  const places = new Map<number, number>();
  for (let step = 0; step < 200; step++) {
    const [from, to] = randomRange(random);
    if (step % 3 === 0) layout.place(from * PAGE_SIZE, Math.min(to, from + 30) * PAGE_SIZE);
    let at = from * PAGE_SIZE;
    layout.parts(from * PAGE_SIZE, to * PAGE_SIZE, (start, end, offset) => {
      expect(start).toBe(at);
      at = end;
      for (let page = start; offset >= 0 && page < end; page += PAGE_SIZE) {
        const place = offset + (page - start);
        if ((places.get(page) ?? place) !== place) expect(places.get(page)).toBe(place);
        places.set(page, place);
      }
      for (let page = start; offset < 0 && page < end; page += PAGE_SIZE)
        if (places.has(page)) throw new Error(`page ${page} has a place, and none was told`);
    });
    expect(at).toBe(to * PAGE_SIZE);
  }
  expect(new Set(places.values()).size).toBe(places.size);
  expect(layout.end).toBeGreaterThan(Math.max(...places.values()));
});

test('bytes that stand together in the file are written together', () => {
  const layout = new Layout(PAGE_SIZE);
  layout.place(10 * PAGE_SIZE, 12 * PAGE_SIZE);
  layout.place(20 * PAGE_SIZE, 21 * PAGE_SIZE);
  layout.place(5 * PAGE_SIZE, 6 * PAGE_SIZE);
  const pieces: number[][] = [];
  const ranges = [5, 6, 11, 12, 20, 21].map((page) => page * PAGE_SIZE);
  forEachPiece(layout, ranges, (...piece) => pieces.push(piece.map((bytes) => bytes / PAGE_SIZE)));
  expect(pieces).toEqual([
    [0, 1, 4],
    [1, 2, 2],
  ]);
  expect(() => forEachPiece(layout, [0, PAGE_SIZE], () => undefined)).toThrow('no place');
});
