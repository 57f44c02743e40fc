import { PAGE_SIZE, USER_SPACE_END } from '../abi/internal.js';
import {
  ENTRIES,
  isHugeEntry,
  isMarker,
  PRESENT_ANY,
  SOFT_DIRTY,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
} from '../x86/index.js';
import { cloneMapping } from './clone.js';
import type { Mm } from './mm.js';
import type { Vma } from './vma.js';

const ENOMEM = 12;
const EFAULT = 14;
const EINVAL = 22;
const LAST_PAGE = USER_SPACE_END / PAGE_SIZE;

/** What mremap is asked to do, in pages. */
export interface Move {
  readonly start: number;
  readonly pages: number;
  readonly newPages: number;
}

/** mremap with MREMAP_FIXED, to page `to`. Returns 0 or an errno; what was done before an error stays done. */
export function moveTo(mm: Mm, move: Move, to: number): number {
  const { start, pages, newPages } = move;
  if (newPages === 0 || to < 0 || to + newPages > LAST_PAGE) return EINVAL;
  if (to < start + pages && start < to + newPages) return EINVAL;
  const vma = mm.find(start);
  if (vma === undefined) return EFAULT;
  const isSeveral = pages === newPages && vma.end < start + roundedPages(vma, pages);
  return isSeveral && mm.profile.mremapMovesSeveral ? moveSeveral(mm, move, to) : moveOne(mm, move, to);
}

/**
 * mremap without a target: in place, or to wherever `freePage` finds room.
 *
 * @returns the page where the mapping is then, or a negated errno
 */
export function resize(mm: Mm, move: Move, freePage: (pages: number) => number): number {
  const { start } = move;
  if (move.newPages === 0 || move.newPages > LAST_PAGE) return -EINVAL;
  const vma = mm.find(start);
  if (vma === undefined) return -EFAULT;
  if (forbidsHugetlb(vma, move, start)) return -EINVAL;
  const pages = roundedPages(vma, move.pages);
  const newPages = roundedPages(vma, move.newPages);
  if (pages === 0 && !vma.shared) return -EINVAL;
  const end = start + pages;
  if (newPages <= pages && pages > 0) {
    const isWhole = vma.end >= end;
    if (!isWhole && !mm.profile.mremapMovesSeveral) return -EFAULT;
    const errno = newPages < pages ? unmapChecked(mm, start + newPages, end) : 0;
    return errno === 0 ? start : -errno;
  }
  if (vma.end < end) return -EFAULT;
  const next = mm.mappings[mm.indexAfter(end)];
  const room = Math.min(next?.start ?? LAST_PAGE, LAST_PAGE);
  if (pages > 0 && vma.end === end && start + newPages <= room) {
    vma.end = start + newPages;
    vma.softDirty = mm.profile.tracksSoftDirty;
    mm.merge(vma);
    return start;
  }
  const to = freePage(newPages);
  if (to < 0) return -ENOMEM;
  moveRange(mm, start, end, to, newPages);
  return to;
}

/** A length in pages as a mapping has it: of hugetlb, whole huge pages. */
function roundedPages(vma: Vma, pages: number): number {
  return vma.hugetlb ? Math.ceil(pages / ENTRIES) * ENTRIES : pages;
}

/** hugetlb begins at a huge page, before and after, and cannot grow. */
function forbidsHugetlb(vma: Vma, { start, pages, newPages }: Move, to: number): boolean {
  if (!vma.hugetlb) return false;
  return (
    start % ENTRIES !== 0 || to % ENTRIES !== 0 || roundedPages(vma, newPages) > roundedPages(vma, pages)
  );
}

function unmapChecked(mm: Mm, start: number, end: number): number {
  if (end > LAST_PAGE || !mm.cutEnds(start, end)) return EINVAL;
  mm.unmap(start, end);
  return 0;
}

/** Moves the mappings of a range one by one, each to its place in the target; where there is none, the target keeps what it has. */
function moveSeveral(mm: Mm, { start, pages }: Move, to: number): number {
  for (let page = start; page < start + pages; ) {
    const vma = mm.mappings[mm.indexAfter(page)];
    if (vma === undefined || vma.start >= start + pages) break;
    // The first one that is registered ends the call.
    if (vma.uffd !== null) return EFAULT;
    const first = Math.max(vma.start, page);
    const last = Math.min(vma.end, start + pages);
    const part = { start: first, pages: last - first, newPages: last - first };
    const errno = moveOne(mm, part, to + (first - start));
    if (errno !== 0) return errno;
    page = last;
  }
  return 0;
}

function moveOne(mm: Mm, move: Move, to: number): number {
  const { start } = move;
  const vma = mm.find(start)!;
  if (forbidsHugetlb(vma, move, to)) return EINVAL;
  const pages = roundedPages(vma, move.pages);
  const newPages = roundedPages(vma, move.newPages);
  if (pages === 0 && !vma.shared) return EINVAL;
  const kept = Math.min(pages, newPages);
  if (vma.end < start + (mm.profile.mremapMovesSeveral ? kept : pages)) return EFAULT;
  const errno =
    unmapChecked(mm, to, to + newPages) ||
    (pages > newPages ? unmapChecked(mm, start + newPages, start + pages) : 0);
  if (errno !== 0) return errno;
  // A length of 0, for a second view of shared memory, does not keep the target off the mapping itself.
  const source = mm.find(start);
  if (source === undefined || source.end < start + kept) return EFAULT;
  moveRange(mm, start, start + kept, to, newPages);
  return 0;
}

/** Moves [start, end) of one mapping to `to`, where `pages` pages are mapped then. */
function moveRange(mm: Mm, start: number, end: number, to: number, pages: number): void {
  const source = mm.find(start)!;
  const { uffd, hugetlb } = source;
  const target = cloneMapping(source, to, to + pages);
  target.isCharged = source.isCharged;
  // Anonymous memory without pages is tied to no place: it is as if it had been mapped at the new one.
  if (source.anonymous && source.anonVma === null) target.offset = to;
  else target.offset += start - source.start;
  target.softDirty = mm.profile.tracksSoftDirty;
  // Protection belongs to the range that was registered; it does not travel.
  if (uffd !== null && mm.profile.mremapClearsProtection) clearProtection(mm, source, start, end);
  mm.insert(target);
  if (uffd === null) mm.merge(target);
  else {
    // The new mapping finds its neighbours while it is registered, and then all that it has become no longer is.
    target.setUffd(uffd, source.uffdMode);
    mm.merge(target).setUffd(null);
  }
  if (hugetlb) moveHugetlb(mm, start, end, to);
  else moveEntries(mm, source, start, end, to);
  if (start === end) return;
  // What the pool keeps for it goes along.
  if (hugetlb) mm.isolate(mm.find(start)!, start, end).isCharged = false;
  mm.unmap(start, end);
}

/** Lifts protection, from guard pages that were protected by a scan, too. */
function clearProtection(mm: Mm, vma: Vma, start: number, end: number): void {
  mm.unprotect(vma, start, end);
  if (vma.hugetlb) return;
  const { tables } = mm;
  for (let page = start; page < end; page++) {
    const block = Math.floor(page / ENTRIES);
    const table = tables.findPte(block);
    if (table < 0) {
      page = (block + 1) * ENTRIES - 1;
      continue;
    }
    const slot = table + (page % ENTRIES) * 2;
    const low = tables.words[slot]!;
    if (low !== 0 && isMarker(low, tables.words[slot + 1]!)) tables.words[slot] = low & ~SWP_UFFD_WP;
  }
}

function moveHugetlb(mm: Mm, start: number, end: number, to: number): void {
  for (let page = start; page < end; page += ENTRIES) {
    const pmd = mm.tables.findPmd(page / ENTRIES);
    if (pmd >= 0 && mm.tables.words[pmd] !== 0)
      mm.tables.moveBlock(page / ENTRIES, (page - start + to) / ENTRIES);
  }
}

function moveEntries(mm: Mm, source: Vma, start: number, end: number, to: number): void {
  const { tables } = mm;
  let page = start;
  while (page < end) {
    const block = Math.floor(page / ENTRIES);
    const destination = page - start + to;
    const last = Math.min(end, (block + 1) * ENTRIES);
    const pmd = tables.findPmd(block);
    if (pmd < 0) {
      page = last;
      continue;
    }
    const whole = page % ENTRIES === 0 && destination % ENTRIES === 0 && page + ENTRIES <= end;
    if (whole && tables.words[pmd] !== 0) {
      tables.moveBlock(block, destination / ENTRIES);
      page = last;
      continue;
    }
    if (isHugeEntry(tables.words[pmd]!)) mm.splitHuge(source, block);
    const hasTable = tables.findPte(block) >= 0;
    // The target gets tables wherever the source has some, whether or not there is something in them.
    const lastBlock = Math.floor((destination + last - page - 1) / ENTRIES);
    for (let at = Math.floor(destination / ENTRIES); at <= lastBlock; at++) {
      if (hasTable) tables.ensurePte(at);
      else tables.ensurePmd(at);
    }
    if (hasTable) moveSmall(mm, page, last, destination);
    page = last;
  }
}

/** Moves the small entries of [page, last), which lie in one table. */
function moveSmall(mm: Mm, page: number, last: number, destination: number): void {
  const { tables } = mm;
  const { words } = tables;
  const from = tables.findPte(Math.floor(page / ENTRIES));
  for (let index = 0; index < last - page; index++) {
    const old = from + ((page + index) % ENTRIES) * 2;
    const low = words[old]!;
    if (low === 0) continue;
    const at = destination + index;
    const slot = tables.findPte(Math.floor(at / ENTRIES)) + (at % ENTRIES) * 2;
    const dirty =
      (low & PRESENT_ANY) !== 0 ? SOFT_DIRTY : isMarker(low, words[old + 1]!) ? 0 : SWP_SOFT_DIRTY;
    words[slot] = low | dirty;
    words[slot + 1] = words[old + 1]!;
    mm.clearEntry(old);
  }
}
