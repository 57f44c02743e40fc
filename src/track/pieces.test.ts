import { afterEach, describe, expect, test, vi } from 'vitest';
import { filledPieces, type PageFinder, withRests } from './pieces.js';

const MIB = 1 << 20;

/** Runs of pages, start and end in turns. */
const runs =
  (...bounds: number[]): PageFinder =>
  (_, __, visit) => {
    for (let index = 0; index < bounds.length; index += 2) visit(bounds[index]!, bounds[index + 1]!);
  };

describe('filledPieces', () => {
  test('makes one piece of what has little in it', () => {
    expect(filledPieces(0, 2 ** 40, MIB, runs())).toEqual([0, 2 ** 40]);
    expect(filledPieces(0, 2 ** 40, MIB, runs(4096, 8192))).toEqual([0, 2 ** 40]);
  });

  test('cuts long runs', () => {
    const pieces = filledPieces(0, 10 * MIB, 4 * MIB, runs(0, 10 * MIB));
    expect(pieces).toEqual([0, 3.75 * MIB, 3.75 * MIB, 7.75 * MIB, 7.75 * MIB, 10 * MIB]);
  });

  test('cuts between short runs that are far from each other', () => {
    const far = Array.from({ length: 100 }, (_, index) => index * 2 ** 30).flatMap((at) => [at, at + 4096]);
    const pieces = filledPieces(0, 100 * 2 ** 30, MIB, runs(...far));
    // Three or four each, and none of no length.
    expect(pieces.length / 2).toBeGreaterThan(20);
    expect(pieces.length / 2).toBeLessThan(40);
    expect(pieces[0]).toBe(0);
    expect(pieces[pieces.length - 1]).toBe(100 * 2 ** 30);
    for (let index = 0; index < pieces.length; index += 2) {
      expect(pieces[index]!).toBeLessThan(pieces[index + 1]!);
      if (index > 0) expect(pieces[index]).toBe(pieces[index - 1]);
    }
  });

  test('cuts at huge pages alone, when that is asked for', () => {
    const end = 40 * MIB + 4096;
    const pieces = filledPieces(MIB, end, 3 * MIB, runs(MIB + 8192, end), 2 * MIB);
    expect([pieces[0], pieces[pieces.length - 1]]).toEqual([MIB, end]);
    const cuts = pieces.slice(1, -1);
    expect(cuts.length).toBeGreaterThan(16);
    expect(cuts.every((at) => at % (2 * MIB) === 0)).toBe(true);
    for (let index = 2; index < pieces.length; index += 2) expect(pieces[index]).toBe(pieces[index - 1]);
  });

  test('makes none of an empty range', () => {
    expect(filledPieces(4096, 4096, MIB, runs())).toEqual([]);
  });
});

describe('rests', () => {
  afterEach(() => vi.restoreAllMocks());

  /** The rests between pieces that take so long, milliseconds; and what was done by then. */
  function restsOf(...tookMs: number[]): [restMs: number, done: number][] {
    let now = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => now);
    const pieces = tookMs.flatMap((_, index) => [index, index + 1]);
    const found: [number, number][] = [];
    const work = (start: number, end: number) => {
      expect(end).toBe(start + 1);
      now += tookMs[start]!;
      done++;
    };
    let done = 0;
    for (const restMs of withRests(pieces, 2, work)) found.push([restMs, done]);
    expect(done).toBe(tookMs.length);
    return found;
  }

  test('there are none where pieces are cheap', () => {
    expect(restsOf(0.1, 0.9, 0.5, 0.1)).toEqual([]);
  });

  test('are as long as a piece took, within limits, and not after the last', () => {
    expect(restsOf(0.1, 1, 2.5, 10, 1)).toEqual([
      [2, 2],
      [2.5, 3],
      [3, 4],
    ]);
  });

  test('go on for some cheap pieces, since it is the rests that make these cheap', () => {
    const cheap = Array.from({ length: 30 }, () => 0.1);
    expect(restsOf(1, ...cheap).map(([restMs]) => restMs)).toEqual(Array.from({ length: 16 }, () => 2));
    expect(restsOf(1, ...cheap.slice(0, 10), 1, ...cheap)).toHaveLength(11 + 16);
  });
});
