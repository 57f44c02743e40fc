import { FRAME_ANONYMOUS, FRAME_FILE } from '../engine/index.js';
import {
  A,
  D,
  ENTRIES,
  isHugeEntry,
  isMarker,
  MARKER_GUARD,
  MARKER_POISON,
  markerBits,
  PRESENT_ANY,
  PS,
  RW,
  SOFT_DIRTY,
  SPECIAL,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapEntrySlot,
  UFFD_WP,
} from '../x86/index.js';
import { HUGE_PAGES, HUGE_ZERO_FRAME, type MemoryFile, ZERO_FRAME } from './memory.js';
import { isZeroFrame, type Mm } from './mm.js';
import { ADVICE_HUGE, ADVICE_NO_HUGE, type Vma } from './vma.js';

/** The access went through. */
export const FAULT_OK = 0;
/** No mapping, or one that does not allow the access, or a guard page. */
export const FAULT_SEGV = 1;
/** Behind the end of the file, or a poisoned page. */
export const FAULT_BUS = 2;
/** A synchronous userfaultfd would have to answer, and nobody does. */
export const FAULT_BLOCKED = 3;

/** Pages that a read fault on a file maps at once where they are in the page cache. */
const FAULT_AROUND_PAGES = 16;
const DIRTY = RW | D | SOFT_DIRTY;

/** One access to a page by the CPU: installs what is missing, resolves copy on write and protection. */
export function access(mm: Mm, page: number, write: boolean): number {
  const vma = mm.find(page);
  if (vma === undefined || vma.prot === 0 || (write && !vma.writable)) return FAULT_SEGV;
  const result = accessMapping(mm, vma, page, write);
  if (write && result === FAULT_OK) noteWrite(mm, page);
  return result;
}

/** The page, which is present, holds something other than zeros from now on. */
function noteWrite(mm: Mm, page: number): void {
  const block = Math.floor(page / ENTRIES);
  const pmd = mm.tables.findPmd(block);
  const index = page - block * ENTRIES;
  const table = mm.tables.pteTable(pmd);
  mm.memory.written(table < 0 ? mm.frameAt(pmd) + index : mm.frameAt(table + index * 2));
}

/** As `access`, where the mapping is known to allow it. */
export function accessMapping(mm: Mm, vma: Vma, page: number, write: boolean): number {
  if (vma.hugetlb) return accessHugetlb(mm, vma, page, write);
  const block = Math.floor(page / ENTRIES);
  const index = page - block * ENTRIES;
  const { tables } = mm;
  let pmd = tables.findPmd(block);
  // The upper tables are made for every access that the mapping allows, even if it then comes to nothing.
  if (pmd < 0) pmd = tables.ensurePmd(block);
  let low = tables.words[pmd]!;
  if (low === 0 && vma.anonymous && vma.hugeAdvice === ADVICE_HUGE && vma.suitsHuge(block)) {
    installHuge(mm, vma, block, write);
    return FAULT_OK;
  }
  if (isHugeEntry(low)) {
    if (isOutOfReach(vma, low)) {
      if (!vma.uffd!.rwpAsync) return FAULT_BLOCKED;
      mm.giveBack(vma, pmd);
      low = tables.words[pmd]!;
    }
    if (!write) {
      tables.words[pmd] = low | A;
      return FAULT_OK;
    }
    const result = writeHuge(mm, vma, block, pmd);
    if (result !== RETRY_SMALL) return result;
    pmd = tables.findPmd(block);
    low = tables.words[pmd]!;
  }
  const table = tables.pteTable(pmd);
  const slot = table + index * 2;
  let entry = table < 0 ? 0 : tables.words[slot]!;
  if ((entry & PRESENT_ANY) !== 0) {
    if (isOutOfReach(vma, entry)) {
      if (!vma.uffd!.rwpAsync) return FAULT_BLOCKED;
      mm.giveBack(vma, slot);
      entry = tables.words[slot]!;
    }
    if (!write) {
      tables.words[slot] = entry | A;
      return FAULT_OK;
    }
    if ((entry & RW) !== 0) {
      tables.words[slot] = entry | A | D;
      return FAULT_OK;
    }
    return writeProtected(mm, vma, slot);
  }
  let marked = false;
  if (entry !== 0) {
    if (!isMarker(entry, tables.words[slot + 1]!)) {
      swapIn(mm, vma, slot);
      return write || vma.uffdRwp ? accessMapping(mm, vma, page, write) : FAULT_OK;
    }
    const bits = markerBits(entry);
    if ((bits & MARKER_GUARD) !== 0) return FAULT_SEGV;
    if ((bits & MARKER_POISON) !== 0) return FAULT_BUS;
    marked = vma.uffdWp;
  }
  return vma.file === null
    ? installAnonymous(mm, vma, page, write, marked)
    : installFile(mm, vma, vma.file, page, write, marked);
}

/** Whether a present entry is protected from reading and writing. */
function isOutOfReach(vma: Vma, low: number): boolean {
  return vma.uffdRwp && (low & UFFD_WP) !== 0;
}

const RETRY_SMALL = -1;

/** First touch of a 2 MiB block that may be a transparent huge page. */
function installHuge(mm: Mm, vma: Vma, block: number, write: boolean): void {
  mm.prepareAnon(vma);
  const pmd = mm.tables.ensurePmd(block);
  if (!write && mm.profile.hasZeroPage) {
    mm.setEntry(pmd, HUGE_ZERO_FRAME, vma.entryFlags | PS);
    return;
  }
  const frame = mm.memory.allocateHuge(FRAME_ANONYMOUS);
  mm.memory.mapHuge(frame);
  mm.setEntry(pmd, frame, vma.entryFlags | PS | firstFlags(vma));
}

/** The flags of a new page that is the process's own: ready to be written to, where that is allowed. */
function firstFlags(vma: Vma): number {
  return vma.writable ? DIRTY : 0;
}

/** A write to a block that a huge entry maps. RETRY_SMALL: there is none any more. */
function writeHuge(mm: Mm, vma: Vma, block: number, pmd: number): number {
  const { words } = mm.tables;
  const low = words[pmd]!;
  if ((low & RW) !== 0) {
    words[pmd] = low | A | D;
    return FAULT_OK;
  }
  if (!vma.anonymous) {
    mm.splitHuge(vma, block);
    return RETRY_SMALL;
  }
  if ((low & UFFD_WP) !== 0 && vma.uffdWp) {
    if (!vma.uffd!.wpAsync) return FAULT_BLOCKED;
    // Only the page written to loses its protection.
    mm.splitHuge(vma, block);
    return RETRY_SMALL;
  }
  const frame = mm.frameAt(pmd);
  if (frame === HUGE_ZERO_FRAME) {
    if (!mm.profile.hugeZeroWriteStaysHuge) {
      mm.splitHuge(vma, block);
      return RETRY_SMALL;
    }
    mm.prepareAnon(vma);
    const fresh = mm.memory.allocateHuge(FRAME_ANONYMOUS);
    mm.memory.mapHuge(fresh);
    mm.setEntry(pmd, fresh, vma.entryFlags | PS | DIRTY);
    return FAULT_OK;
  }
  if (mm.memory.isHugeShared(frame)) {
    mm.splitHuge(vma, block);
    return RETRY_SMALL;
  }
  words[pmd] = low | A | DIRTY;
  return FAULT_OK;
}

function installAnonymous(mm: Mm, vma: Vma, page: number, write: boolean, marked: boolean): number {
  const block = Math.floor(page / ENTRIES);
  const slot = mm.tables.ensurePte(block) + (page - block * ENTRIES) * 2;
  if (!write && mm.profile.hasZeroPage) {
    mm.setEntry(slot, ZERO_FRAME, vma.entryFlags | SPECIAL | (marked ? UFFD_WP : 0));
    return FAULT_OK;
  }
  if (write && marked && !vma.uffd!.wpAsync) return FAULT_BLOCKED;
  mm.prepareAnon(vma);
  const frame = mm.memory.allocate(FRAME_ANONYMOUS);
  mm.memory.map(frame);
  mm.setEntry(slot, frame, vma.entryFlags | (write || !marked ? firstFlags(vma) : UFFD_WP));
  return FAULT_OK;
}

/** Write to a present entry without write permission: protection, copy on write, first write to shared memory. */
function writeProtected(mm: Mm, vma: Vma, slot: number): number {
  const { words } = mm.tables;
  if ((words[slot]! & UFFD_WP) !== 0) {
    if (vma.uffdWp && !vma.uffd!.wpAsync) return FAULT_BLOCKED;
    words[slot] = words[slot]! & ~UFFD_WP;
  }
  if (vma.shared) {
    words[slot] = words[slot]! | A | DIRTY;
    return FAULT_OK;
  }
  const frame = mm.frameAt(slot);
  const { memory } = mm;
  if (!isZeroFrame(frame) && memory.isAnonymous(frame) && memory.mappings(frame) === 1) {
    words[slot] = words[slot]! | A | DIRTY;
    return FAULT_OK;
  }
  mm.prepareAnon(vma);
  const copy = memory.allocate(FRAME_ANONYMOUS);
  memory.copy(frame, copy);
  memory.map(copy);
  mm.setEntry(slot, copy, vma.entryFlags | DIRTY);
  memory.unmap(frame);
  return FAULT_OK;
}

/** Brings an anonymous page back from swap. */
export function swapIn(mm: Mm, vma: Vma, slot: number): void {
  const low = mm.tables.words[slot]!;
  const swapSlot = swapEntrySlot(low, mm.tables.words[slot + 1]!);
  const frame = mm.memory.allocate(FRAME_ANONYMOUS);
  mm.memory.swapIn(swapSlot, frame);
  mm.memory.freeSlot(swapSlot);
  mm.memory.map(frame);
  const isProtected = (low & SWP_UFFD_WP) !== 0;
  mm.setEntry(
    slot,
    frame,
    (isProtected && vma.uffdRwp ? vma.protectedFlags : vma.entryFlags) |
      (isProtected ? UFFD_WP : 0) |
      ((low & SWP_SOFT_DIRTY) !== 0 ? SOFT_DIRTY : 0),
  );
}

// ---- page cache ----

/** The frame of a file's page, read in or made when it is not in the page cache. */
function filePage(mm: Mm, file: MemoryFile, index: number, vma: Vma, page: number): number {
  const entry = file.entries[index]!;
  if (entry > 0) return entry;
  const { memory } = mm;
  if (entry < 0) {
    const frame = memory.allocate(FRAME_FILE);
    memory.swapIn(-entry, frame);
    memory.freeSlot(-entry);
    file.entries[index] = frame;
    return frame;
  }
  if (mm.sharedHugePages && vma.hugeAdvice === ADVICE_HUGE && vma.suitsHuge(Math.floor(page / ENTRIES))) {
    const stretch = Math.floor(index / HUGE_PAGES);
    const first = stretch * HUGE_PAGES;
    let empty = first + HUGE_PAGES <= file.entries.length;
    for (let at = first; empty && at < first + HUGE_PAGES; at++) empty = file.entries[at] === 0;
    if (empty) {
      const head = memory.allocateHuge(FRAME_FILE);
      for (let at = 0; at < HUGE_PAGES; at++) file.entries[first + at] = head + at;
      file.hugeStretches.add(stretch);
      return head + (index - first);
    }
  }
  const frame = memory.allocate(FRAME_FILE);
  file.entries[index] = frame;
  return frame;
}

/** Maps a huge page of the page cache by a huge entry, where the mapping suits it. */
function mapFileHuge(mm: Mm, vma: Vma, file: MemoryFile, page: number, flags: number): boolean {
  const block = Math.floor(page / ENTRIES);
  const index = vma.fileIndex(page);
  if (!file.isHuge(index) || vma.hugeAdvice === ADVICE_NO_HUGE || !vma.suitsHuge(block)) return false;
  const pmd = mm.tables.ensurePmd(block);
  if (mm.tables.words[pmd] !== 0) return false;
  const head = file.entries[index - (index % HUGE_PAGES)]!;
  mm.memory.mapHuge(head);
  mm.setEntry(pmd, head, flags | PS);
  return true;
}

/** Maps what is in the page cache around a read fault, or all of its huge page. Returns whether the page itself got mapped. */
function faultAround(mm: Mm, vma: Vma, file: MemoryFile, page: number): boolean {
  const block = Math.floor(page / ENTRIES);
  const base = block * ENTRIES;
  const at = page - base;
  // The window begins at a multiple of its size, or where the mapping does, and then reaches further.
  const index = vma.fileIndex(page);
  const whole =
    mm.profile.readFaultMapsHugeFile &&
    base >= vma.start &&
    base + ENTRIES <= vma.end &&
    index % HUGE_PAGES === at &&
    index < file.sizePages &&
    file.isHuge(index);
  const from = whole ? 0 : Math.max(at - (at % FAULT_AROUND_PAGES), at - Math.min(at, page - vma.start));
  const to = whole ? ENTRIES : Math.min(from + FAULT_AROUND_PAGES, ENTRIES, vma.end - base);
  const flags = vma.entryFlags | (vma.shared && vma.writable && !tracksWrites(mm, vma) ? RW : 0);
  let mapped = false;
  let table = -1;
  for (let index = from; index < to; index++) {
    const fileIndex = vma.fileIndex(base + index);
    if (fileIndex >= file.sizePages) break;
    const entry = file.entries[fileIndex]!;
    if (entry <= 0) continue;
    if (table < 0) {
      if (mapFileHuge(mm, vma, file, base + index, flags)) return true;
      table = mm.tables.ensurePte(block);
    }
    const slot = table + index * 2;
    if (mm.tables.words[slot] !== 0) continue;
    mm.memory.map(entry);
    mm.setEntry(slot, entry, flags);
    if (index === at) mapped = true;
  }
  return mapped;
}

/** Whether writes to shared memory must fault to be noticed: soft-dirty is watched. */
function tracksWrites(mm: Mm, vma: Vma): boolean {
  return mm.profile.tracksSoftDirty && !vma.softDirty;
}

function installFile(
  mm: Mm,
  vma: Vma,
  file: MemoryFile,
  page: number,
  write: boolean,
  marked: boolean,
): number {
  const index = vma.fileIndex(page);
  if (!write && vma.uffd === null && faultAround(mm, vma, file, page)) return FAULT_OK;
  if (index >= file.sizePages) return FAULT_BUS;
  if (write && marked && !vma.uffd!.wpAsync) return FAULT_BLOCKED;
  const { memory, tables } = mm;
  if (write && !vma.shared) mm.prepareAnon(vma);
  const frame = filePage(mm, file, index, vma, page);
  const block = Math.floor(page / ENTRIES);
  if (write && !vma.shared) {
    const slot = tables.ensurePte(block) + (page - block * ENTRIES) * 2;
    const copy = memory.allocate(FRAME_ANONYMOUS);
    memory.copy(frame, copy);
    memory.map(copy);
    mm.setEntry(slot, copy, vma.entryFlags | DIRTY);
    return FAULT_OK;
  }
  const flags =
    vma.entryFlags |
    (write ? DIRTY : vma.shared && vma.writable && !marked && !tracksWrites(mm, vma) ? RW : 0);
  if (mapFileHuge(mm, vma, file, page, flags)) return FAULT_OK;
  const table = tables.ensurePte(block);
  if (file.isHuge(index) && vma.uffd === null && mapStretch(mm, vma, file, page, table, flags))
    return FAULT_OK;
  memory.map(frame);
  mm.setEntry(table + (page - block * ENTRIES) * 2, frame, flags | (marked && !write ? UFFD_WP : 0));
  return FAULT_OK;
}

/** Maps all small pages of a huge page of the cache that the mapping and the table can hold, if none is mapped. */
function mapStretch(mm: Mm, vma: Vma, file: MemoryFile, page: number, table: number, flags: number): boolean {
  const within = vma.fileIndex(page) % HUGE_PAGES;
  const first = page - within;
  if (first < vma.start || first + HUGE_PAGES > vma.end || page % ENTRIES !== within) return false;
  const { words } = mm.tables;
  for (let slot = table; slot < table + ENTRIES * 2; slot += 2) if (words[slot] !== 0) return false;
  for (let index = 0; index < ENTRIES; index++) {
    const frame = file.entries[vma.fileIndex(first + index)]!;
    mm.memory.map(frame);
    mm.setEntry(table + index * 2, frame, flags);
  }
  return true;
}

// ---- hugetlb ----

function accessHugetlb(mm: Mm, vma: Vma, page: number, write: boolean): number {
  const block = Math.floor(page / ENTRIES);
  const { tables, memory } = mm;
  const pmd = tables.ensurePmd(block);
  let low = tables.words[pmd]!;
  if (isHugeEntry(low)) {
    if (isOutOfReach(vma, low)) {
      if (!vma.uffd!.rwpAsync) return FAULT_BLOCKED;
      mm.giveBack(vma, pmd);
      low = tables.words[pmd]!;
    }
    if (!write) return FAULT_OK;
    if ((low & UFFD_WP) !== 0) {
      if (vma.uffdWp && !vma.uffd!.wpAsync) return FAULT_BLOCKED;
    }
    tables.words[pmd] = (low & ~UFFD_WP) | A | DIRTY;
    const frame = mm.frameAt(pmd);
    if (vma.shared || memory.mappings(frame) === 1) return FAULT_OK;
    const copy = memory.allocateHuge(FRAME_ANONYMOUS);
    for (let at = 0; at < HUGE_PAGES; at++) memory.copy(frame + at, copy + at);
    memory.mapHuge(copy);
    mm.setEntry(pmd, copy, vma.entryFlags | PS | DIRTY);
    memory.unmapHuge(frame);
    return FAULT_OK;
  }
  let marked = false;
  if (low !== 0) {
    if ((markerBits(low) & MARKER_POISON) !== 0) return FAULT_BUS;
    marked = vma.uffdWp;
    if (marked && write && !vma.uffd!.wpAsync) return FAULT_BLOCKED;
  }
  let frame: number;
  if (vma.file === null) frame = memory.allocateHuge(FRAME_ANONYMOUS);
  else {
    const index = Math.floor(vma.fileIndex(page) / HUGE_PAGES);
    if (index >= vma.file.entries.length) return FAULT_BUS;
    frame = vma.file.entries[index]!;
    if (frame === 0) {
      frame = memory.allocateHuge(FRAME_FILE);
      vma.file.entries[index] = frame;
    }
  }
  memory.mapHuge(frame);
  const flags = vma.entryFlags | PS | (write || (vma.shared && vma.writable) ? DIRTY : 0);
  mm.setEntry(pmd, frame, marked && !write ? (flags | UFFD_WP) & ~RW : flags);
  return FAULT_OK;
}
