/**
 * A C struct as data: its size and the byte offset of each field. Every field of the structs used
 * here is a 64-bit unsigned integer, so offsets follow from the order; the tests compare them with
 * what a C compiler and koffi make of the same declaration.
 */
export interface U64StructLayout<Field extends string> {
  readonly name: string;
  readonly sizeBytes: number;
  readonly offset: Readonly<Record<Field, number>>;
  readonly fields: readonly Field[];
}

/** Lays out a struct of consecutive u64 fields. */
export function u64Struct<const Field extends string>(
  name: string,
  fields: readonly Field[],
): U64StructLayout<Field> {
  const offset = Object.fromEntries(fields.map((field, index) => [field, index * 8]));
  return { name, sizeBytes: fields.length * 8, offset: offset as Record<Field, number>, fields };
}

const TWO_32 = 2 ** 32;

/**
 * Stores a u64 as two little-endian 32-bit words. Numbers below zero are stored as C converts them
 * (two's complement), so that -1 is 2^64 - 1; numbers must be integers, and beyond 2^53 those that a
 * double holds exactly. Values that it does not are given as bigint.
 *
 * @example
 * ```ts
 * import { storeU64 } from 'pagemap-scan/abi';
 * const words = new Uint32Array(4);
 * storeU64(words, 0, 0x7fff_1234_5000);
 * storeU64(words, 2, -1);
 * console.assert(words.join() === [0x1234_5000, 0x7fff, 0xffff_ffff, 0xffff_ffff].join());
 * ```
 */
export function storeU64(words: Uint32Array, wordIndex: number, value: number | bigint): void {
  if (typeof value === 'number') {
    // Uint32Array stores modulo 2^32, which is just what the low word of a two's complement needs.
    words[wordIndex] = value;
    words[wordIndex + 1] = Math.floor(value / TWO_32);
  } else {
    words[wordIndex] = Number(BigInt.asUintN(32, value));
    words[wordIndex + 1] = Number(BigInt.asUintN(32, value >> 32n));
  }
}

/**
 * Loads a u64 as a number: exact up to 2^53, and for page-aligned values up to 2^64.
 *
 * @example
 * ```ts
 * import { loadU64 } from 'pagemap-scan/abi';
 * console.assert(loadU64(new Uint32Array([0x1234_5000, 0x7fff]), 0) === 0x7fff_1234_5000);
 * ```
 */
export function loadU64(words: Uint32Array, wordIndex: number): number {
  return words[wordIndex]! + words[wordIndex + 1]! * TWO_32;
}
