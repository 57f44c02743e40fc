import { uffd as abi } from '../abi/index.js';
import { ENTRIES } from '../x86/index.js';
import { Mm } from './mm.js';
import type { Userfault, Vma } from './vma.js';

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
  };
}

function supports(vma: Vma, uffd: Userfault, wp: boolean): boolean {
  if (wp && uffd.wpAsync) return true;
  return !wp || vma.anonymous || (uffd.features & abi.UFFD_FEATURE_WP_HUGETLBFS_SHMEM) !== 0;
}

/** UFFDIO_REGISTER in write-protect mode on pages [start, end). Returns 0 or an errno. */
export function register(mm: Mm, uffd: Userfault, start: number, end: number): number {
  const found = mm.overlapping(start, end);
  if (found.length === 0 || end <= start) return EINVAL;
  for (const vma of found) {
    if (!supports(vma, uffd, true)) return EINVAL;
    if (vma.hugetlb && end < vma.end && end % ENTRIES !== 0) return EINVAL;
    if (vma.uffd !== null && vma.uffd !== uffd) return EBUSY;
  }
  if (found[0]!.hugetlb && start % ENTRIES !== 0) return EINVAL;
  for (const vma of found) {
    const current = mm.find(Math.max(start, vma.start))!;
    if (current.uffd === uffd) continue;
    const part = mm.isolate(current, Math.max(start, current.start), Math.min(end, current.end));
    part.uffd = uffd;
    mm.mergeChanged(part);
  }
  return 0;
}

/** UFFDIO_UNREGISTER. Returns 0 or an errno. */
export function unregister(mm: Mm, uffd: Userfault, start: number, end: number): number {
  const found = mm.overlapping(start, end);
  if (found.length === 0 || end <= start) return EINVAL;
  if (found[0]!.hugetlb && start % ENTRIES !== 0) return EINVAL;
  for (const vma of found) if (!supports(vma, uffd, false)) return EINVAL;
  for (const vma of found) {
    const current = mm.find(Math.max(start, vma.start))!;
    if (current.uffd === null) continue;
    const from = Math.max(start, current.start);
    const to = Math.min(end, current.end);
    // Protection is lifted first; only then it may turn out that hugetlb cannot be cut there.
    mm.unprotect(current, from, to);
    if (Mm.forbidsCut(current, from, to)) return EINVAL;
    const part = mm.isolate(current, from, to);
    part.uffd = null;
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

/** Closing the descriptor: what it had registered is as if it had never been. */
export function release(mm: Mm, uffd: Userfault): void {
  for (const vma of [...mm.mappings]) {
    if (vma.uffd !== uffd || !mm.mappings.includes(vma)) continue;
    mm.unprotect(vma, vma.start, vma.end);
    vma.uffd = null;
    mm.merge(vma);
  }
}
