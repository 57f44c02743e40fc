/** Memory behind the variables that a program's or library's file gives no values for, by the program headers that are mapped with it. */
import { PAGE_SIZE } from '../abi/index.js';
import { baseName, type Claims, isUnnamed } from './claims.js';

const ELF_64 = 0x464c457f;
const PT_LOAD = 1;
const HEADER_WORDS = 8;
/** Words of a program header: type and flags, offset, address, physical address, bytes in the file, bytes in memory, alignment. */
const SEGMENT_WORDS = 7;
const MOST_SEGMENTS = 64;

interface Range {
  readonly start: number;
  readonly end: number;
}

const pageUp = (address: number) => Math.ceil(address / PAGE_SIZE) * PAGE_SIZE;

/** The pages of each segment that are in no file, given where the file's beginning is mapped. */
function unfiledRanges(claims: Claims, at: number): Range[] {
  const header = claims.evidence.read(at, HEADER_WORDS);
  // 64 bits, least significant byte first.
  if (header?.low(0) !== ELF_64 || (header.high(0) & 0xffff) !== 0x0102) return [];
  const headersAt = header.at(4);
  const entryBytes = header.high(6) >>> 16;
  const count = header.low(7) & 0xffff;
  if (entryBytes !== SEGMENT_WORDS * 8 || count === 0 || count > MOST_SEGMENTS || headersAt % 8 !== 0)
    return [];
  const table = claims.evidence.read(at + headersAt, count * SEGMENT_WORDS);
  if (table === undefined) return [];
  const segments = Array.from({ length: count }, (_, index) => index * SEGMENT_WORDS).filter(
    (segment) => table.low(segment) === PT_LOAD,
  );
  const first = segments.find((segment) => table.at(segment + 1) === 0);
  if (first === undefined) return [];
  const base = at - (table.at(first + 2) - (table.at(first + 2) % PAGE_SIZE));
  return segments
    .map((segment) => {
      const address = base + table.at(segment + 2);
      return { start: pageUp(address + table.at(segment + 4)), end: pageUp(address + table.at(segment + 5)) };
    })
    .filter(({ start, end }) => end > start);
}

/** `[bss: libc.so.6]`: between the end of a segment's part in the file and its end in memory. */
export function recogniseBss(claims: Claims): void {
  claims.mappings.forEach((file, index) => {
    if (file.name[0] !== '/' || file.offset !== 0 || file.perms[0] !== 'r' || file.perms[3] !== 'p') return;
    // Read only files of whose mappings one is followed by unnamed memory.
    if (!isFollowed(claims, index)) return;
    const name = `[bss: ${baseName(file.name)}]`;
    for (const { start, end } of unfiledRanges(claims, file.start)) {
      let at = claims.indexAt(start);
      for (; at >= 0 && at < claims.mappings.length && claims.mappings[at]!.start < end; at++) {
        const mapping = claims.mappings[at]!;
        if (!isUnnamed(mapping) || mapping.start < start || mapping.perms[0] !== 'r') continue;
        // The kernel joins it with what else is mapped behind it.
        claims.claim(at, 'bss', name, mapping.end <= end);
      }
    }
  });
}

function isFollowed(claims: Claims, index: number): boolean {
  const { name } = claims.mappings[index]!;
  const most = Math.min(claims.mappings.length, index + 16);
  for (let at = index + 1; at < most; at++) {
    const mapping = claims.mappings[at]!;
    if (mapping.name === name) continue;
    return isUnnamed(mapping) && mapping.start === claims.mappings[at - 1]!.end;
  }
  return false;
}

/** Where the headers cannot be read: what follows a library's variables without a gap is most likely more of them. */
export function recogniseBssByPlace(claims: Claims): void {
  for (const index of claims.freeWritable()) {
    const below = claims.mappings[index - 1];
    if (below === undefined || below.end !== claims.mappings[index]!.start || below.name[0] !== '/') continue;
    if (below.perms !== 'rw-p') continue;
    claims.claim(index, 'bss', `[bss: ${baseName(below.name)}]`, false);
  }
}
