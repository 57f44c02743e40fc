/**
 * V8's heap, by the headers of its chunks. A chunk begins at a multiple of 256 KiB. Its header, or the description that it refers to, holds
 * its own address, its length, the heap and the space that it belongs to; the space tells its heap and its number. All of these must agree.
 */
import { type Claims, isUnnamed } from './claims.js';
import type { Words } from './evidence.js';
import type { OwnerKind } from './owner.js';

const CHUNK_BYTES = 1 << 18;
const DESCRIPTION_WORDS = 11;
/** Objects begin so far behind a chunk's beginning at most, bytes: before code, there is a guard. */
const LONGEST_HEADER = 1 << 16;
/** So many chunks are looked at in a mapping. */
const MOST_CHUNKS = 4096;
/** Pointers of 32 bits count from a multiple of this, bytes. */
const CAGE_BYTES = 2 ** 32;
/** In the flags of a chunk that holds young objects: either of these. */
const YOUNG_FLAGS = 0x18;

/** What the spaces are called, by their numbers, as `v8.getHeapSpaceStatistics()` calls them. */
const SPACES_OF_11 = 'read-only new old code shared new-large large code-large shared-large'.split(' ');
const SPACES_OF_12 =
  'read-only new old code shared trusted new-large large code-large shared-large trusted-large'.split(' ');
const SPACES_OF_13 =
  'read-only new old code shared trusted shared-trusted new-large large code-large shared-large shared-trusted-large trusted-large'.split(
    ' ',
  );

const NAMED: Readonly<Record<string, readonly [kind: OwnerKind, name: string]>> = {
  'read-only': ['v8-read-only', '[v8 read-only space]'],
  new: ['v8-new', '[v8 new space]'],
  old: ['v8-old', '[v8 old space]'],
  code: ['v8-code', '[v8 code space]'],
  shared: ['v8-heap', '[v8 shared space]'],
  trusted: ['v8-trusted', '[v8 trusted space]'],
  'shared-trusted': ['v8-trusted', '[v8 shared trusted space]'],
  'new-large': ['v8-large', '[v8 new large object space]'],
  large: ['v8-large', '[v8 large object space]'],
  'code-large': ['v8-code', '[v8 code large object space]'],
  'shared-large': ['v8-large', '[v8 shared large object space]'],
  'trusted-large': ['v8-large', '[v8 trusted large object space]'],
  'shared-trusted-large': ['v8-large', '[v8 shared trusted large object space]'],
  heap: ['v8-heap', '[v8 heap]'],
};

/** A chunk as its header tells it. */
interface Chunk {
  readonly flags: number;
  readonly bytes: number;
  readonly heap: number;
  /** Address of the description of its space. */
  readonly owner: number;
  readonly spaces: readonly string[];
}

/** Reads a header in one of the forms that there have been, each by what V8 and Node.js it was seen in. */
type Form = (claims: Claims, at: number, words: Words) => Chunk | undefined;

/** V8 11 (Node.js 20): length, flags, heap, begin and end of the objects' area, …, space, …, own address, length. */
const form11: Form = (claims, at, words) =>
  words.at(10) === at &&
  words.at(0) === words.at(11) &&
  isArea(claims, at, words.at(0), words.at(3), words.at(4))
    ? { flags: words.low(1), bytes: words.at(0), heap: words.at(2), owner: words.at(8), spaces: SPACES_OF_11 }
    : undefined;

/** V8 12 (Node.js 22): flags, own address, length, heap, begin and end of the area, …, space, …, own address, length. */
const form12: Form = (claims, at, words) =>
  words.at(1) === at &&
  words.at(11) === at &&
  words.at(2) === words.at(12) &&
  isArea(claims, at, words.at(2), words.at(4), words.at(5))
    ? { flags: words.low(0), bytes: words.at(2), heap: words.at(3), owner: words.at(9), spaces: SPACES_OF_12 }
    : undefined;

/** V8 13 and 14 (Node.js 24 and 26): flags, and where the chunk is described: own address, length, …, end, heap, begin, space. */
const form13: Form = (claims, at, words) => {
  const described = readDescription(claims, words.at(1));
  return described?.at(1) === at &&
    described.at(2) === described.at(6) &&
    isArea(claims, at, described.at(2), described.at(9), described.at(7))
    ? {
        flags: words.low(0),
        bytes: described.at(2),
        heap: described.at(8),
        owner: described.at(10),
        spaces: SPACES_OF_13,
      }
    : undefined;
};

function readDescription(claims: Claims, address: number): Words | undefined {
  if (address === 0 || address % 8 !== 0 || !claims.isReadable(address)) return undefined;
  return claims.evidence.read(address, DESCRIPTION_WORDS);
}

const FORMS: readonly Form[] = [form11, form12, form13];

/** Whether the area for objects lies within the chunk, behind its header. */
function isArea(
  { evidence: { pageSize } }: Claims,
  at: number,
  bytes: number,
  begin: number,
  end: number,
): boolean {
  return (
    bytes > 0 &&
    bytes % pageSize === 0 &&
    begin > at &&
    begin < at + LONGEST_HEADER &&
    end > begin &&
    end <= at + bytes
  );
}

/** What the space is that a chunk belongs to; undefined where the space does not belong to the same heap. */
function spaceOf(claims: Claims, chunk: Chunk, perms: string): string | undefined {
  if (chunk.owner % 8 !== 0 || !claims.isReadable(chunk.owner)) return undefined;
  const space = claims.evidence.read(chunk.owner, 3);
  if (space === undefined || space.at(1) !== chunk.heap || chunk.heap === 0) return undefined;
  // A space is an object of C++: it begins with the address of its methods, in the program's file.
  const methods = claims.mappings[claims.indexAt(space.at(0))];
  if (methods === undefined || methods.name[0] !== '/' || methods.perms[1] === 'w') return undefined;
  const name = chunk.spaces[space.low(2) & 0xff];
  if (name === undefined) return 'heap';
  const isYoung = (chunk.flags & YOUNG_FLAGS) !== 0;
  const mayBe =
    name.startsWith('new') === isYoung &&
    (name.startsWith('code') || perms[2] !== 'x') &&
    !name.startsWith('read');
  return mayBe ? name : 'heap';
}

/** The chunk at an address, and the space that it is in. */
function chunkAt(claims: Claims, index: number, at: number): { bytes: number; space: string } | undefined {
  const mapping = claims.mappings[index]!;
  const words = at === mapping.start ? claims.head(index) : claims.evidence.read(at, 14);
  if (words === undefined) return undefined;
  for (const form of FORMS) {
    const chunk = form(claims, at, words);
    const space = chunk && spaceOf(claims, chunk, mapping.perms);
    if (chunk !== undefined && space !== undefined) return { bytes: chunk.bytes, space };
  }
  return undefined;
}

/** How much of a mapping is in which space, bytes, from its first chunk on. */
function spacesOf(claims: Claims, index: number): Map<string, number> {
  const { start, end, perms } = claims.mappings[index]!;
  const found = new Map<string, number>();
  // Code lies anywhere in its range; all else begins with the mapping.
  const isCode = perms[2] === 'x';
  let at = Math.ceil(start / CHUNK_BYTES) * CHUNK_BYTES;
  for (let looked = 0; at < end && looked < MOST_CHUNKS; looked++) {
    const chunk = chunkAt(claims, index, at);
    if (chunk === undefined) {
      if (!isCode) break;
      at += CHUNK_BYTES;
      continue;
    }
    const bytes = Math.min(chunk.bytes, end - at);
    found.set(chunk.space, (found.get(chunk.space) ?? 0) + bytes);
    at += Math.ceil(chunk.bytes / CHUNK_BYTES) * CHUNK_BYTES;
  }
  return found;
}

/** Chunks in mappings of their own, as in Node.js. */
function claimChunks(claims: Claims): void {
  for (const index of claims.unsure()) {
    const { start, end, perms } = claims.mappings[index]!;
    const isCode = perms[2] === 'x';
    if (perms[0] !== 'r' || (start % CHUNK_BYTES !== 0 && !isCode)) continue;
    const spaces = spacesOf(claims, index);
    if (spaces.size === 0) continue;
    const [[space]] = [...spaces] as [[string, number]];
    const [kind, name] = NAMED[spaces.size === 1 ? space : 'heap']!;
    const covered = [...spaces.values()].reduce((sum, bytes) => sum + bytes, 0);
    claims.claim(index, kind, name, isCode || covered >= end - start);
    if (kind === 'v8-code' && !isCode) claimCodeOf(claims, index, kind, name);
  }
}

/** A chunk of code may have its header in a mapping of its own: behind it come a guard, and the code itself. */
function claimCodeOf(claims: Claims, index: number, kind: OwnerKind, name: string): void {
  const chunkEnd = claims.mappings[index]!.start + CHUNK_BYTES;
  for (let at = index + 1; at < claims.mappings.length; at++) {
    const mapping = claims.mappings[at]!;
    if (mapping.start !== claims.mappings[at - 1]!.end || mapping.end > chunkEnd || !isUnnamed(mapping))
      return;
    claims.claim(at, kind, name);
  }
}

/** Where the three forms have a chunk's length, and begin and end of its objects' area: words of the header, or of the description. */
const AREAS = [
  { length: 0, begin: 3, end: 4, isDescribed: false },
  { length: 2, begin: 4, end: 5, isDescribed: false },
  { length: 6, begin: 9, end: 7, isDescribed: true },
];

/** Chunks that no space has: of objects that never change, and those that are about to be given back. */
function claimUnowned(claims: Claims): void {
  for (const index of claims.free()) {
    const { start, perms } = claims.mappings[index]!;
    if (perms[0] !== 'r' || start % CHUNK_BYTES !== 0) continue;
    const head = claims.head(index);
    if (head === undefined) continue;
    const isChunk = AREAS.some(({ length, begin, end, isDescribed }) => {
      const words = isDescribed ? readDescription(claims, head.at(1)) : head;
      return words !== undefined && isArea(claims, start, words.at(length), words.at(begin), words.at(end));
    });
    if (!isChunk) continue;
    const [kind, name] = NAMED[perms[1] === 'w' ? 'heap' : 'read-only']!;
    claims.claim(index, kind, name, false);
    // The rest of the same chunk, with gaps that the chunk's own pages do not need.
    const end = start + CHUNK_BYTES;
    for (
      let at = index + 1;
      perms[1] !== 'w' && at < claims.mappings.length && claims.mappings[at]!.end <= end;
      at++
    ) {
      if (isUnnamed(claims.mappings[at]!)) claims.claim(at, kind, name, false);
    }
  }
}

/**
 * Chunks within 4 GiB, as in Chromium. Their headers hold flags, and the chunk's number counted from the beginning of these 4 GiB: two chunks
 * of one mapping whose numbers are right are no chance.
 */
function claimCage(claims: Claims): void {
  for (const index of claims.free()) {
    const { start, end, perms } = claims.mappings[index]!;
    if (perms[0] !== 'r') continue;
    const first = Math.ceil(start / CHUNK_BYTES) * CHUNK_BYTES;
    const wanted = Math.min(2, Math.ceil((end - first) / CHUNK_BYTES));
    let agree = 0;
    for (let at = first; agree < wanted; at += CHUNK_BYTES) {
      const words = claims.evidence.read(at, 2);
      const number = Math.floor((at % CAGE_BYTES) / CHUNK_BYTES);
      if (words === undefined || words.low(1) !== number || number === 0 || words.high(0) !== 0) break;
      agree++;
    }
    if (agree > 0 && agree === wanted) claims.claim(index, 'v8-heap', '[v8 heap]', false);
  }
  // Parts of the same 4 GiB between two that are known.
  const cages = new Set<number>();
  const cageOf = (index: number) => Math.floor(claims.mappings[index]!.start / CAGE_BYTES);
  claims.owners.forEach((owner, index) => {
    if (owner?.name === '[v8 heap]' && !owner.sure) cages.add(cageOf(index));
  });
  for (const index of claims.free()) {
    if (cages.has(cageOf(index))) claims.claim(index, 'v8-heap', '[v8 heap]', false);
    else if (cages.size > 0 && claims.mappings[index]!.perms === 'rwxp') {
      claims.claim(index, 'v8-code', '[v8 code space]', false);
    }
  }
}

const GIB = 2 ** 30;
/** How much address space V8 keeps for a WebAssembly memory, so that it need not check indices: from its beginning on, bytes. */
const WASM_SPANS = [8 * GIB, 10 * GIB, 16 * GIB];
const WASM_PAGE = 1 << 16;

/** `[wasm memory]`: followed by so much that cannot be accessed that both together are what V8 reserves. */
function claimWasm(claims: Claims): void {
  for (const index of claims.unsureWritable()) {
    const { start, end } = claims.mappings[index]!;
    const above = claims.guardAbove(index);
    if (above === undefined || start % WASM_PAGE !== 0 || (end - start) % WASM_PAGE !== 0) continue;
    if (!WASM_SPANS.includes(above.end - start)) continue;
    claims.claim(index, 'wasm', '[wasm memory]');
    claims.claim(index + 1, 'wasm', '[wasm memory]');
    const below = claims.guardBelow(index);
    if (below !== undefined && below.end - below.start === 2 * GIB)
      claims.claim(index - 1, 'wasm', '[wasm memory]');
  }
}

const TABLE_STEP = 64 << 20;

/** Tables of pointers: 64 KiB that are read only, what is in use, and the rest of a multiple of 64 MiB. */
function claimTables(claims: Claims): void {
  for (const index of claims.free()) {
    const { start, end, perms } = claims.mappings[index]!;
    if (perms !== 'r--p' || end - start !== WASM_PAGE) continue;
    let last = index + 1;
    while (
      claims.mappings[last]?.perms === 'rw-p' &&
      claims.mappings[last]!.start === claims.mappings[last - 1]!.end
    )
      last++;
    const rest = claims.mappings[last];
    if (rest?.perms !== '---p' || rest.start !== claims.mappings[last - 1]!.end) continue;
    if ((rest.end - start) % TABLE_STEP !== 0) continue;
    for (let at = index; at <= last; at++) claims.claim(at, 'v8-table', '[v8 pointer table]', false);
  }
}

/** What is kept for code: memory next to code that cannot be accessed, with copies of the program's own code in between. */
function claimCodeRange(claims: Claims): void {
  const { mappings, evidence } = claims;
  claims.owners.forEach((owner, index) => {
    if (owner?.kind !== 'v8-code' || mappings[index]!.perms[2] !== 'x') return;
    for (const step of [-1, 1]) {
      for (let at = index + step; at >= 0 && at < mappings.length; at += step) {
        const isNext =
          step < 0
            ? mappings[at]!.end === mappings[at + 1]!.start
            : mappings[at - 1]!.end === mappings[at]!.start;
        const { perms, name } = mappings[at]!;
        if (!isNext || (perms !== '---p' && perms[2] !== 'x')) break;
        // From there it goes on by itself.
        if (claims.owners[at]?.kind === 'v8-code') break;
        if (name === '') claims.claim(at, 'v8-code', '[v8 code space]', false);
        else if (name !== evidence.program) break;
      }
    }
  });
}

/** The heaps of V8, and what else it keeps. */
export function recogniseV8(claims: Claims): void {
  claimChunks(claims);
  const isKnown = claims.owners.some((owner) => owner?.kind.startsWith('v8-'));
  if (isKnown) {
    claimCodeRange(claims);
    claimUnowned(claims);
  } else {
    claimCage(claims);
  }
  if (!claims.owners.some((owner) => owner?.kind.startsWith('v8-'))) return;
  claimWasm(claims);
  claimTables(claims);
}
