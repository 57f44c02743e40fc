/** Memory of Go programs and Java virtual machines. */
import { baseName } from '../proc/internal.js';
import { type Claims, isUnnamed } from './claims.js';
import { PIECE_WORDS } from './evidence.js';

/** `\xff Go buildin` as words of 32 bits: what `go version` looks for, too, at the beginning of a program's variables. */
const GO_MAGIC = [0x6f4720ff, 0x69756220, 0x6e69646c] as const;
/** It lies within the first of them, bytes. */
const GO_MAGIC_REACH = 1 << 16;
/** Go asks for its heap here, and takes it in steps of 64 MiB; on other addresses only where these are taken. */
const GO_HEAP_START = 0xc0_0000_0000;
const GO_HEAP_END = GO_HEAP_START + 2 ** 40;
const GO_STEP = 64 << 20;

function isGo(claims: Claims): boolean {
  const { program } = claims.evidence;
  return claims.mappings.some(({ name, perms, start, end }) => {
    if (name !== program || perms !== 'rw-p') return false;
    const most = Math.min(end, start + GO_MAGIC_REACH);
    for (let piece = start; piece < most; piece += PIECE_WORDS * 8) {
      const words = claims.evidence.read(piece, PIECE_WORDS);
      for (let at = 0; words !== undefined && at < words.length; at += 2) {
        if (
          words.low(at) === GO_MAGIC[0] &&
          words.high(at) === GO_MAGIC[1] &&
          words.low(at + 1) === GO_MAGIC[2]
        ) {
          return true;
        }
      }
    }
    return false;
  });
}

/** `[go heap]`, in which goroutines' stacks are, too. */
export function recogniseGo(claims: Claims): void {
  if (!isGo(claims)) return;
  let end = GO_HEAP_START;
  for (const index of claims.free()) {
    const mapping = claims.mappings[index]!;
    if (mapping.start < GO_HEAP_START || mapping.end > GO_HEAP_END) continue;
    // What lies at its place without a gap, up to the end of the last step, is the heap.
    const joins = mapping.start === end || (mapping.start % GO_STEP === 0 && mapping.perms === 'rw-p');
    if (!joins) continue;
    claims.claim(index, 'go-heap', '[go heap]', mapping.start === end);
    end = mapping.end;
  }
}

/** What else a Go program maps: it has no other library that does. */
export function recogniseGoRuntime(claims: Claims): void {
  if (!claims.owners.some((owner) => owner?.kind === 'go-heap')) return;
  for (const index of claims.freeWritable()) claims.claim(index, 'go-runtime', '[go runtime]', false);
}

/** Java heaps of up to this size lie below it, so that a pointer takes 32 bits. */
const JAVA_LOW_END = 2 ** 36;
const MIB = 2 ** 20;

const isJava = (claims: Claims) => claims.mappings.some(({ name }) => baseName(name) === 'libjvm.so');

/** Java's heap and code, by where they are and by what they may do. All of it is likely only. */
export function recogniseJava(claims: Claims): void {
  if (!isJava(claims)) return;
  for (const index of claims.free()) {
    const { start, perms } = claims.mappings[index]!;
    if (start < JAVA_LOW_END) claims.claim(index, 'java-heap', '[java heap]', false);
    else if (perms === 'rwxp') claims.claim(index, 'java-code', '[java code cache]', false);
  }
  claimBetweenCode(claims);
}

/** What is kept between parts of the code cache and behind it. */
function claimBetweenCode(claims: Claims): void {
  const isCode = (index: number) => claims.owners[index]?.kind === 'java-code';
  for (const index of claims.free()) {
    const { start, end, perms } = claims.mappings[index]!;
    if (perms !== '---p' || !isCode(index - 1) || claims.mappings[index - 1]!.end !== start) continue;
    if (isCode(index + 1) ? claims.mappings[index + 1]!.start === end : end % MIB === 0) {
      claims.claim(index, 'java-code', '[java code cache]', false);
    }
  }
}

/** Class data is mapped in steps of this, at a multiple of 4 MiB, bytes. */
const METASPACE_STEP = 64 * MIB;
const METASPACE_ALIGNMENT = 4 * MIB;

/** Java's class data, which fills whole steps together with what is kept for it, and what else the virtual machine maps. */
export function recogniseJavaRest(claims: Claims): void {
  if (!isJava(claims)) return;
  for (const index of [...claims.freeWritable()]) {
    if (!claims.isFree(index)) continue;
    const { first, last } = freeGroup(claims, index);
    const { start } = claims.mappings[first]!;
    const { end } = claims.mappings[last]!;
    const isMetaspace =
      start % METASPACE_ALIGNMENT === 0 &&
      (end - start) % METASPACE_STEP === 0 &&
      claims.mappings[last]!.perms === '---p';
    for (let at = first; at <= last; at++) {
      if (isMetaspace) claims.claim(at, 'java-metaspace', '[java metaspace]', false);
      else if (claims.mappings[at]!.perms !== '---p') claims.claim(at, 'java-vm', '[java vm]', false);
    }
  }
}

/** The bounds, by index, of the unnamed mappings without a gap around one, of which nobody has said anything. */
function freeGroup(claims: Claims, index: number): { first: number; last: number } {
  const { mappings } = claims;
  const isFree = (at: number) => at in mappings && claims.isFree(at) && isUnnamed(mappings[at]!);
  let first = index;
  let last = index;
  while (isFree(first - 1) && mappings[first - 1]!.end === mappings[first]!.start) first--;
  while (isFree(last + 1) && mappings[last + 1]!.start === mappings[last]!.end) last++;
  return { first, last };
}
