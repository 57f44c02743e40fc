import { mman } from '../abi/index.js';
import { FRAME_ANONYMOUS, FRAME_FILE } from '../engine/index.js';
import {
  D,
  ENTRIES,
  frameOf,
  isHugeEntry,
  isMarker,
  isProtected,
  MARKER_GUARD,
  MARKER_GUARD_LOW,
  MARKER_UFFD_WP_LOW,
  markerBits,
  PRESENT_ANY,
  PS,
  RW,
  SOFT_DIRTY,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapEntryHigh,
  swapEntryLow,
  swapEntrySlot,
  UFFD_WP,
} from '../x86/index.js';
import { accessMapping, FAULT_OK, swapIn } from './fault.js';
import { HUGE_PAGES, HUGE_ZERO_FRAME, type MemoryFile, ZERO_FRAME } from './memory.js';
import { forEachMappingOf, isZeroFrame, Mm } from './mm.js';
import { ADVICE_HUGE, ADVICE_NO_HUGE, type Vma } from './vma.js';

const ENOMEM = 12;
const EACCES = 13;
const EFAULT = 14;
const EBUSY = 16;
const EINVAL = 22;

/** madvise(2) on pages [start, end). Returns 0 or an errno. */
export function advise(mm: Mm, start: number, end: number, advice: number): number {
  if (!isKnown(mm, advice)) return EINVAL;
  if (start === end) return 0;
  if (advice === mman.MADV_POPULATE_READ || advice === mman.MADV_POPULATE_WRITE) {
    return populate(mm, start, end, advice === mman.MADV_POPULATE_WRITE);
  }
  // A gap is reported at the end; what is mapped gets the advice all the same.
  let gap = 0;
  let at = start;
  for (const vma of mm.overlapping(start, end)) {
    if (vma.start > at) gap = ENOMEM;
    const from = Math.max(at, vma.start);
    const to = Math.min(end, vma.end);
    if (from >= to) continue;
    const error = adviseMapping(mm, mm.find(from)!, from, to, advice);
    if (error !== 0) return error;
    at = to;
  }
  return at < end ? ENOMEM : gap;
}

function isKnown(mm: Mm, advice: number): boolean {
  switch (advice) {
    case mman.MADV_NORMAL:
    case mman.MADV_DONTNEED:
    case mman.MADV_FREE:
    case mman.MADV_REMOVE:
    case mman.MADV_HUGEPAGE:
    case mman.MADV_NOHUGEPAGE:
    case mman.MADV_COLD:
    case mman.MADV_PAGEOUT:
    case mman.MADV_POPULATE_READ:
    case mman.MADV_POPULATE_WRITE:
    case mman.MADV_COLLAPSE:
      return true;
    case mman.MADV_GUARD_INSTALL:
    case mman.MADV_GUARD_REMOVE:
      return mm.profile.hasGuardPages;
    default:
      return false;
  }
}

function adviseMapping(mm: Mm, vma: Vma, start: number, end: number, advice: number): number {
  switch (advice) {
    case mman.MADV_DONTNEED:
      return dontneed(mm, vma, start, end);
    case mman.MADV_FREE:
      if (!vma.anonymous) return EINVAL;
      free(mm, vma, start, end);
      return 0;
    case mman.MADV_REMOVE:
      return remove(mm, vma, start, end);
    case mman.MADV_HUGEPAGE:
      return setHugeAdvice(mm, vma, start, end, ADVICE_HUGE);
    case mman.MADV_NOHUGEPAGE:
      return setHugeAdvice(mm, vma, start, end, ADVICE_NO_HUGE);
    case mman.MADV_COLD:
    case mman.MADV_PAGEOUT:
      if (vma.hugetlb) return EINVAL;
      pageOut(mm, vma, start, end, advice === mman.MADV_PAGEOUT);
      return 0;
    case mman.MADV_COLLAPSE:
      return collapse(mm, vma, start, end);
    case mman.MADV_GUARD_INSTALL:
      if (vma.hugetlb) return EINVAL;
      installGuards(mm, vma, start, end);
      return 0;
    case mman.MADV_GUARD_REMOVE:
      if (vma.hugetlb) return EINVAL;
      removeGuards(mm, start, end);
      return 0;
    default:
      return 0;
  }
}

function dontneed(mm: Mm, vma: Vma, start: number, end: number): number {
  let last = end;
  if (vma.hugetlb) {
    if (start % ENTRIES !== 0) return EINVAL;
    last -= last % ENTRIES;
  }
  if (last > start) mm.zap(vma, start, last, false, mm.profile.dontneedFreesTables);
  return 0;
}

function setHugeAdvice(mm: Mm, vma: Vma, start: number, end: number, advice: number): number {
  if (vma.hugeAdvice === advice) return 0;
  if (Mm.forbidsCut(vma, start, end)) return EINVAL;
  const part = mm.isolate(vma, start, end);
  part.hugeAdvice = advice;
  mm.mergeChanged(part);
  return 0;
}

function populate(mm: Mm, start: number, end: number, write: boolean): number {
  let page = start;
  while (page < end) {
    const vma = mm.find(page);
    if (vma === undefined) return ENOMEM;
    if ((vma.prot & (write ? mman.PROT_WRITE : mman.PROT_READ)) === 0) return EINVAL;
    const last = Math.min(end, vma.end);
    for (; page < last; page++) if (accessMapping(mm, vma, page, write) !== FAULT_OK) return EFAULT;
  }
  return 0;
}

// ---- guard pages ----

function installGuards(mm: Mm, vma: Vma, start: number, end: number): void {
  mm.prepareAnon(vma);
  mm.zap(vma, start, end, false, false);
  for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
    const base = block * ENTRIES;
    const table = mm.tables.ensurePte(block);
    const last = Math.min(ENTRIES, end - base);
    for (let index = Math.max(0, start - base); index < last; index++) {
      const slot = table + index * 2;
      // One that is there already keeps its own state of protection.
      const low = mm.tables.words[slot]!;
      if (low !== 0 && (markerBits(low) & MARKER_GUARD) !== 0) continue;
      mm.setMarker(slot, MARKER_GUARD_LOW);
    }
  }
}

function removeGuards(mm: Mm, start: number, end: number): void {
  forEachEntry(mm, start, end, (slot) => {
    const { words } = mm.tables;
    const low = words[slot]!;
    if (isMarker(low, words[slot + 1]!) && (markerBits(low) & MARKER_GUARD) !== 0) mm.clearEntry(slot);
  });
}

/** Calls back for each entry of existing last-level tables that is not empty. */
function forEachEntry(mm: Mm, start: number, end: number, visit: (slot: number, page: number) => void): void {
  const { tables } = mm;
  for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
    const table = tables.findPte(block);
    if (table < 0) continue;
    const base = block * ENTRIES;
    const last = Math.min(ENTRIES, end - base);
    for (let index = Math.max(0, start - base); index < last; index++) {
      if (tables.words[table + index * 2] !== 0) visit(table + index * 2, base + index);
    }
  }
}

// ---- huge pages that are mapped by small entries ----

/**
 * Splits the anonymous huge pages that small entries map in the range, but for those of which the range has all
 * 512 pages, alike and in a row: these stay one.
 */
function splitPartLarge(mm: Mm, start: number, end: number): void {
  const { tables, memory } = mm;
  for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
    const table = tables.findPte(block);
    if (table < 0) continue;
    const base = block * ENTRIES;
    const last = Math.min(ENTRIES, end - base);
    for (let index = Math.max(0, start - base); index < last; index++) {
      const slot = table + index * 2;
      if ((tables.words[slot]! & PRESENT_ANY) === 0) continue;
      const frame = mm.frameAt(slot);
      if (isZeroFrame(frame) || !memory.isLarge(frame)) continue;
      if (index === 0 && last === ENTRIES && isWholeLarge(mm, table)) break;
      if (!memory.isHugeShared(frame)) mm.splitLarge(block, frame);
    }
  }
}

/** Whether a last-level table maps one whole huge page by entries that differ in nothing that matters. */
function isWholeLarge(mm: Mm, table: number): boolean {
  const { words } = mm.tables;
  const first = mm.frameAt(table);
  const protection = words[table]! & UFFD_WP;
  if (first % HUGE_PAGES !== 0) return false;
  for (let index = 0; index < ENTRIES; index++) {
    const low = words[table + index * 2]!;
    if ((low & PRESENT_ANY) === 0 || (low & UFFD_WP) !== protection) return false;
    if (mm.frameAt(table + index * 2) !== first + index) return false;
  }
  return true;
}

// ---- free ----

function free(mm: Mm, vma: Vma, start: number, end: number): void {
  const { tables, memory } = mm;
  for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
    const pmd = tables.findPmd(block);
    if (pmd < 0 || !isHugeEntry(tables.words[pmd]!)) continue;
    const frame = mm.frameAt(pmd);
    if (frame === HUGE_ZERO_FRAME || memory.isHugeShared(frame)) continue;
    if (start <= block * ENTRIES && end >= (block + 1) * ENTRIES) {
      for (let index = 0; index < HUGE_PAGES; index++) memory.setLazyFree(frame + index, true);
      tables.words[pmd] = tables.words[pmd]! & ~D;
    } else {
      mm.splitHuge(vma, block);
      mm.splitLarge(block, frame);
    }
  }
  splitPartLarge(mm, start, end);
  forEachEntry(mm, start, end, (slot) => {
    const { words } = tables;
    const low = words[slot]!;
    if ((low & PRESENT_ANY) === 0) {
      if (isMarker(low, words[slot + 1]!)) return;
      memory.freeSlot(swapEntrySlot(low, words[slot + 1]!));
      mm.clearEntry(slot);
      return;
    }
    const frame = mm.frameAt(slot);
    if (isZeroFrame(frame) || !memory.isAnonymous(frame) || memory.mappings(frame) > 1) return;
    memory.setLazyFree(frame, true);
    words[slot] = low & ~D & ~RW;
  });
}

// ---- remove ----

/** Punches a hole into the file behind a shared mapping, for all who map it. */
function remove(mm: Mm, vma: Vma, start: number, end: number): number {
  const { file } = vma;
  if (vma.anonymous) return EINVAL;
  if (!vma.shared || file === null) return EACCES;
  // Of hugetlb, a page that is not wholly in the range stays.
  const unit = file.hugetlb ? HUGE_PAGES : 1;
  const first = Math.ceil(vma.fileIndex(start) / unit) * unit;
  const last = Math.floor(vma.fileIndex(end) / unit) * unit;
  if (last <= first) return 0;
  if (file.hugetlb)
    forEachMappingOf(file, first, last - first, (space, other, from, to) =>
      space.zap(other, from, to, false, false),
    );
  else unmapFile(file, first, last - first);
  const entries = file.entries.length;
  for (let index = first / unit; index < Math.min(last / unit, entries); index++) {
    if (unit === 1) file.hugeStretches.delete(Math.floor(index / HUGE_PAGES));
    mm.memory.dropCached(file, index);
  }
  return 0;
}

// ---- reclaim ----

/** MADV_PAGEOUT, or with `reclaim` false what MADV_COLD leaves of it: huge pages split at the edges. */
function pageOut(mm: Mm, vma: Vma, start: number, end: number, reclaim: boolean): void {
  const { tables, memory } = mm;
  for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
    const pmd = tables.findPmd(block);
    if (pmd < 0 || !isHugeEntry(tables.words[pmd]!)) continue;
    const frame = mm.frameAt(pmd);
    if (frame === HUGE_ZERO_FRAME) continue;
    const whole = start <= block * ENTRIES && end >= (block + 1) * ENTRIES;
    if (whole && !reclaim) continue;
    if (vma.file !== null) {
      const first = vma.fileIndex(block * ENTRIES);
      if (isShared(mm, vma.file, first)) continue;
      // A part of it cannot be taken without a split.
      if (whole) reclaimHugeFile(mm, vma.file, first);
      else splitFileHuge(vma.file, first);
      continue;
    }
    if (memory.isHugeShared(frame)) continue;
    mm.splitHuge(vma, block);
    if (!whole) mm.splitLarge(block, frame);
  }
  splitPartLarge(mm, start, end);
  if (vma.file !== null) pageOutFileHuge(mm, vma, vma.file, start, end, reclaim);
  if (!reclaim) return;
  forEachEntry(mm, start, end, (slot, page) => pageOutEntry(mm, vma, slot, page));
}

/** The huge pages of a file that small entries map: reclaimed as wholes, or split. */
function pageOutFileHuge(
  mm: Mm,
  vma: Vma,
  file: MemoryFile,
  start: number,
  end: number,
  reclaim: boolean,
): void {
  if (file.hugeStretches.size === 0) return;
  for (let page = start; page < end; page++) {
    const index = vma.fileIndex(page);
    if (!file.isHuge(index)) continue;
    const block = Math.floor(page / ENTRIES);
    const table = mm.tables.findPte(block);
    if (table < 0) continue;
    const slot = table + (page - block * ENTRIES) * 2;
    if ((mm.tables.words[slot]! & PRESENT_ANY) === 0) continue;
    const frame = mm.frameAt(slot);
    if (!mm.memory.isFile(frame)) continue;
    const first = index - (index % HUGE_PAGES);
    const whole = page % ENTRIES === 0 && page + ENTRIES <= end && isWholeLarge(mm, table);
    if (whole) {
      if (reclaim && mm.memory.mappings(frame) === 1) reclaimHugeFile(mm, file, first);
    } else if (!isShared(mm, file, first)) splitFileHuge(file, first);
  }
}

/** Takes a whole huge page of the page cache out of memory. */
function reclaimHugeFile(mm: Mm, file: MemoryFile, first: number): void {
  const { memory } = mm;
  unmapFile(file, first);
  if (mm.profile.hugeFileSwapsWhole) return;
  file.hugeStretches.delete(first / HUGE_PAGES);
  for (let index = first; index < first + HUGE_PAGES; index++) {
    const frame = file.entries[index]!;
    file.entries[index] = memory.isZeroFilled(frame) ? 0 : -memory.swapOut(frame);
    memory.uncache(frame);
  }
}

/** Whether a huge page of the page cache counts as mapped by others, too. */
function isShared(mm: Mm, file: MemoryFile, first: number): boolean {
  const { memory, tables } = mm;
  let others = 0;
  for (let index = first; index < first + HUGE_PAGES; index++)
    others += memory.mappings(file.entries[index]!);
  if (mm.profile.mappedTwiceIsShared) return others > HUGE_PAGES || memory.mappings(file.entries[first]!) > 1;
  forEachMappingOf(file, first, HUGE_PAGES, (space, vma, start, end) => {
    if (space !== mm) return;
    for (let page = start; page < end; page++) {
      const block = Math.floor(page / ENTRIES);
      const pmd = tables.findPmd(block);
      if (pmd < 0) continue;
      const huge = isHugeEntry(tables.words[pmd]!);
      const slot = huge ? pmd : tables.pteTable(pmd) + (page - block * ENTRIES) * 2;
      if (!huge && tables.pteTable(pmd) < 0) continue;
      if ((tables.words[slot]! & PRESENT_ANY) === 0) continue;
      const frame = mm.frameAt(slot) + (huge ? page - block * ENTRIES : 0);
      if (frame === file.entries[vma.fileIndex(page)]) others--;
    }
  });
  return others > 0;
}

/** Makes a huge page of the page cache small ones, which nobody maps then. */
function splitFileHuge(file: MemoryFile, first: number): void {
  unmapFile(file, first);
  file.hugeStretches.delete(first / HUGE_PAGES);
}

function pageOutEntry(mm: Mm, vma: Vma, slot: number, page: number): void {
  const { memory } = mm;
  const { words } = mm.tables;
  const low = words[slot]!;
  if ((low & PRESENT_ANY) === 0) return;
  const frame = frameOf(low, words[slot + 1]!);
  if (isZeroFrame(frame) || memory.mappings(frame) !== 1) return;
  if (memory.isFile(frame)) {
    const file = vma.file!;
    const index = vma.fileIndex(page);
    // Shared memory that was never written to has nothing worth keeping: it is dropped.
    file.entries[index] = memory.isZeroFilled(frame) ? 0 : -memory.swapOut(frame);
    if ((low & UFFD_WP) !== 0 && vma.uffdWp) mm.setMarker(slot, MARKER_UFFD_WP_LOW);
    else mm.clearEntry(slot);
    memory.unmap(frame);
    memory.uncache(frame);
    return;
  }
  if (memory.isLazyFree(frame)) {
    if ((low & D) === 0 && !memory.isDirtyPage(frame)) {
      // Nobody wrote to it since it was given up: it is dropped, not written out.
      if ((low & UFFD_WP) !== 0 && vma.uffdWp && !vma.anonymous) mm.setMarker(slot, MARKER_UFFD_WP_LOW);
      else mm.clearEntry(slot);
      memory.unmap(frame);
      return;
    }
    memory.setLazyFree(frame, false);
    return;
  }
  const swapSlot = memory.swapOut(frame);
  words[slot] =
    (swapEntryLow(swapSlot) |
      ((low & UFFD_WP) !== 0 ? SWP_UFFD_WP : 0) |
      ((low & SOFT_DIRTY) !== 0 ? SWP_SOFT_DIRTY : 0)) >>>
    0;
  words[slot + 1] = swapEntryHigh(swapSlot);
  memory.unmap(frame);
}

// ---- collapse ----

/** MADV_COLLAPSE: makes huge pages of the whole 2 MiB blocks in the range. */
function collapse(mm: Mm, vma: Vma, start: number, end: number): number {
  if (vma.hugetlb || vma.hugeAdvice === ADVICE_NO_HUGE) return EINVAL;
  const first = Math.ceil(start / ENTRIES);
  const last = Math.floor(end / ENTRIES);
  // A mapping that never had a page of its own is not considered.
  if (!suitsAnyHuge(vma) || (vma.anonymous && vma.anonVma === null)) return EINVAL;
  if (first > last) return mm.profile.collapseNeedsBlock ? EINVAL : 0;
  let done = 0;
  for (let block = first; block < last; block++) {
    const result = vma.anonymous
      ? collapseAnonymous(mm, vma, block)
      : collapseFile(mm, vma, vma.file!, block);
    if (result === COLLAPSED) done++;
    // A block that is not fit is passed over; other failures end the call.
    else if (result !== UNFIT) return result;
  }
  return done === last - first ? 0 : EINVAL;
}

/** How the collapse of one block went, beside an errno. */
const COLLAPSED = 0;
const UNFIT = -1;

/** MADV_FREE leaves an entry writable; here it is not, so that the next write is noticed. */
function isGivenUp({ memory }: Mm, low: number, high: number): boolean {
  const frame = frameOf(low, high);
  return (low & SOFT_DIRTY) !== 0 && memory.isLazyFree(frame) && memory.mappings(frame) === 1;
}

function suitsAnyHuge(vma: Vma): boolean {
  return vma.suitsHuge(Math.ceil(vma.start / ENTRIES));
}

function collapseAnonymous(mm: Mm, vma: Vma, block: number): number {
  const { tables } = mm;
  const pmd = tables.findPmd(block);
  if (pmd < 0) return UNFIT;
  if (tables.words[pmd] === 0) return mm.profile.collapsePassesEmptyBlocks ? UNFIT : EINVAL;
  if (isHugeEntry(tables.words[pmd]!)) return COLLAPSED;
  const table = tables.pteTable(pmd);
  const problem = collapseProblem(mm, vma, table);
  if (problem !== COLLAPSED) return problem;
  for (let index = 0; index < ENTRIES; index++) {
    const slot = table + index * 2;
    const low = tables.words[slot]!;
    if (low === 0 || (low & PRESENT_ANY) !== 0) continue;
    // Guard pages are found only now, when what was swapped out before them is back in memory.
    if (isMarker(low, tables.words[slot + 1]!)) return EINVAL;
    swapIn(mm, vma, slot);
  }
  copyToHuge(mm, vma, pmd, table);
  return COLLAPSED;
}

/** Why the small pages of a table cannot become a huge page: UNFIT or an errno; COLLAPSED when nothing is in the way yet. */
function collapseProblem(mm: Mm, vma: Vma, table: number): number {
  const { words } = mm.tables;
  let writable = false;
  for (let slot = table; slot < table + ENTRIES * 2; slot += 2) {
    const low = words[slot]!;
    const high = words[slot + 1]!;
    if (low !== 0 && (low & PRESENT_ANY) === 0) {
      if (isProtected(low, high)) return UNFIT;
      continue;
    }
    if (low === 0 || isZeroFrame(frameOf(low, high))) {
      // A registered mapping may want to know of each page that is not there yet.
      if (vma.uffd !== null) return EBUSY;
      continue;
    }
    if ((low & UFFD_WP) !== 0) return UNFIT;
    if ((low & RW) !== 0 || (vma.writable && isGivenUp(mm, low, high))) writable = true;
  }
  return mm.profile.collapseNeedsWritable && !writable ? UNFIT : COLLAPSED;
}

/** Puts a huge page in the place of a table of small pages, with what they hold. */
function copyToHuge(mm: Mm, vma: Vma, pmd: number, table: number): void {
  const { tables, memory } = mm;
  const huge = memory.allocateHuge(FRAME_ANONYMOUS);
  memory.mapHuge(huge);
  for (let index = 0; index < ENTRIES; index++) {
    const slot = table + index * 2;
    if (tables.words[slot] === 0) continue;
    const frame = mm.frameAt(slot);
    if (frame === ZERO_FRAME) continue;
    memory.copy(frame, huge + index);
    memory.unmap(frame);
  }
  // What was empty or the zero page holds zeros now.
  tables.removePte(pmd);
  mm.setEntry(pmd, huge, vma.entryFlags | PS | D | SOFT_DIRTY | (vma.writable ? RW : 0));
}

/** Makes 2 MiB of a file one huge page of the page cache, and maps it here by a huge entry. */
function collapseFile(mm: Mm, vma: Vma, file: MemoryFile, block: number): number {
  if (!vma.suitsHuge(block)) return EINVAL;
  const first = vma.fileIndex(block * ENTRIES);
  if (!file.isHuge(first)) {
    if (!file.entries.subarray(first, first + HUGE_PAGES).some((entry) => entry !== 0)) return EINVAL;
    unmapFile(file, first);
    gatherFile(mm, file, first);
    dropEmptyTables(file, first);
  }
  return mapCollapsed(mm, vma, file, first, block);
}

/** Takes the file's pages out of all page tables; what was protected leaves a marker, private copies stay. */
function unmapFile(file: MemoryFile, first: number, pages = HUGE_PAGES): void {
  forEachMappingOf(file, first, pages, (mm, vma, start, end) => {
    for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) mm.splitHuge(vma, block);
    forEachEntry(mm, start, end, (slot) => {
      const low = mm.tables.words[slot]!;
      if ((low & PRESENT_ANY) === 0) return;
      const frame = mm.frameAt(slot);
      if (isZeroFrame(frame) || !mm.memory.isFile(frame)) return;
      if ((low & UFFD_WP) !== 0 && vma.uffdWp) mm.setMarker(slot, MARKER_UFFD_WP_LOW);
      else mm.clearEntry(slot);
      mm.memory.unmap(frame);
    });
  });
}

/** Copies what the page cache has, in memory or in swap, into one huge page. */
function gatherFile(mm: Mm, file: MemoryFile, first: number): void {
  const { memory } = mm;
  const head = memory.allocateHuge(FRAME_FILE);
  for (let index = 0; index < HUGE_PAGES; index++) {
    const entry = file.entries[first + index]!;
    if (entry > 0) memory.copy(entry, head + index);
    else if (entry < 0) memory.swapIn(-entry, head + index);
    memory.dropCached(file, first + index);
    file.entries[first + index] = head + index;
  }
  file.hugeStretches.add(first / HUGE_PAGES);
}

/** Frees last-level tables that can be replaced by a huge entry now. Markers and own pages need theirs. */
function dropEmptyTables(file: MemoryFile, first: number): void {
  forEachMappingOf(file, first, HUGE_PAGES, (mm, vma, start, end) => {
    if (
      vma.anonVma !== null ||
      vma.uffdWp ||
      vma.uffdRwp ||
      start % ENTRIES !== 0 ||
      end !== start + HUGE_PAGES
    )
      return;
    const pmd = mm.tables.findPmd(start / ENTRIES);
    if (pmd >= 0 && mm.tables.pteTable(pmd) >= 0) mm.tables.removePte(pmd);
  });
}

function mapCollapsed(mm: Mm, vma: Vma, file: MemoryFile, first: number, block: number): number {
  if (vma.uffdWp || vma.uffdRwp) return UNFIT;
  const { tables, memory } = mm;
  const head = file.entries[first]!;
  if (mm.profile.collapseNeedsTables && tables.findPmd(block) < 0) return UNFIT;
  const pmd = tables.ensurePmd(block);
  if (isHugeEntry(tables.words[pmd]!)) return COLLAPSED;
  const table = tables.pteTable(pmd);
  if (table >= 0) {
    for (let index = 0; index < ENTRIES; index++) {
      const low = tables.words[table + index * 2]!;
      if (low === 0) continue;
      if ((low & PRESENT_ANY) === 0) return UNFIT;
      if (mm.frameAt(table + index * 2) !== head + index) return EINVAL;
    }
    for (let slot = table; slot < table + ENTRIES * 2; slot += 2) {
      if (tables.words[slot] !== 0) memory.unmap(mm.frameAt(slot));
    }
    tables.removePte(pmd);
  }
  memory.mapHuge(head);
  mm.setEntry(pmd, head, vma.entryFlags | PS);
  return COLLAPSED;
}
