import { describe, expect, test } from 'vitest';
import { filledPieces, type PageFinder } from './pieces.js';

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
