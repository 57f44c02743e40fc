/** Which mappings there are, and what is to become of each. */
import { readFileSync } from 'node:fs';
import type { ProcessHandle } from '../live/internal.js';
import {
  isPrivateFile as isPrivateFileMapping,
  isShared as isSharedMapping,
  isVdso,
  type Mapping,
  parseSmaps,
} from '../proc/internal.js';
import type { Choice } from './choice.js';
import { type MappingTraits, NO_TRAITS, type Share, traitsOf } from './filter.js';

export interface Planned {
  readonly mapping: Mapping;
  readonly traits: MappingTraits;
  /** The traits are this mapping's, and not taken from what was there before, or assumed. */
  readonly known: boolean;
  readonly share: Share;
}

/** Behind the last address of user space; `[vsyscall]` lies above. */
const HIGHEST_ADDRESS = 2 ** 56;

/** What the kernel takes where nothing was said: man core(5). */
const DEFAULT_FILTER = 0x33;

/** The process's own filter. */
export function readFilter(handle: ProcessHandle): number {
  const { pid, thread } = handle;
  const parse = (bytes: Uint8Array) => Number.parseInt(new TextDecoder().decode(bytes), 16);
  if (thread === pid) return parse(handle.read('coredump_filter'));
  // Only processes have the file, and it tells nothing once the main thread has ended; by its number, any thread has.
  try {
    return parse(readFileSync(`/proc/${thread}/coredump_filter`)) || DEFAULT_FILTER;
  } catch {
    return DEFAULT_FILTER;
  }
}

/** Reads all that can be known. Takes the kernel a look at every page table: not for while the process is stopped. */
export function readPlan(handle: ProcessHandle, choice: Choice): Planned[] {
  return parseSmaps(handle.read('smaps'))
    .filter(({ start }) => start < HIGHEST_ADDRESS)
    .map((mapping) => {
      const traits = traitsOf(mapping);
      return { mapping, traits, known: true, share: choice.shareOf(mapping, traits) };
    });
}

/** A plan for mappings as they are now, with what is known from before. */
export function updatePlan(
  mappings: readonly Mapping[],
  before: readonly Planned[],
  choice: Choice,
): Planned[] {
  let index = 0;
  return mappings.map((mapping) => {
    while (index < before.length && before[index]!.mapping.end <= mapping.start) index++;
    const earlier = before[index];
    const same =
      earlier !== undefined &&
      earlier.mapping.start < mapping.end &&
      earlier.mapping.inode === mapping.inode &&
      earlier.mapping.device.minor === mapping.device.minor &&
      earlier.mapping.device.major === mapping.device.major;
    const traits = same ? earlier.traits : NO_TRAITS;
    const known =
      same && earlier.known && earlier.mapping.start === mapping.start && earlier.mapping.end === mapping.end;
    return { mapping, traits, known, share: choice.shareOf(mapping, traits) };
  });
}

/** Shared memory is read from its file: the process's page tables do not tell what is in it, and need not grow. */
export function isShared({ mapping }: Planned): boolean {
  return isSharedMapping(mapping);
}

/** A private mapping of a file, of which the pages that are not the process's own are the file's. */
export function isPrivateFile({ mapping }: Planned): boolean {
  return isPrivateFileMapping(mapping);
}

/** Whether all of its pages are dumped that there are, and not just some, or what the kernel has put there. */
export function hasDumpedPages({ mapping, share }: Planned): boolean {
  const isDumped = share === 'all' || share === 'written' || share === 'written-else-header';
  return isDumped && !isVdso(mapping);
}
