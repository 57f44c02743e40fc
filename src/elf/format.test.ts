import { describe, expect, test } from 'vitest';
import { encodeHeader, encodeNote, encodeProgramHeaders, encodeSectionHeader, PT_LOAD } from './format.js';

const view = (bytes: Uint8Array<ArrayBuffer>) => new DataView(bytes.buffer);

describe('ELF, against offsets of man elf(5)', () => {
  test('a header that can count its program headers', () => {
    const header = view(encodeHeader(62, 65_534, 64, 4096));
    expect(header.byteLength).toBe(64);
    expect(header.getUint32(0)).toBe(0x7f454c46);
    expect([header.getUint16(16, true), header.getUint16(18, true)]).toEqual([4, 62]);
    expect(header.getBigUint64(32, true)).toBe(64n);
    expect(header.getBigUint64(40, true)).toBe(0n);
    expect([52, 54, 56, 58, 60].map((at) => header.getUint16(at, true))).toEqual([64, 56, 65_534, 0, 0]);
  });

  test('from 65,535 on, section header 0 has the number', () => {
    const header = view(encodeHeader(62, 65_535, 64, 4096));
    expect(header.getBigUint64(40, true)).toBe(4096n);
    expect([56, 58, 60].map((at) => header.getUint16(at, true))).toEqual([0xffff, 64, 1]);
    const section = view(encodeSectionHeader(65_535));
    expect(section.byteLength).toBe(64);
    expect([section.getUint32(4, true), section.getUint32(44, true)]).toEqual([0, 65_535]);
  });

  test('program headers, with addresses above 2^32', () => {
    const header = { type: PT_LOAD, flags: 6, offset: 2 ** 40, address: 0x7ffc_dead_b000, align: 4096 };
    const bytes = view(encodeProgramHeaders([{ ...header, fileBytes: 4096, memoryBytes: 2 ** 33 }]));
    expect(bytes.byteLength).toBe(56);
    expect([bytes.getUint32(0, true), bytes.getUint32(4, true)]).toEqual([1, 6]);
    expect([8, 16, 24, 32, 40, 48].map((at) => bytes.getBigUint64(at, true))).toEqual([
      2n ** 40n,
      0x7ffcdeadb000n,
      0n,
      4096n,
      2n ** 33n,
      4096n,
    ]);
  });

  test('notes are padded to 4 bytes, and do not count the padding', () => {
    const note = view(encodeNote('CORE', 6, Uint8Array.of(1, 2, 3, 4, 5)));
    expect([0, 4, 8].map((at) => note.getUint32(at, true))).toEqual([5, 5, 6]);
    expect(note.byteLength).toBe(12 + 8 + 8);
    expect(note.getUint8(20)).toBe(1);
  });
});
