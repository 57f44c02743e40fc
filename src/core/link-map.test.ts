import { describe, expect, test } from 'vitest';
import { linkMapRanges, programAddresses } from './link-map.js';

const BIAS = 0x5555_5555_0000;

/** Memory as words at addresses, all else unreadable. */
class FakeMemory {
  readonly #parts: { address: number; bytes: Uint8Array }[] = [];

  put(address: number, values: readonly number[]): number {
    const bytes = new Uint8Array(values.length * 8);
    const view = new DataView(bytes.buffer);
    values.forEach((value, index) => {
      view.setBigUint64(index * 8, BigInt(value), true);
    });
    this.#parts.push({ address, bytes });
    return address;
  }

  putText(address: number, text: string): number {
    this.#parts.push({ address, bytes: new TextEncoder().encode(`${text}\0`.padEnd(8192, 'x')) });
    return address;
  }

  readonly read = (address: number, bytes: number): Uint8Array | undefined => {
    const part = this.#parts.find(
      (one) => one.address <= address && address + bytes <= one.address + one.bytes.length,
    );
    return part?.bytes.subarray(address - part.address, address - part.address + bytes);
  };
}

function auxv(pairs: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(pairs.length * 8);
  const view = new DataView(bytes.buffer);
  pairs.forEach((value, index) => {
    view.setBigUint64(index * 8, BigInt(value), true);
  });
  return bytes;
}

const PF_R = 4 * 2 ** 32;
/** Of a program: its own headers, and a dynamic section of two entries at 0x3000. */
const HEADERS = [
  ...[6 + PF_R, 0x40, 0x40, 0x40, 112, 112, 8],
  ...[2 + PF_R, 0x2000, 0x3000, 0x3000, 32, 32, 8],
];
const VECTOR = auxv([3, BIAS + 0x40, 4, 56, 5, 2, 0, 0]);

function program(debug: number): FakeMemory {
  const memory = new FakeMemory();
  memory.put(BIAS + 0x40, HEADERS);
  memory.put(BIAS + 0x3000, [21, debug, 0, 0]);
  return memory;
}

const HEADS = [BIAS + 0x40, BIAS + 0x40 + 112, BIAS + 0x3000, BIAS + 0x3020];

test('the program is where its headers are, and where it begins', () => {
  expect(programAddresses(auxv([9, 0x5000, 3, 0x4040, 0, 0]))).toEqual([0x4040, 0x5000]);
  expect(programAddresses(auxv([5, 2, 0, 0]))).toEqual([]);
});

describe('what debuggers read to find libraries', () => {
  test('headers, dynamic section, r_debug, each link_map and its name', () => {
    const memory = program(0x1000);
    memory.put(0x1000, [1, 0x2000, 0, 0, 0]);
    memory.put(0x2000, [BIAS, memory.putText(0x8000, ''), BIAS + 0x3000, 0x2100, 0]);
    memory.put(0x2100, [0x7000_0000, memory.putText(0xc000, '/lib/x.so'), 0, 0, 0x2000]);
    expect(linkMapRanges(VECTOR, memory.read)).toEqual([
      ...HEADS,
      ...[0x1000, 0x1028],
      ...[0x2000, 0x2028, 0x8000, 0x8001],
      ...[0x2100, 0x2128, 0xc000, 0xc00a],
    ]);
  });

  test('a list that bites its own tail, or leads to nowhere, ends', () => {
    const circle = program(0x1000);
    circle.put(0x1000, [1, 0x2000, 0, 0, 0]);
    circle.put(0x2000, [0, 0, 0, 0x2000, 0]);
    expect(linkMapRanges(VECTOR, circle.read)).toEqual([...HEADS, 0x1000, 0x1028, 0x2000, 0x2028]);
    const nowhere = program(0x1000);
    nowhere.put(0x1000, [1, 0xdead_0000, 0, 0, 0]);
    expect(linkMapRanges(VECTOR, nowhere.read)).toEqual([...HEADS, 0x1000, 0x1028]);
  });

  test('a program without a dynamic linker, one that has not begun yet, and what is none', () => {
    const fixed = new FakeMemory();
    fixed.put(BIAS + 0x40, HEADERS.slice(0, 7));
    expect(linkMapRanges(auxv([3, BIAS + 0x40, 5, 1, 0, 0]), fixed.read)).toEqual(
      HEADS.slice(0, 1).concat(BIAS + 0x40 + 56),
    );
    expect(linkMapRanges(VECTOR, program(0).read)).toEqual(HEADS);
    expect(linkMapRanges(new Uint8Array(0), program(0).read)).toEqual([]);
    expect(linkMapRanges(auxv([3, 2 ** 60, 5, 2 ** 50, 0, 0]), program(0).read)).toEqual([]);
  });
});
