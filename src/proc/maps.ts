/**
 * /proc/PID/maps (man proc_pid_maps), one mapping a line:
 *
 *     7f2edecbf000-7f2edecc0000 rw-s 00000000 fe:00 2146541                    /tmp/a\012b (deleted)
 *     start        end (hex)    perms offset  device inode   spaces up to     name
 *                                     (hex)   (hex)  (dec)   column 73
 */
import { firstIndex } from '../abi/internal.js';
import { cutOffError, decodeName, lineEnd, type ProcFile, ProcParseError, plainBytes } from './text.js';

/** One mapping of an address space. */
export interface Mapping {
  /** Address of the first byte, page-aligned. Exact, `[vsyscall]` above 2^63 included, because it is page-aligned. */
  start: number;
  /** Address behind the last byte. */
  end: number;
  /** Four characters: `r`, `w`, `x` or `-` in their places, then `s` for shared or `p` for private: `rw-p`. */
  perms: string;
  /** Where in the file it begins, bytes; 0 for anonymous memory. */
  offset: number;
  /** The device of the file's filesystem, 0 and 0 without one. */
  device: { major: number; minor: number };
  /** The file's inode number, 0 without a file. Beyond 2^53, as some network filesystems have, the nearest double. */
  inode: number;
  /**
   * The file's path, or what the kernel calls the memory: `[heap]`, `[stack]`, `[vdso]`, `[vvar]`, `[vvar_vclock]`,
   * `[vsyscall]`, `[anon:NAME]`, `[anon_shmem:NAME]`, `anon_inode:[NAME]`; empty for unnamed anonymous memory. Chosen by
   * the process or whoever made the file, so escape it before you show it.
   *
   * The kernel's `\012` for a newline is undone. It escapes nothing else, not even the backslash (seen on Linux 6.18),
   * so a file that is really called `x\012y` gives the same line as one with a newline, and the same name here.
   * Bytes that are not UTF-8 read `\xNN`; `nameBytes` gives the original bytes back.
   */
  name: string;
  /**
   * The file has been unlinked: the kernel appended ` (deleted)`, which is cut off the name. A file whose real name
   * ends so gives the same line and counts as deleted, too. A memfd is always `/memfd:NAME`, deleted.
   */
  deleted: boolean;
}

const NEWLINE = 0x0a;
const SPACE = 0x20;
const DASH = 0x2d;
const SLASH = 0x2f;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const DELETED = new TextEncoder().encode(' (deleted)');

/** The value of a hexadecimal digit as the kernel writes it, in lower case; -1 for other bytes. */
const HEX_DIGIT: Int8Array = new Int8Array(256).fill(-1);
for (let digit = 0; digit < 16; digit++) HEX_DIGIT[digit.toString(16).charCodeAt(0)] = digit;

/** Whether an address, and so a mapping's line, may begin with this byte. */
export function isHexDigit(byte: number): boolean {
  return HEX_DIGIT[byte]! >= 0;
}

function hexEnd(bytes: Uint8Array, at: number): number {
  let end = at;
  while (HEX_DIGIT[bytes[end]!]! >= 0) end++;
  return end;
}

/** Exact for page-aligned values of up to 16 digits: digit by digit in doubles, of which the last three are 0. */
function hexValue(bytes: Uint8Array, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at++) value = value * 16 + HEX_DIGIT[bytes[at]!]!;
  return value;
}

/** The first byte from `at` on that is no decimal digit. */
export function decimalEnd(bytes: Uint8Array, at: number): number {
  let end = at;
  while (bytes[end]! >= 0x30 && bytes[end]! <= 0x39) end++;
  return end;
}

/** The number that the decimal digits spell; beyond 2^53, the nearest double. */
export function decimalValue(bytes: Uint8Array, from: number, to: number): number {
  // Above 15 digits the sum could round more than once.
  if (to - from > 15) return Number(decodeName(bytes, from, to));
  let value = 0;
  for (let at = from; at < to; at++) value = value * 10 + bytes[at]! - 0x30;
  return value;
}

function isNumber(from: number, to: number, mostDigits: number): boolean {
  return to > from && to - from <= mostDigits;
}

/** All sixteen texts of permissions, so that no mapping needs a string of its own. */
const PERMS: readonly string[] = Array.from(
  { length: 16 },
  (_, bits) => `${bits & 8 ? 'r' : '-'}${bits & 4 ? 'w' : '-'}${bits & 2 ? 'x' : '-'}${bits & 1 ? 's' : 'p'}`,
);

/** Index into PERMS of the four bytes at `at`, negative when they are none. */
function permsIndex(bytes: Uint8Array, at: number): number {
  const r = bytes[at];
  const w = bytes[at + 1];
  const x = bytes[at + 2];
  const s = bytes[at + 3];
  return (
    (r === 0x72 ? 8 : r === DASH ? 0 : -16) +
    (w === 0x77 ? 4 : w === DASH ? 0 : -16) +
    (x === 0x78 ? 2 : x === DASH ? 0 : -16) +
    (s === 0x73 ? 1 : s === 0x70 ? 0 : -16)
  );
}

/**
 * Parses the line from `at` to the newline at `end`. The newline must be there: no loop here looks at `end`, each
 * stops at the first byte that is no digit.
 */
export function parseMappingLine(
  bytes: Uint8Array,
  at: number,
  end: number,
  line: number,
  file: ProcFile,
): Mapping {
  const fail = (problem: string) => new ProcParseError(file, line, bytes.subarray(at, end), problem);
  const startEnd = hexEnd(bytes, at);
  if (!isNumber(at, startEnd, 16) || bytes[startEnd] !== DASH) throw fail('no address range');
  const endAt = startEnd + 1;
  const endEnd = hexEnd(bytes, endAt);
  if (!isNumber(endAt, endEnd, 16) || bytes[endEnd] !== SPACE) throw fail('no address range');
  const mappingStart = hexValue(bytes, at, startEnd);
  const mappingEnd = hexValue(bytes, endAt, endEnd);
  if (mappingEnd <= mappingStart) throw fail('an address range that ends before it starts');

  const permsAt = endEnd + 1;
  const perms = permsIndex(bytes, permsAt);
  if (perms < 0 || bytes[permsAt + 4] !== SPACE) throw fail('no permissions');

  const offsetAt = permsAt + 5;
  const offsetEnd = hexEnd(bytes, offsetAt);
  if (!isNumber(offsetAt, offsetEnd, 16) || bytes[offsetEnd] !== SPACE) throw fail('no file offset');

  const majorAt = offsetEnd + 1;
  const majorEnd = hexEnd(bytes, majorAt);
  if (!isNumber(majorAt, majorEnd, 8) || bytes[majorEnd] !== COLON) throw fail('no device number');
  const minorAt = majorEnd + 1;
  const minorEnd = hexEnd(bytes, minorAt);
  if (!isNumber(minorAt, minorEnd, 8) || bytes[minorEnd] !== SPACE) throw fail('no device number');

  const inodeAt = minorEnd + 1;
  const inodeEnd = decimalEnd(bytes, inodeAt);
  if (!isNumber(inodeAt, inodeEnd, 20)) throw fail('no inode number');
  if (inodeEnd < end && bytes[inodeEnd] !== SPACE) throw fail('no inode number');

  let cursor = inodeEnd;
  while (bytes[cursor] === SPACE) cursor++;
  const deleted = bytes[cursor] === SLASH && endsWithDeleted(bytes, cursor, end);
  const nameEnd = deleted ? end - DELETED.length : end;
  return {
    start: mappingStart,
    end: mappingEnd,
    perms: PERMS[perms]!,
    offset: hexValue(bytes, offsetAt, offsetEnd),
    device: { major: hexValue(bytes, majorAt, majorEnd), minor: hexValue(bytes, minorAt, minorEnd) },
    inode: decimalValue(bytes, inodeAt, inodeEnd),
    name: cursor === nameEnd ? '' : mappingName(bytes, cursor, nameEnd),
    deleted,
  };
}

function endsWithDeleted(bytes: Uint8Array, from: number, to: number): boolean {
  const suffixAt = to - DELETED.length;
  if (suffixAt <= from) return false;
  for (let index = 0; index < DELETED.length; index++) {
    if (bytes[suffixAt + index] !== DELETED[index]) return false;
  }
  return true;
}

/** Undoes the kernel's `\012`, then decodes. */
function mappingName(bytes: Uint8Array, from: number, to: number): string {
  let backslash = from;
  while (backslash < to && bytes[backslash] !== BACKSLASH) backslash++;
  if (backslash === to) return decodeName(bytes, from, to);
  const name = new Uint8Array(to - from);
  let length = 0;
  for (let at = from; at < to; at++) {
    const newline =
      bytes[at] === BACKSLASH &&
      at + 3 < to &&
      bytes[at + 1] === 0x30 &&
      bytes[at + 2] === 0x31 &&
      bytes[at + 3] === 0x32;
    name[length++] = newline ? NEWLINE : bytes[at]!;
    if (newline) at += 3;
  }
  return decodeName(name, 0, length);
}

/**
 * Parses the bytes of /proc/PID/maps; no bytes give an empty list. About 4 ms for 10,000 mappings.
 *
 * The kernel hands out the mappings of a running process piece by piece. They may change between two reads of the file:
 * new ones may be missing, or a split one may appear with both its old and its new border.
 *
 * @throws ProcParseError for a line that the kernel does not print, and for a last line without a newline: it was cut
 * off, so a name or number in it may be incomplete. To use such text all the same, cut it first:
 *   `bytes.subarray(0, bytes.lastIndexOf(10) + 1)`
 * @example
 * ```ts
 * import { readFileSync } from 'node:fs';
 * import { parseMaps } from 'pagemap-scan/proc';
 * const mappings = parseMaps(readFileSync('/proc/self/maps'));
 * const stack = mappings.find(({ name }) => name === '[stack]');
 * console.assert(stack !== undefined && stack.perms.startsWith('rw'));
 * ```
 */
export function parseMaps(bytes: Uint8Array): Mapping[] {
  const text = plainBytes(bytes);
  const mappings: Mapping[] = [];
  for (let at = 0, line = 1; at < text.length; line++) {
    const end = lineEnd(text, at);
    if (end < 0) throw cutOffError('maps', line, text, at);
    mappings.push(parseMappingLine(text, at, end, line, 'maps'));
    at = end + 1;
  }
  return mappings;
}

/**
 * The index of the mapping that holds `address`, -1 when it lies in a gap.
 *
 * @param mappings in address order, not overlapping, as the parsers give them
 * @param address bytes
 * @example
 * ```ts
 * import { findMappingIndex } from 'pagemap-scan/proc';
 * console.assert(findMappingIndex([{ start: 0x1000, end: 0x3000 }], 0x2fff) === 0);
 * console.assert(findMappingIndex([{ start: 0x1000, end: 0x3000 }], 0x3000) === -1);
 * ```
 */
export function findMappingIndex(
  mappings: readonly { readonly start: number; readonly end: number }[],
  address: number,
): number {
  const index = firstIndex(mappings.length, (at) => mappings[at]!.end > address);
  return index < mappings.length && mappings[index]!.start <= address ? index : -1;
}

/**
 * The mapping that holds `address`, undefined when it lies in a gap. Takes a binary search.
 *
 * @param mappings in address order, not overlapping, as the parsers give them
 * @param address bytes
 * @example
 * ```ts
 * import { readFileSync } from 'node:fs';
 * import { findMapping, parseMaps } from 'pagemap-scan/proc';
 * const mappings = parseMaps(readFileSync('/proc/self/maps'));
 * console.assert(findMapping(mappings, mappings[0]!.end - 1) === mappings[0]);
 * console.assert(findMapping(mappings, 0) === undefined);
 * ```
 */
export function findMapping<M extends { readonly start: number; readonly end: number }>(
  mappings: readonly M[],
  address: number,
): M | undefined {
  const index = findMappingIndex(mappings, address);
  return index < 0 ? undefined : mappings[index];
}
