/** glibc's malloc, by the headers that it writes before what it gives out. */
import type { Claims } from './claims.js';

/** A heap of an arena begins at a multiple of this, bytes, and takes no more. */
const HEAP_BYTES = 64 << 20;
/** Where an arena's description can lie in its first heap, behind the heap's own: bytes, of one release or another. */
const ARENA_OFFSETS = [0x30, 0x20];
/** Words from an arena's beginning to the address of the next one, since 2.27 and before. */
const NEXT_WORDS = [270, 269];
/** In a block's size: it is mapped by itself. */
const IS_MAPPED = 2;
const FLAG_BITS = 0x7;
/** So many blocks one after the other are looked at in a mapping. */
const MOST_BLOCKS = 4096;

interface Heap {
  readonly index: number;
  readonly start: number;
  /** Where its arena is described. */
  readonly arena: number;
}

/** The heap that begins at an address within a mapping, or undefined. */
function heapAt(claims: Claims, index: number, start: number): Heap | undefined {
  const words = start === claims.mappings[index]!.start ? claims.head(index) : claims.evidence.read(start, 6);
  if (words === undefined) return undefined;
  const [arena, before, size, accessible] = [words.at(0), words.at(1), words.at(2), words.at(3)];
  // Nothing in it lies behind its end, and its pages are accessible as far as the mapping goes.
  if (
    size === 0 ||
    size > accessible ||
    accessible > HEAP_BYTES ||
    accessible % claims.evidence.pageSize !== 0
  )
    return undefined;
  const { end } = claims.mappings[index]!;
  if (start + accessible !== end && !(accessible === HEAP_BYTES && start + HEAP_BYTES < end))
    return undefined;
  const offset = arena % HEAP_BYTES;
  if (!ARENA_OFFSETS.includes(offset) || !claims.isReadable(arena)) return undefined;
  // The first heap of an arena holds it; a further one names the heap before.
  const isFirst = arena - offset === start;
  if (isFirst ? before !== 0 : before % HEAP_BYTES !== 0 || before === 0) return undefined;
  return { index, start, arena };
}

/** The numbers of arenas, the oldest being 1: each tells the next, and the newest comes first after the main one. */
function arenaNumbers(claims: Claims, heaps: readonly Heap[]): Map<number, number> {
  const arenas = new Set(heaps.map(({ arena }) => arena));
  const nexts = new Map<number, number>();
  for (const arena of arenas) {
    for (const words of NEXT_WORDS) {
      const next = claims.evidence.read(arena + words * 8, 1)?.at(0);
      if (next === undefined || !claims.isReadable(next)) continue;
      if (arenas.has(next) || claims.mappings[claims.indexAt(next)]!.name[0] === '/') {
        nexts.set(arena, next);
        break;
      }
    }
  }
  const previous = new Map([...nexts].map(([arena, next]) => [next, arena]));
  const numbers = new Map<number, number>();
  // The oldest is the one whose next lies in the library: the main arena.
  let at = [...nexts].find(([, next]) => !arenas.has(next))?.[0];
  for (; at !== undefined && !numbers.has(at); at = previous.get(at)) numbers.set(at, numbers.size + 1);
  for (const arena of arenas) if (!numbers.has(arena)) numbers.set(arena, numbers.size + 1);
  return numbers;
}

/** `[malloc arena 3]`, with the address space that is kept for it. */
export function recogniseArenas(claims: Claims): void {
  const heaps: Heap[] = [];
  for (const index of claims.unsureWritable()) {
    const { start, end } = claims.mappings[index]!;
    if (start % HEAP_BYTES !== 0) continue;
    for (let at = start; at < end; at += HEAP_BYTES) {
      const heap = heapAt(claims, index, at);
      if (heap === undefined) break;
      heaps.push(heap);
    }
  }
  const numbers = arenaNumbers(claims, heaps);
  for (const { index, start, arena } of heaps) {
    const name = `[malloc arena ${numbers.get(arena)}]`;
    claims.claim(index, 'malloc', name);
    const rest = claims.guardAbove(index);
    if (rest !== undefined && rest.end <= Math.floor(start / HEAP_BYTES + 1) * HEAP_BYTES) {
      claims.claim(index + 1, 'malloc', name);
    }
  }
}

/** The length of the block that begins at an address and is mapped by itself; 0 where none does. */
export function mappedBlockBytes(claims: Claims, at: number, end: number): number {
  const { pageSize } = claims.evidence;
  const words = claims.evidence.read(at, 2);
  if (words === undefined) return 0;
  // With a certain alignment asked for, the header lies behind a gap that it tells the length of.
  const aligned = words.at(1) === 0 ? claims.evidence.read(at + pageSize - 16, 2) : undefined;
  const [gap, size] = aligned === undefined ? [words.at(0), words.at(1)] : [aligned.at(0), aligned.at(1)];
  if (gap !== (aligned === undefined ? 0 : pageSize - 16) || size % 8 !== IS_MAPPED) return 0;
  const bytes = gap + size - (size & FLAG_BITS);
  return bytes > 0 && bytes % pageSize === 0 && at + bytes <= end ? bytes : 0;
}

/** `[malloc: large block]`: what malloc maps by itself, one or several of them without a gap. */
export function recogniseLargeBlocks(claims: Claims): void {
  for (const index of claims.unsureWritable()) {
    const { start, end } = claims.mappings[index]!;
    let at = start;
    let count = 0;
    for (; at < end && count < MOST_BLOCKS; count++) {
      const bytes = mappedBlockBytes(claims, at, end);
      if (bytes === 0) break;
      at += bytes;
    }
    if (count === 0) continue;
    const name = count === 1 ? '[malloc: large block]' : '[malloc: large blocks]';
    if (at >= end) claims.claim(index, 'malloc', name);
    else if (count === MOST_BLOCKS || at - start >= (end - start) / 2)
      claims.claim(index, 'malloc', name, false);
  }
}
