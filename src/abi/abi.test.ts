import { describe, expect, test } from 'vitest';
import {
  ALL_CATEGORIES,
  CATEGORIES,
  categoryBit,
  categoryNames,
  loadU64,
  PagemapError,
  RegionBuffer,
  scanError,
  storeU64,
} from './internal.js';

describe('u64 as two words', () => {
  const words = new Uint32Array(4);
  test.each<[number | bigint, bigint]>([
    [0, 0n],
    [1, 1n],
    [-1, 2n ** 64n - 1n],
    [-4096, 2n ** 64n - 4096n],
    [2 ** 32, 2n ** 32n],
    [2 ** 53 - 1, 2n ** 53n - 1n],
    [0x7ffffffff000, 0x7ffffffff000n],
    // Page-aligned addresses are exact far beyond 2^53.
    [0xffffffffff600000, 0xffffffffff600000n],
    [0xffffffffffffffffn, 2n ** 64n - 1n],
    [-1n, 2n ** 64n - 1n],
    [0x123456789abcdef0n, 0x123456789abcdef0n],
  ])('%s', (value, expected) => {
    words.fill(0x5a5a5a5a);
    storeU64(words, 1, value);
    expect(BigInt(words[1]!) | (BigInt(words[2]!) << 32n)).toBe(expected);
    expect([words[0], words[3]]).toEqual([0x5a5a5a5a, 0x5a5a5a5a]);
    if (expected < 2n ** 53n || expected % 4096n === 0n) expect(loadU64(words, 1)).toBe(Number(expected));
  });
});

describe('RegionBuffer', () => {
  test("is the kernel's layout over the caller's memory", () => {
    const memory = new SharedArrayBuffer(24 * 3 + 7);
    const output = new RegionBuffer(memory);
    expect(output.capacity).toBe(3);
    const raw = new BigUint64Array(memory, 0, 9);
    raw.set([0x1000n, 0x4000n, 0x1ffn, 0x7ffffffff000n, 0x800000000000n, 2n]);
    output.length = 2;
    expect([...output]).toEqual([
      { start: 0x1000, end: 0x4000, categories: 0x1ff },
      { start: 0x7ffffffff000, end: 0x800000000000, categories: 2 },
    ]);
    expect(output.pages(0)).toBe(3);
    expect(output.totalPages()).toBe(4);
    raw.set([0x10000n, 0x40000n, 0x1ffn]);
    output.length = 1;
    output.pageSize = 16384;
    expect([output.pages(0), output.totalPages()]).toEqual([12, 12]);
  });

  test.each([0, -1, 1.5, Number.NaN, 2 ** 60])('refuses a capacity of %s', (capacity) => {
    expect(() => new RegionBuffer(capacity)).toThrow(RangeError);
  });

  test('refuses memory without room for a region', () => {
    expect(() => new RegionBuffer(new ArrayBuffer(23))).toThrow('23 bytes');
  });
});

describe('categories', () => {
  test('names and bits are one to one', () => {
    expect(CATEGORIES.reduce((all, { bit }) => all | bit, 0)).toBe(ALL_CATEGORIES);
    for (const { name, bit } of CATEGORIES) {
      expect(categoryBit(name)).toBe(bit);
      expect(categoryNames(bit)).toEqual([name]);
    }
    expect(categoryNames(ALL_CATEGORIES)).toHaveLength(10);
    expect(categoryNames(1 << 20)).toEqual([]);
  });

  test("the kernel's spelling is understood", () => {
    expect(categoryBit('PAGE_IS_SOFT_DIRTY')).toBe(categoryBit('softdirty'));
    expect(categoryBit('page_is_written')).toBe(2);
    expect(categoryBit('PAGE_IS_')).toBeUndefined();
    expect(categoryBit('toString')).toBeUndefined();
  });
});

test('errors say what, where and why, and keep how far it came', () => {
  const error = scanError(1, { start: 0x1000, end: -4096 }, 0x3000, 77);
  expect(error).toBeInstanceOf(PagemapError);
  expect(error.message).toMatch(/^Cannot scan 0x1000-0xfffffffffffff000 of process 77: EPERM \(a mapping/);
  expect(error).toMatchObject({ code: 'EPERM', errno: 1, walkEnd: 0x3000, pid: 77, start: 0x1000 });
  expect(error.syscall).toBe('ioctl(PAGEMAP_SCAN)');
});
