import { describe, expect, test } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import { PAGE_SIZE } from '../abi/index.js';
import {
  BLOCK_PAGES,
  CHECK_BYTES,
  checkContent,
  checkPage,
  checkValue,
  compressionKind,
  decodeHead,
  decodePages,
  encodeBlock,
  FILE_BYTES,
  placeOf,
  referenceOf,
} from './block.js';
import { BlockIndex } from './block-index.js';
import { crc32, crc32ByTable } from './crc.js';

/** Pages with some content; of a random one, nothing can be made smaller. */
function makePages(count: number, isRandom: boolean): { pages: Uint8Array; checks: Uint8Array } {
  const below = randomBelow(count);
  const pages = new Uint8Array(count * PAGE_SIZE);
  for (let at = 0; at < pages.length; at += isRandom ? 1 : 500) pages[at] = below(256);
  const checks = new Uint8Array(count * CHECK_BYTES);
  for (let page = 0; page < count; page++)
    checks.set(checkValue(pages.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE)), page * CHECK_BYTES);
  return { pages, checks };
}

function decode(block: Uint8Array): Uint8Array {
  const head = decodeHead(block);
  const pages = decodePages(head, block.subarray(head.at, head.at + head.storedBytes));
  for (let index = 0; index < head.pages; index++) checkPage(head, pages, index);
  return pages;
}

const KINDS = [...new Set([compressionKind('auto'), 'deflate', 'none'] as const)];

describe('a block', () => {
  test.each(KINDS)('comes back: %s', (kind) => {
    for (const count of [1, 5, BLOCK_PAGES]) {
      const { pages, checks } = makePages(count, false);
      const block = encodeBlock(pages, checks, kind);
      expect(Buffer.compare(decode(block), pages)).toBe(0);
      if (kind !== 'none') expect(block.length).toBeLessThan(pages.length / 4);
    }
  });

  test('is stored as it is when that is shorter', () => {
    const { pages, checks } = makePages(2, true);
    const block = encodeBlock(pages, checks, 'deflate');
    expect(decodeHead(block).kind).toBe('none');
    expect(block.length).toBe(32 + 2 * (CHECK_BYTES + 4) + 2 * PAGE_SIZE);
  });

  test.each(KINDS)('does not come back otherwise when any byte of it is another one: %s', (kind) => {
    const { pages, checks } = makePages(2, false);
    const block = encodeBlock(pages, checks, kind);
    for (let at = 0; at < block.length; at++) {
      block[at]! ^= 0x40;
      let got: Uint8Array | undefined;
      try {
        got = decode(block);
      } catch {
        // It was noticed.
      }
      // What compression ignores may be anything.
      if (got !== undefined) expect(Buffer.compare(got, pages)).toBe(0);
      if (got !== undefined) expect(at).toBeGreaterThanOrEqual(32 + 2 * (CHECK_BYTES + 4));
      block[at]! ^= 0x40;
    }
  });

  test('is checked by CRC-32, and by content when that is asked for', () => {
    const { pages, checks } = makePages(2, false);
    const head = decodeHead(encodeBlock(pages, checks, 'none'));
    expect(crc32(pages.subarray(PAGE_SIZE))).toBe(Buffer.from(head.crcs!).readUInt32LE(4));
    pages[PAGE_SIZE + 7]! ^= 1;
    expect(() => checkPage(head, pages, 0)).not.toThrow();
    expect(() => checkPage(head, pages, 1)).toThrow('a page is not what was written');
    expect(() => checkContent(head, pages, 1)).toThrow('a page is not what was written');
    // Without a CRC-32, as in format 1, the content has to do.
    expect(() => checkPage({ ...head, crcs: undefined }, pages, 1)).toThrow('a page is not what was written');
    expect(() => checkPage({ ...head, crcs: undefined }, pages, 0)).not.toThrow();
  });

  test('that ends too early is none', () => {
    const { pages, checks } = makePages(1, false);
    const block = encodeBlock(pages, checks, 'deflate');
    for (const length of [0, 3, 31, 40, block.length - 1])
      expect(() => decode(block.subarray(0, length))).toThrow();
  });

  test('has references that tell its place', () => {
    for (const [file, offset, index] of [
      [1, 64, 0],
      [3, 4096, 15],
      [2 ** 28, FILE_BYTES - 64, 7],
    ] as const)
      expect(placeOf(referenceOf(file, offset) + index)).toEqual({ file, offset, index });
  });
});

test('CRC-32 is that of zlib, and the same without its help', () => {
  for (const of of [crc32, crc32ByTable]) expect(of(Buffer.from('123456789'))).toBe(0xcbf43926);
  const { pages } = makePages(1, true);
  expect(crc32ByTable(pages)).toBe(crc32(pages));
});

describe('the index of blocks', () => {
  function indexWith(blocks: number) {
    const index = new BlockIndex();
    const checks: Uint8Array[] = [];
    for (let block = 0; block < blocks; block++) {
      const own = new Uint8Array(BLOCK_PAGES * CHECK_BYTES);
      for (let page = 0; page < BLOCK_PAGES; page++)
        own.set(checkValue(Buffer.from(`${block} ${page}`)), page * CHECK_BYTES);
      checks.push(own);
      index.add(referenceOf(1, 64 * (block + 1)), 100, own);
    }
    const find = (block: number, page: number) =>
      index.find(checks[block]!.subarray(page * CHECK_BYTES, (page + 1) * CHECK_BYTES));
    return { index, find, reference: (block: number) => referenceOf(1, 64 * (block + 1)) };
  }

  test('finds pages by what they hold, until their block is forgotten', () => {
    const { index, find, reference } = indexWith(500);
    for (let block = 0; block < 500; block++) {
      expect(find(block, 3)).toBe(reference(block) + 3);
      index.use(reference(block));
      if (block % 2 === 0) index.release(reference(block), 1);
    }
    expect(index.bytes).toBe(50_000);
    expect(index.bytesOf(1)).toBe(25_000);
    expect(index.drop(2)).toHaveLength(250);
    for (let block = 0; block < 500; block++)
      expect(find(block, 15)).toBe(block % 2 === 0 ? undefined : reference(block) + 15);
    expect(index.bytes).toBe(25_000);
  });

  test('keeps a block as long as any snapshot shows one of its pages', () => {
    const { index, reference } = indexWith(1);
    index.use(reference(0));
    index.use(reference(0) + 1);
    index.release(reference(0), 4);
    expect(index.drop(100)).toEqual([]);
    index.release(reference(0) + 1, 7);
    expect(index.drop(7)).toEqual([]);
    // The same bytes once more: found, and needed again.
    index.use(reference(0) + 2);
    expect(index.drop(100)).toEqual([]);
    index.release(reference(0) + 2, 9);
    expect(index.drop(9)).toEqual([]);
    expect(index.drop(10).map((block) => block.reference)).toEqual([reference(0)]);
  });
});
