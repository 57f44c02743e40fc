/** What the program headers of a program and its libraries tell, which are mapped with them: variables without values, the dynamic linker. */
import type { Mapping } from '../proc/index.js';
import { baseName } from '../proc/internal.js';
import { type Claims, isUnnamed } from './claims.js';

const ELF_MAGIC = 0x464c457f;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_DEBUG = 21;
const HEADER_WORDS = 8;
/** Words of a program header: type and flags, offset, address, physical address, bytes in the file, bytes in memory, alignment. */
const SEGMENT_WORDS = 7;
const MOST_SEGMENTS = 64;
/** So many mappings may lie in a segment's part without a file: a program may have changed what a few pages of it permit. */
const MOST_PARTS = 16;

interface Segment {
  /** `PT_*`. */
  readonly type: number;
  readonly start: number;
  /** Behind what the file holds of it. */
  readonly fileEnd: number;
  readonly end: number;
}

const pageUp = (address: number, pageSize: number) => Math.ceil(address / pageSize) * pageSize;

/** The segments of a file, given where its beginning is mapped; none where that cannot be read, or is no such file. */
function segmentsOf(claims: Claims, at: number): Segment[] {
  const header = claims.evidence.read(at, HEADER_WORDS);
  // 64 bits, least significant byte first.
  if (header?.low(0) !== ELF_MAGIC || (header.high(0) & 0xffff) !== 0x0102) return [];
  const headersAt = header.at(4);
  const entryBytes = header.high(6) >>> 16;
  const count = header.low(7) & 0xffff;
  if (entryBytes !== SEGMENT_WORDS * 8 || count === 0 || count > MOST_SEGMENTS || headersAt % 8 !== 0)
    return [];
  const table = claims.evidence.read(at + headersAt, count * SEGMENT_WORDS);
  if (table === undefined) return [];
  const segments = Array.from({ length: count }, (_, index) => index * SEGMENT_WORDS);
  const first = segments.find((segment) => table.low(segment) === PT_LOAD && table.at(segment + 1) === 0);
  if (first === undefined) return [];
  const base = at - (table.at(first + 2) - (table.at(first + 2) % claims.evidence.pageSize));
  return segments.map((segment) => {
    const start = base + table.at(segment + 2);
    return {
      type: table.low(segment),
      start,
      fileEnd: start + table.at(segment + 4),
      end: start + table.at(segment + 5),
    };
  });
}

/** The pages of each segment that are in no file. */
function unfiledRanges(claims: Claims, at: number): { start: number; end: number }[] {
  const { pageSize } = claims.evidence;
  return segmentsOf(claims, at)
    .filter(({ type }) => type === PT_LOAD)
    .map(({ fileEnd, end }) => ({ start: pageUp(fileEnd, pageSize), end: pageUp(end, pageSize) }))
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
      const first = claims.indexAt(start);
      const after = first < 0 ? first : Math.min(claims.mappings.length, first + MOST_PARTS);
      for (let at = first; at < after && claims.mappings[at]!.start < end; at++) {
        const mapping = claims.mappings[at]!;
        if (!isUnnamed(mapping) || mapping.start < start || mapping.perms[0] !== 'r') continue;
        // The kernel joins it with what else is mapped behind it.
        if (isMostOf(mapping, end)) claims.claim(at, 'bss', name, mapping.end <= end);
      }
    }
  });
}

/** Whether most of a mapping lies before an address: the name of a mapping is that of most of it. */
const isMostOf = (mapping: Mapping, end: number) => end - mapping.start >= mapping.end - end;

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

/** So many entries of a program's dynamic section are looked at, two words each. */
const MOST_ENTRIES = 64;
/** So many libraries of a program are looked at. */
const MOST_LIBRARIES = 1024;
/** The dynamic linker maps a few pages at a time for itself; more is an allocator's that it was given, bytes. */
const LARGEST_LOADER = 1 << 16;

/** Where the dynamic linker describes its work to debuggers (System V ABI, "Dynamic Linking"); 0 where it does not. */
function debugOf(claims: Claims): number {
  const { program } = claims.evidence;
  const file = claims.mappings.find(({ name, offset }) => name === program && offset === 0);
  if (file === undefined) return 0;
  const dynamic = segmentsOf(claims, file.start).find(({ type }) => type === PT_DYNAMIC);
  if (dynamic === undefined || dynamic.start % 8 !== 0) return 0;
  const count = Math.min(MOST_ENTRIES, Math.floor((dynamic.end - dynamic.start) / 16));
  const entries = count > 0 ? claims.evidence.read(dynamic.start, count * 2) : undefined;
  for (let entry = 0; entries !== undefined && entry < count; entry++)
    if (entries.at(entry * 2) === DT_DEBUG) return entries.at(entry * 2 + 1);
  return 0;
}

/**
 * `[ld.so?]`: where the dynamic linker keeps its list of libraries, before there is a malloc. Each entry names its dynamic section, which lies
 * in a file, and the entry before it.
 */
export function recogniseLoader(claims: Claims): void {
  const debug = debugOf(claims);
  let before = 0;
  let at = debug === 0 ? 0 : (claims.evidence.read(debug, 2)?.at(1) ?? 0);
  for (let library = 0; at !== 0 && library < MOST_LIBRARIES; library++) {
    // Address, name, dynamic section, next, previous.
    const words = claims.evidence.read(at, 5);
    if (words === undefined || words.at(4) !== before) return;
    const index = claims.indexAt(at);
    // Memory may be another than when the mappings were listed: the process has replaced its program, say.
    const mapping = claims.mappings[index];
    if (mapping === undefined) return;
    if (claims.isFree(index) && isUnnamed(mapping) && mapping.end - mapping.start <= LARGEST_LOADER)
      claims.claim(index, 'loader', '[ld.so]', false);
    before = at;
    at = words.at(3);
  }
}

/** Where the beginning of the file is mapped that a mapping is of; undefined where that is not near. */
function fileStart(claims: Claims, index: number): number | undefined {
  const { name } = claims.mappings[index]!;
  for (let at = index; at >= 0 && at > index - MOST_PARTS; at--) {
    const mapping = claims.mappings[at]!;
    if (mapping.name === name && mapping.offset === 0 && mapping.perms[0] === 'r') return mapping.start;
  }
  return undefined;
}

/** Whether the headers of a file were read, and say that most of a mapping is in no segment of it. */
function isNoBss(claims: Claims, fileAt: number, mapping: Mapping): boolean {
  const header = claims.evidence.read(fileAt, HEADER_WORDS);
  if (header === undefined) return false;
  if (header.low(0) !== ELF_MAGIC) return true;
  if (segmentsOf(claims, fileAt).length === 0) return false;
  return !unfiledRanges(claims, fileAt).some(
    ({ start, end }) => start <= mapping.start && mapping.start < end && isMostOf(mapping, end),
  );
}

/** Where the headers cannot be read: what follows a library's variables without a gap is most likely more of them. */
export function recogniseBssByPlace(claims: Claims): void {
  for (const index of claims.freeWritable()) {
    const below = claims.mappings[index - 1];
    if (below === undefined || below.end !== claims.mappings[index]!.start || below.name[0] !== '/') continue;
    if (below.perms !== 'rw-p') continue;
    const fileAt = fileStart(claims, index - 1);
    if (fileAt !== undefined && isNoBss(claims, fileAt, claims.mappings[index]!)) continue;
    claims.claim(index, 'bss', `[bss: ${baseName(below.name)}]`, false);
  }
}
