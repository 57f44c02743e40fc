/** Memory that is registered with a userfaultfd for tracking: how, and whether it still is the same. */
import { PagemapError } from '../abi/index.js';
import { isPrivate, type Mapping } from '../proc/internal.js';
import type { SkipReason } from './tracker.js';

/**
 * Registers memory by `register`. Gives the reason where that cannot be.
 *
 * @param checkAlive is asked when the address space is gone
 * @throws what `checkAlive` throws
 */
export function tryRegister(register: () => void, checkAlive: () => void): SkipReason | undefined {
  try {
    register();
    return undefined;
  } catch (error) {
    if (!(error instanceof PagemapError)) throw error;
    if (error.code === 'ESRCH') checkAlive();
    return error.code === 'EBUSY' ? 'busy' : 'refused';
  }
}

/** The offset in the file that address 0 would have: the same for all parts of one mapping, however it is split. */
export function offsetAtZero({ offset, start }: Pick<Mapping, 'offset' | 'start'>): number {
  return offset - start;
}

/** Whether a mapping may still be the one that `part` was a part of. If not even this fits, it is new. */
export function isSame(
  part: { readonly inode: number; readonly offset: number; readonly kind: string | undefined },
  mapping: Mapping,
): boolean {
  if (part.inode !== mapping.inode) return false;
  if (mapping.inode === 0) return true;
  return (
    part.offset === offsetAtZero(mapping) &&
    (part.kind === 'private-file') === (isPrivate(mapping) && part.kind !== 'hugetlb')
  );
}
