/** Finds the memory that backtraces are made of. */
import { PAGE_SIZE } from '../abi/index.js';
import { findMappingIndex, type Mapping } from '../proc/index.js';
import { isVdso } from '../proc/internal.js';
import type { CoreArchitecture } from './architecture.js';
import { joinRanges } from './direct-io.js';
import type { Planned } from './plan.js';
import { within } from './range-set.js';
import type { Part } from './selection.js';
import type { ThreadPointers } from './threads.js';

/** The usual length of a stack (ulimit -s), bytes. */
const MOST_STACK_BYTES = 8 << 20;
/** The most that is taken where a mapping is more than one stack, as a heap with goroutines or fibers, bytes. */
const MOST_SMALL_BYTES = 256 << 10;

type StackLayout = Pick<CoreArchitecture, 'redZoneBytes' | 'controlBlockBytes'>;

/** Finds a stack, from the stack pointer to its beginning. Stacks grow downward. */
function stackRange(
  mappings: readonly Mapping[],
  { stack, thread }: ThreadPointers,
  { redZoneBytes, controlBlockBytes }: StackLayout,
): [number, number] | undefined {
  const index = findMappingIndex(mappings, stack);
  const mapping = mappings[index];
  if (mapping === undefined || mapping.perms[0] !== 'r') return undefined;
  const { start, end, name } = mapping;
  const from = Math.max(start, stack - redZoneBytes);
  // The kernel may have joined a stack with what comes behind it.
  if (thread > stack && thread < Math.min(end, stack + MOST_STACK_BYTES))
    return [from, Math.min(end, thread + controlBlockBytes)];
  const below = mappings[index - 1];
  const hasGuard = below?.end === start && below.perms.startsWith('---');
  const isStack = name === '[stack]' || hasGuard || end - start <= MOST_STACK_BYTES;
  return [from, Math.min(end, from + (isStack ? MOST_STACK_BYTES : MOST_SMALL_BYTES))];
}

/** Finds all stacks: whole pages, start and end in turns, bytes, ascending. */
export function stackRanges(
  plan: readonly Planned[],
  threads: readonly ThreadPointers[],
  layout: StackLayout,
): number[] {
  const mappings = plan.map(({ mapping }) => mapping);
  const ranges = threads.flatMap((thread) => stackRange(mappings, thread, layout) ?? []);
  return joinRanges(ranges, PAGE_SIZE);
}

/**
 * Makes a plan of which ranges are all that is dumped, but for what must not be, and for first pages of programs and libraries.
 *
 * @param ranges start and end in turns, bytes, in any order; widened to whole pages
 * @param hasHeader whether an ELF file begins at an address
 */
export function planParts(
  plan: readonly Planned[],
  ranges: readonly number[],
  hasHeader: (start: number) => boolean,
): { readonly plan: readonly Planned[]; readonly parts: readonly Part[] } {
  const wanted = joinRanges(ranges, PAGE_SIZE);
  const parts: Part[] = [];
  const made = plan.map((before) => {
    const { mapping, share, traits } = before;
    const { start, end } = mapping;
    const found = within(wanted, start, end);
    const isSecret = share === 'zeros' || traits.dontDump || traits.io;
    if (found.length === 0 || isSecret || isVdso(mapping)) return before;
    const planned: Planned = { ...before, share: 'parts' };
    const all = hasHeader(start) ? joinRanges([start, start + PAGE_SIZE, ...found], PAGE_SIZE) : found;
    for (let index = 0; index < all.length; index += 2)
      parts.push({ start: all[index]!, end: all[index + 1]!, planned });
    return planned;
  });
  return { plan: made, parts };
}
