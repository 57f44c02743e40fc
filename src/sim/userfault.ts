import { uffd as abi } from '../abi/index.js';
import { ENTRIES } from '../x86/index.js';
import { Mm } from './mm.js';
import type { Userfault, UserfaultMode } from './vma.js';

const ENOENT = 2;
const EBUSY = 16;
const EINVAL = 22;

/** A userfaultfd after its handshake. */
export function makeUserfault(features: number): Userfault {
  const wpAsync = (features & abi.UFFD_FEATURE_WP_ASYNC) !== 0;
  return {
    features,
    wpAsync,
    wpUnpopulated: wpAsync || (features & abi.UFFD_FEATURE_WP_UNPOPULATED) !== 0,
    rwpAsync: (features & abi.UFFD_FEATURE_RWP_ASYNC) !== 0,
  };
}

const RWP_FEATURES = abi.UFFD_FEATURE_RWP | abi.UFFD_FEATURE_RWP_ASYNC;

/** The handshake: the features asked for must exist. Returns 0 or an errno. */
export function checkFeatures(mm: Mm, features: number): number {
  if ((features & RWP_FEATURES) === 0) return 0;
  if (!mm.profile.hasReadWriteProtection) return EINVAL;
  return (features & abi.UFFD_FEATURE_RWP) === 0 ? EINVAL : 0;
}

/** UFFDIO_SET_MODE. Returns 0 or an errno. */
export function setMode(mm: Mm, uffd: Userfault, enable: number, disable: number): number {
  if (!mm.profile.hasReadWriteProtection || (uffd.features & abi.UFFD_FEATURE_RWP) === 0) return EINVAL;
  if ((enable & disable) !== 0 || ((enable | disable) & ~abi.UFFD_FEATURE_RWP_ASYNC) !== 0) return EINVAL;
  if (enable !== 0) uffd.rwpAsync = true;
  if (disable !== 0) uffd.rwpAsync = false;
  return 0;
}

/** What the bits of UFFDIO_REGISTER say; undefined where the kernel refuses them. */
function modeOf(mm: Mm, uffd: Userfault, bits: number): UserfaultMode | undefined {
  if (bits === abi.UFFDIO_REGISTER_MODE_WP) return 'wp';
  const possible = mm.profile.hasReadWriteProtection && (uffd.features & abi.UFFD_FEATURE_RWP) !== 0;
  return possible && bits === abi.UFFDIO_REGISTER_MODE_RWP ? 'rwp' : undefined;
}

/** UFFDIO_REGISTER on pages [start, end). Returns 0 or an errno. */
export function register(mm: Mm, uffd: Userfault, start: number, end: number, bits: number): number {
  const mode = modeOf(mm, uffd, bits);
  if (mode === undefined) return EINVAL;
  const found = mm.overlapping(start, end);
  if (found.length === 0 || end <= start) return EINVAL;
  if (found[0]!.hugetlb && start % ENTRIES !== 0) return EINVAL;
  for (const vma of found) {
    // To what nobody may access, access cannot be taken away.
    if (mode === 'rwp' && vma.prot === 0) return EINVAL;
    if (vma.hugetlb && end < vma.end && end % ENTRIES !== 0) return EINVAL;
    // One kind of protection cannot be turned into the other.
    if (vma.uffd !== null && (vma.uffd !== uffd || vma.uffdMode !== mode)) return EBUSY;
  }
  for (const vma of found) {
    const current = mm.find(Math.max(start, vma.start))!;
    if (current.uffd === uffd) continue;
    const part = mm.isolate(current, Math.max(start, current.start), Math.min(end, current.end));
    part.setUffd(uffd, mode);
    mm.mergeChanged(part);
  }
  return 0;
}

/** UFFDIO_UNREGISTER. Returns 0 or an errno. */
export function unregister(mm: Mm, uffd: Userfault, start: number, end: number): number {
  const found = mm.overlapping(start, end);
  if (found.length === 0 || end <= start) return EINVAL;
  if (found[0]!.hugetlb && start % ENTRIES !== 0) return EINVAL;
  const isOthers = found.some((vma) => vma.uffd !== null && vma.uffd !== uffd);
  if (isOthers && mm.profile.unregisterIsForOwner) return EINVAL;
  for (const vma of found) {
    const current = mm.find(Math.max(start, vma.start))!;
    if (current.uffd === null) continue;
    const from = Math.max(start, current.start);
    const to = Math.min(end, current.end);
    // Protection is lifted first; only then it may turn out that hugetlb cannot be cut there.
    mm.unprotect(current, from, to);
    if (Mm.forbidsCut(current, from, to)) return EINVAL;
    const part = mm.isolate(current, from, to);
    part.setUffd(null);
    mm.merge(part);
  }
  return 0;
}

/** UFFDIO_WRITEPROTECT. Returns 0 or an errno; mappings before the offending one are done. */
export function writeProtect(mm: Mm, start: number, end: number, wp: boolean): number {
  const found = mm.overlapping(start, end);
  if (end <= start) return EINVAL;
  if (found.length === 0) return ENOENT;
  for (const vma of found) {
    if (!vma.uffdWp) return ENOENT;
    if (vma.hugetlb && (start % ENTRIES !== 0 || (end - start) % ENTRIES !== 0)) return EINVAL;
    const from = Math.max(start, vma.start);
    const to = Math.min(end, vma.end);
    if (wp) mm.protect(vma, from, to);
    else mm.unprotect(vma, from, to);
  }
  return 0;
}

/** UFFDIO_RWPROTECT. Returns 0 or an errno, and then nothing has changed. */
export function rwProtect(mm: Mm, start: number, end: number, rwp: boolean): number {
  const found = mm.overlapping(start, end);
  if (!mm.profile.hasReadWriteProtection || end <= start) return EINVAL;
  if (found.length === 0) return ENOENT;
  for (const vma of found) {
    if (!vma.uffdRwp) return ENOENT;
    if (vma.hugetlb && (start % ENTRIES !== 0 || (end - start) % ENTRIES !== 0)) return EINVAL;
  }
  for (const vma of found) {
    const from = Math.max(start, vma.start);
    const to = Math.min(end, vma.end);
    if (rwp) mm.protect(vma, from, to);
    else mm.unprotect(vma, from, to);
  }
  return 0;
}

/** Closing the descriptor: what it had registered is as if it had never been. */
export function release(mm: Mm, uffd: Userfault): void {
  for (const vma of [...mm.mappings]) {
    // One that has merged with its neighbour is done with it.
    if (vma.uffd !== uffd || mm.find(vma.start) !== vma) continue;
    mm.unprotect(vma, vma.start, vma.end);
    vma.setUffd(null);
    mm.merge(vma);
  }
}
