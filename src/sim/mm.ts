import { PAGE_SIZE, USER_SPACE_END } from '../abi/internal.js';
import type { ScanMapping, ScanTarget } from '../engine/index.js';
import {
  A,
  D,
  ENTRIES,
  frameOf,
  isHugeEntry,
  isMarker,
  isNonPresentProtected,
  MARKER_GUARD,
  MARKER_HIGH,
  MARKER_UFFD_WP,
  MARKER_UFFD_WP_LOW,
  mapHigh,
  mapLow,
  markerBits,
  PageTables,
  PRESENT_ANY,
  PS,
  placeMarkers,
  RW,
  SOFT_DIRTY,
  SPECIAL,
  SWP_UFFD_WP,
  swapEntrySlot,
  UFFD_WP,
} from '../x86/index.js';
import { FRAME_BASE, HUGE_ZERO_FRAME, type MemoryFile, type PhysicalMemory, ZERO_FRAME } from './memory.js';
import type { KernelProfile } from './profiles.js';
import type { Vma } from './vma.js';

/** Bits of an entry that stay when its mapping's protection changes. */
const KEPT = A | D | SPECIAL | UFFD_WP | SOFT_DIRTY | PS;
const LAST_BLOCK = 2 ** 26;
const LAST_PAGE = USER_SPACE_END / PAGE_SIZE;

let nextAnonVma = 1;

/** By file, which address spaces have how many mappings of it: a parent and its children may share one. */
const spacesOf = new WeakMap<MemoryFile, Map<Mm, number>>();

/** A mapping of a file was added to an address space. */
function noteMapping(file: MemoryFile, mm: Mm): void {
  let spaces = spacesOf.get(file);
  if (spaces === undefined) {
    spaces = new Map();
    spacesOf.set(file, spaces);
  }
  spaces.set(mm, (spaces.get(mm) ?? 0) + 1);
}

/** A mapping of a file is gone from an address space. */
function forgetMapping(file: MemoryFile, mm: Mm): void {
  const spaces = spacesOf.get(file)!;
  const left = spaces.get(mm)! - 1;
  if (left === 0) spaces.delete(mm);
  else spaces.set(mm, left);
}

/**
 * Calls back for the mappings, in whatever address space, that have a page of [first, first + pages) of a file: where these
 * would lie.
 */
export function forEachMappingOf(
  file: MemoryFile,
  first: number,
  pages: number,
  visit: (mm: Mm, vma: Vma, start: number, end: number) => void,
): void {
  for (const mm of spacesOf.get(file)?.keys() ?? []) {
    for (const vma of mm.mappings) {
      if (vma.file !== file) continue;
      const page = vma.start + first - vma.offset;
      const start = Math.max(vma.start, page);
      const end = Math.min(vma.end, page + pages);
      if (start < end) visit(mm, vma, start, end);
    }
  }
}

/** Whether an entry maps the shared zero page, which nobody counts. */
export function isZeroFrame(frame: number): boolean {
  return frame === ZERO_FRAME || frame === HUGE_ZERO_FRAME;
}

/**
 * The state of one address space and the operations on page tables that everything else is made of. Positions
 * are page numbers; blocks are 2 MiB.
 */
export class Mm implements ScanTarget {
  readonly profile: KernelProfile;
  readonly memory: PhysicalMemory;
  readonly tables = new PageTables();
  readonly mappings: Vma[] = [];
  readonly frameBase = FRAME_BASE;

  /** Whether faults make huge pages of shared memory that was advised so (shmem_enabled: advise, not never). */
  readonly sharedHugePages: boolean;

  constructor(profile: KernelProfile, memory: PhysicalMemory, sharedHugePages: boolean) {
    this.profile = profile;
    this.sharedHugePages = sharedHugePages;
    this.memory = memory;
  }

  get frameKinds(): Uint8Array {
    return this.memory.kinds;
  }

  // ---- mappings ----

  /** Index of the first mapping that ends behind the page. */
  indexAfter(page: number): number {
    const { mappings } = this;
    let low = 0;
    let high = mappings.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (mappings[middle]!.end <= page) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Where in the list a mapping is that is in it. */
  #indexOf(vma: Vma): number {
    return this.indexAfter(vma.start);
  }

  find(page: number): Vma | undefined {
    const vma = this.mappings[this.indexAfter(page)];
    return vma !== undefined && vma.start <= page ? vma : undefined;
  }

  /** The mappings that intersect the range, as a copy: the list may change while it is gone through. */
  overlapping(start: number, end: number): Vma[] {
    const found: Vma[] = [];
    for (let index = this.indexAfter(start); index < this.mappings.length; index++) {
      const vma = this.mappings[index]!;
      if (vma.start >= end) break;
      found.push(vma);
    }
    return found;
  }

  /** Cuts the mapping at `page`; a huge page across the cut is split. Returns the upper part. */
  #cut(vma: Vma, page: number): Vma {
    const block = Math.floor(page / ENTRIES);
    if (!vma.hugetlb && page % ENTRIES !== 0) this.splitHuge(vma, block);
    const upper = vma.splitOff(page);
    this.mappings.splice(this.#indexOf(vma) + 1, 0, upper);
    if (upper.file !== null) noteMapping(upper.file, this);
    return upper;
  }

  /** Makes [start, end), which lies in one mapping, a mapping of its own. */
  isolate(vma: Vma, start: number, end: number): Vma {
    const part = vma.start < start ? this.#cut(vma, start) : vma;
    if (part.end > end) this.#cut(part, end);
    return part;
  }

  /** Whether hugetlb forbids a cut at these pages. */
  static forbidsCut(vma: Vma, start: number, end: number): boolean {
    return (
      vma.hugetlb && ((start > vma.start && start % ENTRIES !== 0) || (end < vma.end && end % ENTRIES !== 0))
    );
  }

  /**
   * Merges a mapping whose flags were just set with its neighbours where they are alike. All of it then has the
   * soft-dirty flag that this mapping had: the kernel sets its flags once more on what came out of the merge.
   */
  mergeChanged(vma: Vma): void {
    const { softDirty } = vma;
    this.merge(vma).softDirty = softDirty;
  }

  /** Merges a mapping with its neighbours where they are alike. Returns what contains it then. */
  merge(vma: Vma): Vma {
    const { mappings } = this;
    const index = this.#indexOf(vma);
    const previous = mappings[index - 1];
    const next = mappings[index + 1];
    const suits = (neighbour: Vma) =>
      this.profile.untouchedNeighboursMerge || vma.anonVma === null || neighbour.anonVma !== null;
    const takesNext = next !== undefined && vma.canMerge(next) && suits(next);
    const joinsPrevious = previous?.canMerge(vma) === true && suits(previous);
    if (joinsPrevious) {
      const both =
        takesNext &&
        (previous.anonVma === null || next.anonVma === null || previous.anonVma === next.anonVma);
      previous.anonVma ??= vma.anonVma ?? (both ? next.anonVma : null);
      previous.end = both ? next.end : vma.end;
      for (const merged of mappings.splice(index, both ? 2 : 1)) this.#forget(merged);
      return previous;
    }
    if (takesNext) {
      next.anonVma ??= vma.anonVma;
      next.offset = vma.offset;
      next.start = vma.start;
      mappings.splice(index, 1);
      this.#forget(vma);
      return next;
    }
    return vma;
  }

  /** A mapping is gone; with the last one goes a page cache that has no name. */
  #forget(vma: Vma): void {
    if (vma.isCharged) this.memory.freeHugetlb += (vma.end - vma.start) / ENTRIES;
    if (vma.file === null) return;
    forgetMapping(vma.file, this);
    if (--vma.file.users > 0) return;
    this.memory.dropCache(vma.file);
    // Of shared hugetlb memory the pool keeps all, up to the last mapping of any of it.
    if (vma.file.hugetlb) this.memory.freeHugetlb += vma.file.entries.length;
  }

  /**
   * The first page from `start` on, at a 2 MiB block, where so many pages are free, and one on either side, so that what comes
   * there has no neighbours; -1 where user space has none.
   */
  freePage(start: number, pages: number): number {
    let page = Math.ceil(start / ENTRIES) * ENTRIES;
    for (let index = this.indexAfter(page - 1); index < this.mappings.length; index++) {
      const vma = this.mappings[index]!;
      if (vma.start > page + pages) break;
      page = Math.ceil((vma.end + 1) / ENTRIES) * ENTRIES;
    }
    return page + pages <= LAST_PAGE ? page : -1;
  }

  insert(vma: Vma): void {
    this.mappings.splice(this.indexAfter(vma.start), 0, vma);
    if (vma.file !== null) noteMapping(vma.file, this);
  }

  /** Gives the mapping an identity for anonymous pages, a neighbour's if they could be one mapping. */
  prepareAnon(vma: Vma): void {
    if (vma.anonVma !== null) return;
    const index = this.#indexOf(vma);
    const next = this.mappings[index + 1];
    const previous = this.mappings[index - 1];
    if (next?.anonVma != null && vma.sharesAnonVma(next)) vma.anonVma = next.anonVma;
    else if (previous?.anonVma != null && previous.sharesAnonVma(vma)) vma.anonVma = previous.anonVma;
    else vma.anonVma = { id: nextAnonVma++ };
  }

  // ---- entries ----

  /** Writes an entry that maps a frame. */
  setEntry(slot: number, frame: number, flags: number): void {
    this.tables.words[slot] = mapLow(frame, flags);
    this.tables.words[slot + 1] = mapHigh(frame, flags);
  }

  clearEntry(slot: number): void {
    this.tables.words[slot] = 0;
    this.tables.words[slot + 1] = 0;
  }

  setMarker(slot: number, low: number): void {
    this.tables.words[slot] = low;
    this.tables.words[slot + 1] = MARKER_HIGH;
  }

  /** The frame a present entry maps. */
  frameAt(slot: number): number {
    return frameOf(this.tables.words[slot]!, this.tables.words[slot + 1]!);
  }

  /**
   * Replaces a transparent huge entry by small ones. Of file memory the entry is dropped instead: its pages are
   * found in the page cache again. Does nothing where there is no huge entry.
   */
  splitHuge(mapping: ScanMapping, block: number): void {
    const { tables, memory } = this;
    const pmd = tables.findPmd(block);
    if (pmd < 0 || !isHugeEntry(tables.words[pmd]!)) return;
    const flags = tables.words[pmd]! & 0xfff & ~PS;
    const frame = this.frameAt(pmd);
    if ((mapping as Vma).file !== null) {
      this.clearEntry(pmd);
      memory.unmapHuge(frame);
      return;
    }
    this.clearEntry(pmd);
    const table = tables.ensurePte(block);
    if (frame === HUGE_ZERO_FRAME) {
      const small = (flags & ~(RW | D | SOFT_DIRTY)) | SPECIAL;
      for (let index = 0; index < ENTRIES; index++) this.setEntry(table + index * 2, ZERO_FRAME, small);
    } else {
      for (let index = 0; index < ENTRIES; index++) this.setEntry(table + index * 2, frame + index, flags);
    }
  }

  /**
   * Splits the anonymous huge page that `frame`, mapped in this block, belongs to: its pages become small ones,
   * and those that hold only zeros are replaced by the shared zero page, where there is one.
   */
  splitLarge(block: number, frame: number): void {
    const { memory } = this;
    const { words } = this.tables;
    const slots = this.#slotsOfLarge(block, frame);
    // A huge page is dirty as a whole: when it was written anywhere, each page that it falls into is.
    const dirty = slots.some((slot) => (words[slot]! & D) !== 0);
    for (const slot of slots) {
      const mapped = this.frameAt(slot);
      // So it is on a kernel without a shared zero page for reads, too.
      if (!memory.isZeroFilled(mapped)) {
        if (dirty) memory.setDirtyPage(mapped);
        continue;
      }
      this.setEntry(slot, ZERO_FRAME, (words[slot]! & 0xfff & ~(RW | D)) | SPECIAL);
      memory.unmap(mapped);
    }
    memory.splitLarge(frame);
  }

  /** The small entries that map the huge page that `frame` belongs to: those in a block, and those that mremap has moved away. */
  #slotsOfLarge(block: number, frame: number): number[] {
    const { words } = this.tables;
    const folio = Math.floor(frame / ENTRIES);
    const slots: number[] = [];
    const search = (table: number, from: number, to: number) => {
      for (let slot = table + from * 2; slot < table + to * 2; slot += 2) {
        if ((words[slot]! & PRESENT_ANY) === 0) continue;
        const mapped = this.frameAt(slot);
        if (Math.floor(mapped / ENTRIES) === folio && this.memory.isLarge(mapped)) slots.push(slot);
      }
    };
    search(this.tables.findPte(block), 0, ENTRIES);
    const mapped = this.memory.mappedOfHuge(frame);
    for (const vma of this.mappings) {
      if (slots.length >= mapped) break;
      if (vma.anonVma === null) continue;
      for (let other = Math.floor(vma.start / ENTRIES); other * ENTRIES < vma.end; other++) {
        const pmd = this.tables.findPmd(other);
        if (pmd < 0) {
          other |= 511;
          continue;
        }
        const table = this.tables.pteTable(pmd);
        if (table < 0 || other === block) continue;
        const base = other * ENTRIES;
        search(table, Math.max(0, vma.start - base), Math.min(ENTRIES, vma.end - base));
      }
    }
    return slots;
  }

  /**
   * Takes pages out of [start, end) of a mapping, as munmap and MADV_DONTNEED do.
   *
   * @param dropMarkers whether protection and guard markers go as well
   * @param freeTables whether last-level tables that become empty as a whole are freed
   */
  zap(vma: Vma, start: number, end: number, dropMarkers: boolean, freeTables: boolean): void {
    if (vma.hugetlb) {
      this.#zapHugetlb(vma, start, end, dropMarkers);
      return;
    }
    const { tables } = this;
    for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
      const pmd = tables.findPmd(block);
      if (pmd < 0) {
        block |= 511;
        continue;
      }
      const low = tables.words[pmd]!;
      if (low === 0) continue;
      const base = block * ENTRIES;
      const from = Math.max(0, start - base);
      const to = Math.min(ENTRIES, end - base);
      const whole = from === 0 && to === ENTRIES;
      if (isHugeEntry(low)) {
        if (whole) {
          const frame = this.frameAt(pmd);
          this.clearEntry(pmd);
          this.memory.unmapHuge(frame);
          continue;
        }
        this.splitHuge(vma, block);
      }
      const table = tables.pteTable(pmd);
      if (table < 0) continue;
      let left = 0;
      for (let slot = table + from * 2, stop = table + to * 2; slot < stop; slot += 2) {
        if (tables.words[slot] === 0) continue;
        this.#zapEntry(vma, slot, dropMarkers);
        if (tables.words[slot] !== 0) left++;
      }
      if (freeTables && whole && left === 0) tables.removePte(pmd);
    }
  }

  #zapEntry(vma: Vma, slot: number, dropMarkers: boolean): void {
    const { words } = this.tables;
    const low = words[slot]!;
    const high = words[slot + 1]!;
    let isProtected: boolean;
    if ((low & PRESENT_ANY) !== 0) {
      isProtected = (low & UFFD_WP) !== 0;
      this.memory.unmap(frameOf(low, high));
    } else {
      isProtected = isNonPresentProtected(low, high);
      if (!isMarker(low, high)) this.memory.freeSlot(swapEntrySlot(low, high));
      else if ((markerBits(low) & MARKER_GUARD) !== 0 && !dropMarkers) return;
    }
    if (isProtected && !dropMarkers && vma.uffdWp && !vma.anonymous) this.setMarker(slot, MARKER_UFFD_WP_LOW);
    else this.clearEntry(slot);
  }

  #zapHugetlb(vma: Vma, start: number, end: number, dropMarkers: boolean): void {
    const { tables, memory } = this;
    for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
      const pmd = tables.findPmd(block);
      if (pmd < 0) continue;
      const low = tables.words[pmd]!;
      if (low === 0) continue;
      const high = tables.words[pmd + 1]!;
      let isProtected: boolean;
      if (isHugeEntry(low)) {
        isProtected = (low & UFFD_WP) !== 0;
        memory.unmapHuge(frameOf(low, high));
      } else isProtected = isNonPresentProtected(low, high);
      if (isProtected && !dropMarkers && vma.uffdWp) this.setMarker(pmd, MARKER_UFFD_WP_LOW);
      else this.clearEntry(pmd);
    }
  }

  /** Frees the tables of an unmapped range [start, end) that no remaining mapping needs. */
  freeTables(start: number, end: number): void {
    const index = this.indexAfter(start);
    const previous = this.mappings[index - 1];
    const next = this.mappings[index];
    const floor = previous === undefined ? 0 : Math.ceil(previous.end / ENTRIES);
    const ceiling = next === undefined ? LAST_BLOCK : Math.floor(next.start / ENTRIES);
    this.tables.removeTables(Math.floor(start / ENTRIES), Math.ceil(end / ENTRIES), floor, ceiling);
  }

  /**
   * Protects [start, end) of a mapping for userfaultfd, as it is registered: pages, swap entries, and from writes, by markers, what
   * is empty.
   */
  protect(vma: Vma, start: number, end: number): void {
    const { tables } = this;
    for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
      const base = block * ENTRIES;
      const from = Math.max(0, start - base);
      const to = Math.min(ENTRIES, end - base);
      if (vma.hugetlb) {
        const pmd = vma.usesMarkers ? tables.ensurePmd(block) : tables.findPmd(block);
        if (pmd < 0) continue;
        if (tables.words[pmd] !== 0) this.#protectEntry(vma, pmd);
        else if (vma.usesMarkers) placeMarkers(tables.words, pmd, 1);
        continue;
      }
      let pmd = tables.findPmd(block);
      if (pmd >= 0 && isHugeEntry(tables.words[pmd]!)) {
        // File memory's protection can only be remembered by small entries.
        if (from === 0 && to === ENTRIES && vma.anonymous) {
          this.#protectEntry(vma, pmd);
          continue;
        }
        this.splitHuge(vma, block);
      }
      if (vma.usesMarkers) {
        tables.ensurePte(block);
        pmd = tables.findPmd(block);
      }
      const table = pmd < 0 ? -1 : tables.pteTable(pmd);
      if (table < 0) continue;
      for (let slot = table + from * 2, stop = table + to * 2; slot < stop; slot += 2) {
        if (tables.words[slot] !== 0) this.#protectEntry(vma, slot);
        else if (vma.usesMarkers) this.setMarker(slot, MARKER_UFFD_WP_LOW);
      }
    }
  }

  #protectEntry(vma: Vma, slot: number): void {
    const { words } = this.tables;
    const low = words[slot]!;
    if ((low & PRESENT_ANY) !== 0) {
      if (vma.uffdRwp) this.setEntry(slot, this.frameAt(slot), (low & KEPT) | vma.protectedFlags);
      else words[slot] = (low | UFFD_WP) & ~RW;
    }
    // Markers that an access must not get through stay what they are.
    else if (!isMarker(low, words[slot + 1]!)) words[slot] = low | SWP_UFFD_WP;
  }

  /** Lifts userfaultfd's protection from [start, end) of a mapping, and removes its markers. */
  unprotect(vma: Vma, start: number, end: number): void {
    this.#forEachEntry(vma, start, end, (slot) => this.#unprotectEntry(vma, slot));
  }

  /** Calls back for the entries of [start, end) of a mapping. A huge page that lies there in part only is split first. */
  #forEachEntry(vma: Vma, start: number, end: number, visit: (slot: number) => void): void {
    const { tables } = this;
    for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
      const pmd = tables.findPmd(block);
      if (pmd < 0) {
        block |= 511;
        continue;
      }
      const base = block * ENTRIES;
      const from = Math.max(0, start - base);
      const to = Math.min(ENTRIES, end - base);
      if (vma.hugetlb || (isHugeEntry(tables.words[pmd]!) && from === 0 && to === ENTRIES)) {
        visit(pmd);
        continue;
      }
      if (isHugeEntry(tables.words[pmd]!)) this.splitHuge(vma, block);
      const table = tables.pteTable(pmd);
      if (table < 0) continue;
      for (let slot = table + from * 2, stop = table + to * 2; slot < stop; slot += 2) visit(slot);
    }
  }

  #unprotectEntry(vma: Vma, slot: number): void {
    const { words } = this.tables;
    const low = words[slot]!;
    if (low === 0) return;
    if ((low & PRESENT_ANY) !== 0) {
      if (vma.uffdRwp) this.giveBack(vma, slot);
      else words[slot] = low & ~UFFD_WP;
    } else if (!isMarker(low, words[slot + 1]!)) words[slot] = low & ~SWP_UFFD_WP;
    else if ((markerBits(low) & MARKER_UFFD_WP) !== 0) this.clearEntry(slot);
  }

  /** Makes a page that was protected from reading and writing what it is in its mapping without that. */
  giveBack(vma: Vma, slot: number): void {
    const low = this.tables.words[slot]!;
    if ((low & UFFD_WP) === 0) return;
    this.setEntry(slot, this.frameAt(slot), (low & KEPT & ~UFFD_WP) | vma.entryFlags);
  }

  /** Gives the entries of [start, end) the mapping's present protection. */
  changeProtection(vma: Vma, start: number, end: number): void {
    const flags = vma.entryFlags;
    this.#forEachEntry(vma, start, end, (slot) => this.#changeEntry(vma, slot, flags));
  }

  #changeEntry(vma: Vma, slot: number, flags: number): void {
    const low = this.tables.words[slot]!;
    if ((low & PRESENT_ANY) === 0 || (vma.uffdRwp && (low & UFFD_WP) !== 0)) return;
    const frame = this.frameAt(slot);
    // What is the mapping's own becomes writable at once, without waiting for a fault.
    const own =
      vma.writable &&
      !vma.shared &&
      (low & (UFFD_WP | SOFT_DIRTY | D)) === (SOFT_DIRTY | D) &&
      this.memory.isAnonymous(frame) &&
      !((low & PS) !== 0 ? this.memory.isHugeShared(frame) : this.memory.mappings(frame) > 1) &&
      !this.memory.isLazyFree(frame);
    this.setEntry(slot, frame, (low & KEPT) | flags | (own ? RW : 0));
  }

  // ---- whole ranges ----

  /**
   * Cuts the mappings at the ends of a range that is to be unmapped.
   *
   * @returns false where hugetlb forbids it; what was cut at the start by then stays cut
   */
  cutEnds(start: number, end: number): boolean {
    for (const page of [start, end]) {
      const vma = this.find(page);
      if (vma === undefined || vma.start === page) continue;
      if (vma.hugetlb && page % ENTRIES !== 0) return false;
      this.#cut(vma, page);
    }
    return true;
  }

  /** Unmaps [start, end). The ends must be fit for cutting (hugetlb). */
  unmap(start: number, end: number): void {
    const touched = this.overlapping(start, end);
    if (touched.length === 0) return;
    const first = Math.max(start, touched[0]!.start);
    const last = Math.min(end, touched[touched.length - 1]!.end);
    if (touched[0]!.start < start) touched[0] = this.#cut(touched[0]!, start);
    const highest = touched[touched.length - 1]!;
    if (highest.end > end) this.#cut(highest, end);
    for (const vma of touched) this.zap(vma, vma.start, vma.end, true, false);
    // One after the other would move all that lies behind each time.
    this.mappings.splice(this.indexAfter(start), touched.length);
    for (const vma of touched) this.#forget(vma);
    this.freeTables(first, last);
  }
}
