/// <reference lib="esnext.disposable" preserve="true" />
/** The owners of a process's memory, for programs. */
import { getHeapSpaceStatistics } from 'node:v8';
import { openPagemap, pageSize } from '../live/index.js';
import type { Mapping } from '../proc/index.js';
import { type PageCounts, sumCounts, summarizeMappings } from '../query/internal.js';
import { findOwners } from './live.js';
import { OWNER_KINDS, type Owner, type OwnerKind } from './owner.js';

/** A mapping with its owner and its pages. */
export interface OwnedMapping extends PageCounts {
  readonly mapping: Mapping;
  /** Undefined where no owner is known. */
  readonly owner: Owner | undefined;
}

/** The pages of all owners of one kind. */
export interface OwnerSum extends PageCounts {
  readonly kind: OwnerKind;
  readonly mappings: number;
}

/** A space of V8's heap, as V8 and the kernel count it. Bytes. */
export interface V8SpaceMemory {
  /** As in `v8.getHeapSpaceStatistics()`: `old_space`. */
  readonly name: string;
  /** Bytes that V8 has allocated for it. */
  readonly sizeBytes: number;
  /** Bytes of live objects, and of those that V8 has not collected yet. */
  readonly usedBytes: number;
  /** Bytes in memory. */
  readonly presentBytes: number;
  readonly swappedBytes: number;
}

/** What `ownersOf` finds. */
export interface OwnedMemory {
  readonly pid: number;
  /** In address order. */
  readonly mappings: readonly OwnedMapping[];
  /** Sums of the mappings that have an owner, the largest first. */
  readonly owners: readonly OwnerSum[];
  /**
   * For this process: V8's spaces, in V8's order. V8 counts the calling thread only, the kernel all threads; with
   * workers, the kernel's numbers are larger.
   */
  readonly v8?: readonly V8SpaceMemory[];
}

/**
 * Finds the owners of a process's memory: spaces of V8, malloc, stacks, libraries. It reads a few words of the
 * process's memory, where that is allowed, and neither stops nor changes the process.
 *
 * @param target a process number, or 'self'
 * @throws ProcessError as `openPagemap`
 * @example
 * ```ts
 * import { ownersOf } from 'pagemap-scan/owners';
 * const { owners, v8 } = ownersOf('self');
 * const old = owners.find(({ kind }) => kind === 'v8-old');
 * console.assert(old !== undefined && old.present > 0);
 * console.assert(v8!.some(({ name, presentBytes }) => name === 'old_space' && presentBytes > 0));
 * ```
 */
export function ownersOf(target: number | 'self'): OwnedMemory {
  using pagemap = openPagemap(target);
  const listed = pagemap.mappings();
  const owners = findOwners(pagemap.process, listed);
  const { summaries } = summarizeMappings(pagemap, listed);
  pagemap.checkAlive();
  const mappings = summaries.map((summary, index) => ({ ...summary, owner: owners[index] }));
  return {
    pid: pagemap.pid,
    mappings,
    owners: sumsOf(mappings),
    ...(pagemap.pid === process.pid ? { v8: v8Spaces(mappings) } : {}),
  };
}

function sumsOf(mappings: readonly OwnedMapping[]): OwnerSum[] {
  const sums = Object.keys(OWNER_KINDS).map((kind) => {
    const members = mappings.filter(({ owner }) => owner?.kind === kind);
    return { kind: kind as OwnerKind, mappings: members.length, ...sumCounts(members) };
  });
  return sums.filter(({ mappings: count }) => count > 0).sort((a, b) => b.present - a.present);
}

function v8Spaces(mappings: readonly OwnedMapping[]): V8SpaceMemory[] {
  return getHeapSpaceStatistics().map(({ space_name: name, space_size, space_used_size }) => {
    const label = `[v8 ${name.replaceAll('_', ' ').replace('read only', 'read-only')}]`;
    const members = mappings.filter(({ owner }) => owner?.name === label);
    const bytes = (key: 'present' | 'swapped') =>
      members.reduce((sum, member) => sum + member[key], 0) * pageSize();
    return {
      name,
      sizeBytes: space_size,
      usedBytes: space_used_size,
      presentBytes: bytes('present'),
      swappedBytes: bytes('swapped'),
    };
  });
}
