import {
  ENTRIES,
  frameOf,
  isMarker,
  MARKER_GUARD,
  MARKER_UFFD_WP,
  markerBits,
  PRESENT_ANY,
  RW,
  SOFT_DIRTY,
  SWP_EXCLUSIVE,
  SWP_SOFT_DIRTY,
  SWP_UFFD_WP,
  swapEntrySlot,
  UFFD_WP,
} from '../x86/index.js';
import { isZeroFrame, type Mm } from './mm.js';
import { Vma } from './vma.js';

/** Calls back for each entry, of whatever level, that is not empty: the slot, its first page, huge or not. */
function forEachEntry(
  mm: Mm,
  start: number,
  end: number,
  visit: (slot: number, page: number, huge: boolean) => void,
): void {
  const { tables } = mm;
  for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
    const pmd = tables.findPmd(block);
    if (pmd < 0) {
      block |= 511;
      continue;
    }
    const base = block * ENTRIES;
    const table = tables.pteTable(pmd);
    if (table < 0) {
      if (tables.words[pmd] !== 0) visit(pmd, base, true);
      continue;
    }
    const last = Math.min(ENTRIES, end - base);
    for (let index = Math.max(0, start - base); index < last; index++) {
      if (tables.words[table + index * 2] !== 0) visit(table + index * 2, base + index, false);
    }
  }
}

/** Clears the soft-dirty bits of all mappings and entries; a write must fault to set one again. */
export function clearSoftDirty(mm: Mm): void {
  for (const vma of mm.mappings) {
    vma.softDirty = false;
    // The kernel's walk has no step for hugetlb.
    if (vma.hugetlb) continue;
    forEachEntry(mm, vma.start, vma.end, (slot) => {
      const { words } = mm.tables;
      const low = words[slot]!;
      if ((low & PRESENT_ANY) !== 0) words[slot] = low & ~(SOFT_DIRTY | RW);
      else if (!isMarker(low, words[slot + 1]!)) words[slot] = low & ~SWP_SOFT_DIRTY;
    });
  }
}

/** Copies a mapping without its registration with userfaultfd, and without what the hugetlb pool keeps for it. */
export function cloneMapping(vma: Vma, start: number, end: number): Vma {
  const clone = new Vma({
    start,
    end,
    prot: vma.prot,
    shared: vma.shared,
    file: vma.file,
    offset: vma.offset,
    hugetlb: vma.hugetlb,
  });
  clone.hugeAdvice = vma.hugeAdvice;
  clone.softDirty = vma.softDirty;
  clone.accounted = vma.accounted;
  clone.anonVma = vma.anonVma;
  return clone;
}

/** fork: gives `child`, which is empty, what `parent` has. */
export function copyInto(parent: Mm, child: Mm): void {
  const { memory } = parent;
  for (const vma of parent.mappings) {
    const copy = cloneMapping(vma, vma.start, vma.end);
    child.insert(copy);
    // Pages of the page cache are found by faults; only what the process made its own must be copied.
    if (vma.anonVma === null && !vma.hugetlb) continue;
    if (vma.hugetlb && vma.shared) continue;
    forEachEntry(parent, vma.start, vma.end, (slot, page, huge) => {
      const { words } = parent.tables;
      let low = words[slot]!;
      const high = words[slot + 1]!;
      const block = Math.floor(page / ENTRIES);
      if ((low & PRESENT_ANY) === 0) {
        if (isMarker(low, high)) {
          if ((markerBits(low) & MARKER_UFFD_WP) !== 0 && (markerBits(low) & MARKER_GUARD) === 0) return;
        } else {
          memory.shareSlot(swapEntrySlot(low, high));
          low &= ~SWP_EXCLUSIVE;
        }
        low &= ~SWP_UFFD_WP;
      } else {
        if (!vma.shared) {
          low &= ~RW;
          words[slot] = low;
        }
        const frame = frameOf(low, high);
        if (huge) {
          if (!isZeroFrame(frame)) memory.mapHuge(frame);
        } else if (!isZeroFrame(frame)) memory.map(frame);
        if (!vma.uffdRwp) low &= ~UFFD_WP;
      }
      const target = huge
        ? child.tables.ensurePmd(block)
        : child.tables.ensurePte(block) + (page - block * ENTRIES) * 2;
      child.tables.words[target] = low;
      child.tables.words[target + 1] = high;
      if (vma.uffdRwp && (low & PRESENT_ANY) !== 0) child.giveBack(copy, target);
    });
  }
}
