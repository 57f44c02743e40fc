import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { findMapping, parseMaps } from './maps.js';
import {
  decodePagemapWord,
  isPagemapExclusive,
  isPagemapFile,
  isPagemapGuard,
  isPagemapPresent,
  isPagemapSoftDirty,
  isPagemapSwapped,
  isPagemapUffdWp,
  PAGEMAP_WORD_BYTES,
  pagemapPfn,
  pagemapSwapOffset,
  pagemapSwapType,
} from './pagemap-words.js';

function decode(word: bigint) {
  return decodePagemapWord(Number(word & 0xffffffffn), Number(word >> 32n));
}

const NOTHING = {
  present: false,
  swapped: false,
  file: false,
  guard: false,
  uffdWp: false,
  exclusive: false,
  softDirty: false,
  pfn: undefined,
  swapType: undefined,
  swapOffset: undefined,
};

describe('decodePagemapWord', () => {
  it('takes words of Linux 6.18 apart', () => {
    expect(decode(0n)).toEqual(NOTHING);
    expect(decode(0x8100000000110c8fn)).toEqual({
      ...NOTHING,
      present: true,
      exclusive: true,
      pfn: 0x110c8f,
    });
    expect(decode(0xa100000000110c9dn)).toMatchObject({ present: true, file: true, exclusive: true });
    // A guard marker, seen with CAP_SYS_ADMIN and without.
    const guard = { ...NOTHING, swapped: true, guard: true };
    expect(decode(0x440000000000009fn)).toEqual({ ...guard, swapType: 31, swapOffset: 4 });
    expect(decode(0x4400000000000000n)).toEqual({ ...guard, swapType: 0, swapOffset: 0 });
    expect(decode(0x8000000000000000n)).toEqual({ ...NOTHING, present: true, pfn: 0 });
  });

  it('has each flag in its bit and in no other', () => {
    const flags: [number, (hi: number) => boolean][] = [
      [55, isPagemapSoftDirty],
      [56, isPagemapExclusive],
      [57, isPagemapUffdWp],
      [58, isPagemapGuard],
      [61, isPagemapFile],
      [62, isPagemapSwapped],
      [63, isPagemapPresent],
    ];
    for (let bit = 32; bit < 64; bit++) {
      // As a Uint32Array gives it, and as a signed number.
      for (const hi of [2 ** (bit - 32), (2 ** (bit - 32)) | 0]) {
        for (const [flagBit, test] of flags) expect(test(hi), `bit ${bit}`).toBe(flagBit === bit);
      }
    }
  });

  it('has frame number, swap type and offset whole', () => {
    for (let bit = 0; bit < 64; bit++) {
      const word = 1n << BigInt(bit);
      const lo = Number(word & 0xffffffffn);
      const hi = Number(word >> 32n);
      expect(pagemapPfn(lo, hi)).toBe(bit < 55 ? 2 ** bit : 0);
      expect(pagemapPfn(lo | 0, hi | 0)).toBe(bit < 55 ? 2 ** bit : 0);
      expect(pagemapSwapType(lo)).toBe(bit < 5 ? 2 ** bit : 0);
      expect(pagemapSwapOffset(lo, hi)).toBe(bit >= 5 && bit < 55 ? 2 ** (bit - 5) : 0);
    }
    expect(pagemapSwapOffset(0xffffffff, 0xffffffff)).toBe(2 ** 50 - 1);
  });

  it.runIf(process.platform === 'linux')('reads a page of this process that is there', () => {
    const mappings = parseMaps(readFileSync('/proc/self/maps'));
    const stack = findMapping(mappings, mappings.find(({ name }) => name === '[stack]')!.start)!;
    const words = new Uint32Array(((stack.end - stack.start) / 4096) * 2);
    const fd = openSync('/proc/self/pagemap', 'r');
    const position = (stack.start / 4096) * PAGEMAP_WORD_BYTES;
    expect(readSync(fd, words, 0, words.byteLength, position)).toBe(words.byteLength);
    closeSync(fd);
    const pages = Array.from({ length: words.length / 2 }, (_, page) =>
      decodePagemapWord(words[2 * page]!, words[2 * page + 1]!),
    );
    const top = pages.findLast(({ present, swapped }) => present || swapped);
    expect(top).toMatchObject({ file: false, guard: false });
  });
});
