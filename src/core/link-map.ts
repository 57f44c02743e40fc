/**
 * What debuggers read of a process to find its libraries, besides their files: the program's headers and dynamic section, the
 * dynamic linker's `r_debug`, and its list of `link_map` (System V ABI, "Dynamic Linking"; link.h of any libc). 64-bit,
 * little-endian:
 *
 *     auxv  AT_PHDR ──→ program headers ── PT_DYNAMIC ──→ dynamic section ── DT_DEBUG ──→ r_debug
 *     r_debug    0 version   8 map ──→ link_map  0 address  8 name  16 dynamic section  24 next
 */
import { loadU64 } from '../abi/index.js';

const AT_PHDR = 3;
const AT_PHNUM = 5;
const AT_ENTRY = 9;
const PT_DYNAMIC = 2;
const PT_PHDR = 6;
const DT_DEBUG = 21;
const PHDR_BYTES = 56;
const LINK_MAP_BYTES = 40;
/** Limits, since the memory is the process's and may hold anything. */
const MOST_HEADERS = 1024;
const MOST_LIBRARIES = 10_000;
const MOST_DYNAMIC_BYTES = 65_536;
const NAME_BYTES = 4096;

/** Reads memory. Returns undefined, or fewer bytes, where it cannot be read. */
export type MemoryReader = (address: number, bytes: number) => Uint8Array | undefined;

function words(bytes: Uint8Array): number[] {
  const whole = new Uint32Array(new Uint8Array(bytes.subarray(0, bytes.length - (bytes.length % 8))).buffer);
  return Array.from({ length: whole.length / 2 }, (_, index) => loadU64(whole, index * 2));
}

/** Looks up the value of a key in a table of pairs. */
function lookUp(pairs: readonly number[], key: number): number | undefined {
  for (let index = 0; index + 1 < pairs.length; index += 2) if (pairs[index] === key) return pairs[index + 1];
  return undefined;
}

/**
 * Addresses that lie in the file of the program itself, and in none of its libraries: its headers, and where it begins.
 *
 * @param auxv the bytes of /proc/PID/auxv
 */
export function programAddresses(auxv: Uint8Array): number[] {
  const vector = words(auxv);
  return [AT_PHDR, AT_ENTRY].flatMap((key) => lookUp(vector, key) ?? []);
}

/**
 * The ranges that are read, in bytes: start and end in turns, in any order. As far as they can be found; a program without
 * libraries has none.
 *
 * @param auxv the bytes of /proc/PID/auxv
 */
export function linkMapRanges(auxv: Uint8Array, read: MemoryReader): number[] {
  const ranges: number[] = [];
  const take = (address: number, bytes: number): readonly number[] | undefined => {
    const found = address === 0 ? undefined : read(address, bytes);
    if (found === undefined || found.length < bytes) return undefined;
    ranges.push(address, address + bytes);
    return words(found);
  };

  const vector = words(auxv);
  const headersAt = lookUp(vector, AT_PHDR) ?? 0;
  const count = Math.min(lookUp(vector, AT_PHNUM) ?? 0, MOST_HEADERS);
  const headers = take(headersAt, count * PHDR_BYTES);
  if (headers === undefined) return ranges;
  let bias = 0;
  let dynamic: { at: number; bytes: number } | undefined;
  for (let index = 0; index < count; index++) {
    const at = index * (PHDR_BYTES / 8);
    // The type is the lower half of the first word.
    const type = headers[at]! % 2 ** 32;
    if (type === PT_PHDR) bias = headersAt - headers[at + 2]!;
    if (type === PT_DYNAMIC) dynamic = { at: headers[at + 2]!, bytes: headers[at + 5]! };
  }
  if (dynamic === undefined || dynamic.bytes > MOST_DYNAMIC_BYTES) return ranges;
  const entries = take(bias + dynamic.at, dynamic.bytes);
  const debug = take(lookUp(entries ?? [], DT_DEBUG) ?? 0, LINK_MAP_BYTES);
  let next = debug?.[1] ?? 0;
  const seen = new Set<number>();
  while (next !== 0 && !seen.has(next) && seen.size < MOST_LIBRARIES) {
    seen.add(next);
    const library = take(next, LINK_MAP_BYTES);
    if (library === undefined) break;
    ranges.push(...nameRange(library[1]!, read));
    next = library[3]!;
  }
  return ranges;
}

/** Finds the range of a name, with the 0 at its end. Reads page by page, since the next page may not be there. */
function nameRange(address: number, read: MemoryReader): number[] {
  if (address === 0) return [];
  for (let bytes = NAME_BYTES - (address % NAME_BYTES); bytes <= 2 * NAME_BYTES; bytes += NAME_BYTES) {
    const end = read(address, bytes)?.indexOf(0) ?? -1;
    if (end >= 0) return [address, address + end + 1];
  }
  return [];
}
