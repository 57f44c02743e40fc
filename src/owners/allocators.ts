/** Allocators that mark nothing of what they give out: by their libraries, or by how they lay it out. Likely at most. */
import { baseName } from '../proc/internal.js';
import type { Claims } from './claims.js';
import type { OwnerKind } from './owner.js';

const LIBRARIES: readonly (readonly [pattern: RegExp, kind: OwnerKind])[] = [
  [/^libjemalloc\.so/, 'jemalloc'],
  [/^libtcmalloc(_[a-z_]+)?\.so/, 'tcmalloc'],
  [/^libmimalloc(-[a-z0-9]+)?\.so/, 'mimalloc'],
];

/** jemalloc takes memory in steps of this, bytes. */
const JEMALLOC_STEP = 2 << 20;

/** jemalloc's own data lie at the beginning of a step: how long it is, and where the one before is. A program may have it built in. */
function hasJemallocBlock(claims: Claims): boolean {
  for (const index of claims.freeWritable()) {
    const { start, end } = claims.mappings[index]!;
    if (start % JEMALLOC_STEP !== 0) continue;
    const words = claims.head(index);
    if (words === undefined) continue;
    const [bytes, before] = [words.at(0), words.at(1)];
    if (bytes !== JEMALLOC_STEP || start + bytes > end) continue;
    if (before % JEMALLOC_STEP === 0 && before !== 0 && claims.isReadable(before)) return true;
  }
  return false;
}

/** The smallest piece that an allocator maps by itself, bytes: less is something else's. */
const LEAST_PIECE = 1 << 16;

/** What is left of a program with another malloc than glibc's: that malloc's. */
export function recogniseAllocators(claims: Claims): void {
  const names = new Set(claims.mappings.map(({ name }) => baseName(name)));
  const found = LIBRARIES.find(([pattern]) => [...names].some((name) => pattern.test(name)));
  const kind = found?.[1] ?? (hasJemallocBlock(claims) ? 'jemalloc' : undefined);
  if (kind === undefined) return;
  for (const index of claims.freeWritable()) {
    const { start, end } = claims.mappings[index]!;
    if (end - start >= LEAST_PIECE) claims.claim(index, kind, `[${kind}]`, false);
  }
}

/** Chromium's allocator: steps of 2 MiB that each begin with a guard, a page of its data two pages from the beginning, and another guard. */
const SUPER_PAGE = 2 << 20;
/** In pages. */
const [DATA_OFFSET, PAYLOAD_OFFSET] = [2, 4];

/** `[partition alloc]`. */
export function recognisePartitionAlloc(claims: Claims): void {
  const steps = new Set<number>();
  const { pageSize } = claims.evidence;
  const [data, payload] = [DATA_OFFSET * pageSize, PAYLOAD_OFFSET * pageSize];
  for (const index of claims.freeWritable()) {
    const { start, end } = claims.mappings[index]!;
    if (start % SUPER_PAGE !== data || end - start !== pageSize) continue;
    if (claims.guardBelow(index) === undefined || claims.guardAbove(index) === undefined) continue;
    steps.add(start - data);
    claims.claim(index, 'partition-alloc', '[partition alloc]', false);
  }
  if (steps.size === 0) return;
  for (const index of claims.freeWritable()) {
    const { start } = claims.mappings[index]!;
    if (!steps.has(Math.floor(start / SUPER_PAGE) * SUPER_PAGE)) continue;
    claims.claim(index, 'partition-alloc', '[partition alloc]', false);
  }
  // Larger pieces lie in pools, each of some GiB without a gap.
  for (const index of claims.freeWritable()) {
    const { start } = claims.mappings[index]!;
    if (start % SUPER_PAGE !== payload || claims.guardBelow(index) === undefined) continue;
    claims.claim(index, 'partition-alloc', '[partition alloc]', false);
  }
}

/** Pages of Oilpan, the collector of Chromium's C++ objects, bytes. */
const OILPAN_PAGE = 1 << 17;

/** `[oilpan]`: each page begins with the address of the heap, which is the same for all. */
export function recogniseOilpan(claims: Claims): void {
  for (const index of claims.freeWritable()) {
    const { start, end } = claims.mappings[index]!;
    if (start % OILPAN_PAGE !== 0 || end - start < 2 * OILPAN_PAGE) continue;
    const first = claims.head(index);
    const second = claims.evidence.read(start + OILPAN_PAGE, 2);
    if (first === undefined || second === undefined || first.at(0) !== second.at(0)) continue;
    const isHeap =
      claims.isReadable(first.at(0)) && claims.isReadable(first.at(1)) && claims.isReadable(second.at(1));
    if (isHeap && first.at(0) % 8 === 0) claims.claim(index, 'oilpan', '[oilpan]', false);
  }
}
