import {
  HUGE_PAGE_SIZE,
  PAGE_IS_ACCESSED,
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SOFT_DIRTY,
  PAGE_IS_SWAPPED,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_REGION,
  PAGE_SIZE,
  type Pagemap,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  RegionBuffer,
  requireUsable,
  type ScanRequest,
  type ScanResult,
  scanError,
} from '../abi/internal.js';
import { CheckedRequest } from './request.js';
import {
  type EntryFormat,
  FRAME_FILE,
  FRAME_HUGE_ZERO,
  FRAME_ZERO,
  type ScanMapping,
  type ScanProfile,
  type ScanTarget,
} from './target.js';

const EPERM = 1;
const EINTR = 4;
const EFAULT = 14;

/** The kernel copies regions out in portions of this many, and takes its locks anew after each. */
const BOUNCE_REGIONS = 512;
/** Pages of a block: what a last-level table, or one huge entry, maps. */
const ENTRIES = HUGE_PAGE_SIZE / PAGE_SIZE;
/** 32-bit words of a region. */
const REGION_WORDS = PAGE_REGION.sizeBytes / 4;
/** Pages of address space by one word's step of an address: 2^32 bytes. */
const PAGES_PER_HIGH_WORD = 2 ** 32 / PAGE_SIZE;
/** How a part of the walk ended. */
const DONE = 0;
/** The output is full or enough pages were found. */
const STOPPED = 1;
/** A mapping is not registered for asynchronous write protection. */
const DENIED = 2;
/** What the block holds has changed. */
const RETRY = 3;

/** A `Pagemap` over a `ScanTarget`. */
export type ScannerClass = new (
  /** What to walk. */
  target: ScanTarget,
  /** Plays a fatal signal to the caller: when aborted, a scan ends with EINTR before its next leg. */
  signal?: AbortSignal,
) => Pagemap & { readonly signal: AbortSignal | undefined };

/**
 * Makes a class that runs PAGEMAP_SCAN over page tables with entries of this format: `Pagemap`s over
 * `ScanTarget`s.
 *
 * Call it once, at the top of a module: the format becomes constants of this function's scope, and the loops
 * are compiled as if the bits were written into them.
 *
 * A scan allocates nothing but its result, whatever the number of pages; with write protection, page tables
 * for the markers.
 *
 * @example
 * ```ts
 * import { AddressSpace } from 'pagemap-scan/sim';
 * import { RegionBuffer } from 'pagemap-scan';
 * const space = new AddressSpace();
 * const at = space.mmap({ lengthBytes: 1 << 20 });
 * space.write(at, 3 * 4096);
 * const output = new RegionBuffer(8);
 * space.pagemap.scan({ start: at, end: at + (1 << 20), categoryMask: 8, returnMask: 8 }, output);
 * console.assert(output.length === 1 && output.pages(0) === 3);
 * ```
 */
export function defineScanner(format: EntryFormat): ScannerClass {
  const {
    MARKER_GUARD,
    P,
    PART_OF_HUGE,
    PRESENT_ANY,
    SOFT_DIRTY,
    SWP_SOFT_DIRTY,
    UFFD_WP,
    VOID,
    isHugeEntry,
    isMarker,
    isProtected,
    markerBits,
    placeMarkers,
    protectEntry,
  } = format;
  const PROTECTED_PRESENT = P | UFFD_WP;
  /** The bits of a present entry's low word that categories depend on. */
  const KEY = PRESENT_ANY | UFFD_WP | SOFT_DIRTY | PART_OF_HUGE;

  /**
   * The first slot from `slot` on, in steps of eight entries, where not all eight are present and protected. Eight at a
   * time take 0.26 ms a GiB where single steps take 0.46 (bench/engine.mjs).
   */
  function skipProtected(words: Uint32Array, slot: number, end: number): number {
    const last = end - 14;
    while (
      slot < last &&
      (words[slot]! &
        words[slot + 2]! &
        words[slot + 4]! &
        words[slot + 6]! &
        words[slot + 8]! &
        words[slot + 10]! &
        words[slot + 12]! &
        words[slot + 14]! &
        PROTECTED_PRESENT) ===
        PROTECTED_PRESENT
    ) {
      slot += 16;
    }
    return slot;
  }

  /** The frame number of a present entry whose number fits 31 bits (8 TiB of memory). */
  function frameNumber(low: number, high: number): number {
    return (low >>> 12) | ((high & 0x7ff) << 20);
  }

  /** @param unprotected what an entry is that is not protected */
  function nonPresentCategories(
    low: number,
    high: number,
    profile: ScanProfile,
    unprotected: number,
  ): number {
    let categories = (low & VOID) === 0 ? PAGE_IS_SWAPPED : 0;
    if ((low & PART_OF_HUGE) !== 0) categories |= PAGE_IS_HUGE;
    if (!isProtected(low, high)) categories |= unprotected;
    if ((low & SWP_SOFT_DIRTY) !== 0 && profile.reportsSoftDirty) categories |= PAGE_IS_SOFT_DIRTY;
    if (profile.reportsGuard && isMarker(low, high) && (markerBits(low) & MARKER_GUARD) !== 0) {
      categories |= PAGE_IS_GUARD;
    }
    return categories;
  }

  /** Index of the first mapping that ends behind `page`. */
  function firstMappingAfter(mappings: readonly ScanMapping[], page: number): number {
    let low = 0;
    let high = mappings.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (mappings[middle]!.end <= page) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  return class implements Pagemap {
    readonly pageSize: number = PAGE_SIZE;
    readonly #target: ScanTarget;
    /** The fatal signal: when aborted, a scan ends with EINTR before its next leg. */
    readonly signal: AbortSignal | undefined;
    readonly #request: CheckedRequest;

    /** Where regions go; not read when the request has no vector. */
    #words: Uint32Array = new Uint32Array(REGION_WORDS);
    /** For a vector that cannot be written: the walk fills it, the copy fails. */
    #scratch: RegionBuffer | undefined;
    /** Regions in the output. */
    #regions = 0;
    /** Regions before this index are closed: a later page does not extend them. */
    #closed = 0;
    /** Regions at which the current leg is full. */
    #legLimit = 0;
    #foundPages = 0;
    /** Page number; 0 is "not set". */
    #walkEnd = 0;

    // What the current mapping and request make of an entry.
    #mappingCategories = 0;
    /** WRITTEN, or 0 in a mapping that has none. */
    #written = 0;
    /** What an entry is that is not empty and not protected: `#written`, or ACCESSED. */
    #unprotected = 0;
    #emptyCategories = 0;
    #holeCategories = 0;
    #holeMatches = false;
    #needsPage = false;
    #writtenOnly = false;

    /**
     * @param target what to walk
     * @param signal stands for a fatal signal to the caller
     */
    constructor(target: ScanTarget, signal?: AbortSignal) {
      this.#target = target;
      this.#request = new CheckedRequest(target.userSpaceEnd);
      this.signal = signal;
    }

    scan(request: ScanRequest, output: RegionBuffer | null): ScanResult {
      const checked = this.#request;
      requireUsable(request, output);
      if (output !== null) {
        output.length = 0;
        output.pageSize = PAGE_SIZE;
      }
      const invalid = checked.check(request, output, this.#target.profile.knownCategories);
      if (invalid !== 0) throw scanError(invalid, request, undefined);
      const writable = request.override?.vec === undefined ? output : null;
      const error = this.#run(writable);
      if (writable !== null) writable.length = checked.hasVec ? this.#regions : 0;
      const walkEnd = (this.#walkEnd === 0 ? checked.end : this.#walkEnd) * PAGE_SIZE;
      if (error !== 0) throw scanError(error, request, walkEnd);
      return { regions: this.#regions, walkEnd };
    }

    /** The legs of a scan. Returns 0 or an errno. */
    #run(output: RegionBuffer | null): number {
      const request = this.#request;
      this.#foundPages = 0;
      this.#walkEnd = 0;
      this.#regions = 0;
      let vecLen = request.vecLen;
      if (request.hasVec) {
        if (output === null) this.#scratch ??= new RegionBuffer(BOUNCE_REGIONS);
        this.#words = (output ?? this.#scratch!).words;
      }
      const looksAt = request.mask | request.anyof | request.returned;
      this.#needsPage = (looksAt & (PAGE_IS_FILE | PAGE_IS_PFNZERO)) !== 0;
      this.#writtenOnly =
        request.mask === PAGE_IS_WRITTEN &&
        request.returned === PAGE_IS_WRITTEN &&
        request.anyof === 0 &&
        request.inverted === 0;

      let legRegions = Math.min(BOUNCE_REGIONS, vecLen);
      let start = request.start;
      while (start < request.end) {
        if (this.signal?.aborted) return EINTR;
        const legStart = this.#regions;
        this.#closed = legStart;
        this.#legLimit = legStart + legRegions;
        const result = this.#walk(start, request.end);
        const added = this.#regions - legStart;
        if (added > 0 && (output === null || this.#regions > output.capacity)) {
          this.#regions = legStart;
          return EFAULT;
        }
        if (result === DENIED) return EPERM;
        if (result === DONE) break;
        vecLen -= added;
        legRegions = Math.min(legRegions, vecLen);
        if (vecLen === 0 || this.#foundPages === request.maxPages) break;
        start = this.#walkEnd;
      }
      return 0;
    }

    /** One leg: walks the mappings in [start, end). */
    #walk(start: number, end: number): number {
      const { mappings, profile } = this.#target;
      const request = this.#request;
      for (let index = firstMappingAfter(mappings, start); index < mappings.length; index++) {
        const mapping = mappings[index]!;
        if (mapping.start >= end) break;
        if (mapping.pfnMap) continue;
        if (!mapping.wpAllowed) {
          if ((request.flags & PM_SCAN_CHECK_WPASYNC) !== 0) return DENIED;
          if ((request.flags & PM_SCAN_WP_MATCHING) !== 0) continue;
        }
        const allowed = mapping.wpAllowed ? PAGE_IS_WPALLOWED : 0;
        const required = request.mask & PAGE_IS_WPALLOWED;
        if (((allowed ^ request.inverted) & required) !== required) continue;
        this.#mappingCategories =
          allowed | (mapping.softDirty && profile.reportsSoftDirty ? PAGE_IS_SOFT_DIRTY : 0);
        this.#written = mapping.wpAllowed || profile.untrackedIsWritten ? PAGE_IS_WRITTEN : 0;
        if (this.#writtenOnly && this.#written === 0) continue;
        // One bit of an entry stands for both kinds of protection; the mapping tells which it is.
        this.#unprotected = mapping.uffdRwp ? PAGE_IS_ACCESSED : this.#written;
        this.#emptyCategories = this.#mappingCategories | (profile.emptyIsWritten ? this.#written : 0);
        // Holes are all alike within a mapping: judged once, they can be passed over at once.
        const holeWritten = profile.holeIsWritten && mapping.uffdWp && !mapping.hugetlb;
        this.#holeCategories = this.#mappingCategories | (holeWritten ? this.#written : 0);
        this.#holeMatches = this.#matches(this.#holeCategories);
        const first = Math.max(start, mapping.start);
        const last = Math.min(end, mapping.end);
        const result = mapping.hugetlb
          ? this.#walkHugetlb(mapping, first, last)
          : this.#walkMapping(mapping, first, last);
        if (result !== DONE) return result;
      }
      return DONE;
    }

    /** Small and transparent huge pages of a mapping. */
    #walkMapping(mapping: ScanMapping, start: number, end: number): number {
      let page = start;
      while (page < end) {
        const block = Math.floor(page / ENTRIES);
        const next = Math.min(end, ((block >> 9) + 1) * (ENTRIES * ENTRIES));
        const pmd = this.#target.tables.findPmd(block);
        const result =
          pmd < 0 ? this.#nothing(mapping, page, next) : this.#walkPmdTable(mapping, pmd, page, next);
        if (result !== DONE) return STOPPED;
        page = next;
      }
      return DONE;
    }

    /** Pages [start, end), whose blocks are all in one PMD table; `pmd` is where the entry of the first of them is. */
    #walkPmdTable(mapping: ScanMapping, pmd: number, start: number, end: number): number {
      const { tables } = this.#target;
      const first = Math.floor(start / ENTRIES);
      const last = Math.ceil(end / ENTRIES);
      let page = start;
      for (let block = first; block < last; ) {
        const entry = pmd + (block - first) * 2;
        const isEmpty = tables.words[entry] === 0;
        const after = isEmpty ? this.#endOfEmpty(entry, block, last) : block + 1;
        const next = Math.min(end, after * ENTRIES);
        const result = isEmpty
          ? this.#nothing(mapping, page, next)
          : this.#walkBlock(mapping, entry, block, page, next);
        if (result !== DONE) return STOPPED;
        page = next;
        block = after;
      }
      return DONE;
    }

    /** The first block behind an empty one, of those before `last` in the same PMD table, that has an entry. */
    #endOfEmpty(entry: number, block: number, last: number): number {
      const { words } = this.#target.tables;
      const stripes = this.#target.tables.stripesAt(entry);
      const base = entry - block * 2;
      let current = block + 1;
      while (current < last) {
        const stripe = (current & 511) >> 4;
        if (((stripes >>> stripe) & 1) !== 0) {
          if (words[base + current * 2] !== 0) break;
          current++;
          continue;
        }
        // Stripes that hold nothing are not looked at: their entries would push others out of the cache.
        const rest = stripes & (-1 << stripe);
        current = (current & ~511) + (rest === 0 ? ENTRIES : (31 - Math.clz32(rest & -rest)) << 4);
      }
      return Math.min(current, last);
    }

    /** Pages [start, end) of a block that has an entry. */
    #walkBlock(mapping: ScanMapping, entry: number, block: number, start: number, end: number): number {
      const { tables } = this.#target;
      const blockStart = block * ENTRIES;
      for (;;) {
        const low = tables.words[entry]!;
        // The huge entry may have been split, and of file memory dropped altogether.
        if (low === 0) return this.#nothing(mapping, start, end);
        const result = isHugeEntry(low) ? this.#transparentHuge(mapping, block, entry, start, end) : RETRY;
        if (result !== RETRY) return result;
        const table = tables.pteTable(entry);
        // As integers, so that the loops over entries count in integers too: page numbers are doubles.
        if (table >= 0) return this.#small(table, block, (start - blockStart) | 0, (end - blockStart) | 0);
      }
    }

    /** A stretch without page tables. */
    #nothing(mapping: ScanMapping, start: number, end: number): number {
      return this.#holeMatches ? this.#hole(mapping, start, end) : DONE;
    }

    /** A stretch without page tables, in a mapping in which such stretches match. */
    #hole(mapping: ScanMapping, start: number, end: number): number {
      const categories = this.#holeCategories;
      const pages = this.#output(categories, start, end - start);
      if (pages > 0 && (this.#request.flags & PM_SCAN_WP_MATCHING) !== 0) {
        this.#protectHole(mapping, start, start + pages);
      }
      return pages === end - start ? DONE : STOPPED;
    }

    /** Makes the page tables of a hole and places markers in them. */
    #protectHole(mapping: ScanMapping, start: number, end: number): void {
      const { tables } = this.#target;
      for (let block = Math.floor(start / ENTRIES); block * ENTRIES < end; block++) {
        if (mapping.hugetlb) {
          placeMarkers(tables.words, tables.ensurePmd(block), 1);
          continue;
        }
        const from = Math.max(0, start - block * ENTRIES);
        const to = Math.min(ENTRIES, end - block * ENTRIES);
        const table = tables.ensurePte(block);
        placeMarkers(tables.words, table + from * 2, to - from);
      }
    }

    /** Pages [start, end) of a block that a transparent huge entry maps. RETRY: look at the block again. */
    #transparentHuge(mapping: ScanMapping, block: number, pmd: number, start: number, end: number): number {
      const { tables } = this.#target;
      const low = tables.words[pmd]! | 0;
      const categories =
        this.#mappingCategories |
        PAGE_IS_HUGE |
        this.#presentCategories(low, tables.words[pmd + 1]! | 0, true);
      if (!this.#matches(categories)) return DONE;
      const pages = this.#output(categories, start, end - start);
      const result = pages === end - start ? DONE : STOPPED;
      if (pages === 0) return result;
      if ((this.#request.flags & PM_SCAN_WP_MATCHING) === 0 || (categories & PAGE_IS_WRITTEN) === 0) {
        return result;
      }
      if (pages !== ENTRIES) {
        this.#target.splitHuge(mapping, block);
        this.#takeBack(start, pages);
        return RETRY;
      }
      protectEntry(tables.words, pmd);
      return result;
    }

    /** Entries [from, to) of a block's last-level table. */
    #small(table: number, block: number, from: number, to: number): number {
      const { flags, hasVec } = this.#request;
      const protects = (flags & PM_SCAN_WP_MATCHING) !== 0;
      if (protects && !hasVec) {
        const { words } = this.#target.tables;
        for (let slot = table + from * 2, end = table + to * 2; slot < end; slot += 2) {
          if ((words[slot]! & PROTECTED_PRESENT) === PROTECTED_PRESENT) continue;
          if (!isProtected(words[slot]! | 0, words[slot + 1]! | 0)) protectEntry(words, slot);
        }
        return DONE;
      }
      return this.#writtenOnly
        ? this.#smallWritten(table, block, from, to, protects)
        : this.#smallGeneral(table, block, from, to, protects);
    }

    /** The fast path: whatever is not protected is WRITTEN, and nothing else is asked. */
    #smallWritten(table: number, block: number, from: number, to: number, protects: boolean): number {
      const { words } = this.#target.tables;
      const categories = this.#mappingCategories | PAGE_IS_WRITTEN;
      const end = table + to * 2;
      let slot = table + from * 2;
      while (slot < end) {
        slot = skipProtected(words, slot, end);
        if (slot >= end) break;
        if (isProtected(words[slot]! | 0, words[slot + 1]! | 0)) {
          slot += 2;
          continue;
        }
        let next = slot + 2;
        while (next < end) {
          const other = words[next]! | 0;
          if ((other & PROTECTED_PRESENT) !== P && isProtected(other, words[next + 1]! | 0)) break;
          next += 2;
        }
        const wanted = (next - slot) >> 1;
        const pages = this.#outputSmall(categories, block, (slot - table) >> 1, wanted);
        if (protects)
          for (let at = slot, stop = slot + pages * 2; at < stop; at += 2) protectEntry(words, at);
        if (pages !== wanted) return STOPPED;
        slot = next;
      }
      return DONE;
    }

    #smallGeneral(table: number, block: number, from: number, to: number, protects: boolean): number {
      const { words } = this.#target.tables;
      const end = table + to * 2;
      let slot = table + from * 2;
      while (slot < end) {
        // Signed: a word from 2^31 on would be an allocation wherever a call is not inlined.
        const low = words[slot]! | 0;
        let next = slot + 2;
        let categories: number;
        // Runs of entries of one kind are judged and output together.
        if (low === 0) {
          while (next < end && words[next] === 0) next += 2;
          categories = this.#emptyCategories;
        } else if ((low & PRESENT_ANY) !== 0) {
          categories = this.#mappingCategories | this.#presentCategories(low, words[slot + 1]! | 0, false);
          const key = low & KEY;
          if (this.#needsPage) next = this.#sameKind(words, slot, end);
          else while (next < end && (words[next]! & KEY) === key) next += 2;
        } else {
          const high = words[slot + 1]! | 0;
          categories =
            this.#mappingCategories |
            nonPresentCategories(low, high, this.#target.profile, this.#unprotected);
          while (next < end && (words[next]! | 0) === low && (words[next + 1]! | 0) === high) next += 2;
        }
        if (this.#matches(categories)) {
          const wanted = (next - slot) >> 1;
          const pages = this.#outputSmall(categories, block, (slot - table) >> 1, wanted);
          if (protects && (categories & PAGE_IS_WRITTEN) !== 0) {
            for (let at = slot, stop = slot + pages * 2; at < stop; at += 2) protectEntry(words, at);
          }
          if (pages !== wanted) return STOPPED;
        }
        slot = next;
      }
      return DONE;
    }

    /** Where the run of present entries with the first one's flags and kind of page ends. */
    #sameKind(words: Uint32Array, first: number, end: number): number {
      const { frameKinds, frameBase } = this.#target;
      const key = words[first]! & KEY;
      // Of a PROT_NONE entry the frame number is stored inverted.
      const flip = (key & P) === 0 ? -1 : 0;
      const kind = frameKinds[frameNumber(words[first]! ^ flip, words[first + 1]! ^ flip) - frameBase]!;
      let slot = first + 2;
      while (slot < end) {
        const low = words[slot]!;
        if ((low & KEY) !== key) break;
        if (frameKinds[frameNumber(low ^ flip, words[slot + 1]! ^ flip) - frameBase] !== kind) break;
        slot += 2;
      }
      return slot;
    }

    #presentCategories(low: number, high: number, huge: boolean): number {
      const { profile, frameKinds, frameBase } = this.#target;
      let categories = PAGE_IS_PRESENT;
      if ((low & UFFD_WP) === 0) categories |= this.#unprotected;
      if ((low & SOFT_DIRTY) !== 0 && profile.reportsSoftDirty) categories |= PAGE_IS_SOFT_DIRTY;
      if ((low & PART_OF_HUGE) !== 0) categories |= PAGE_IS_HUGE;
      if (this.#needsPage) {
        const flip = (low & P) === 0 ? -1 : 0;
        const kind = frameKinds[frameNumber(low ^ flip, high ^ flip) - frameBase];
        if (kind === FRAME_FILE) categories |= PAGE_IS_FILE;
        else if (kind === FRAME_ZERO || (kind === FRAME_HUGE_ZERO && (!huge || profile.hugeZeroIsPfnZero))) {
          categories |= PAGE_IS_PFNZERO;
        }
      }
      return categories;
    }

    #walkHugetlb(mapping: ScanMapping, start: number, end: number): number {
      const { tables, profile } = this.#target;
      const protects = (this.#request.flags & PM_SCAN_WP_MATCHING) !== 0;
      let page = start;
      while (page < end) {
        const block = Math.floor(page / ENTRIES);
        const next = Math.min(end, (block + 1) * ENTRIES);
        const pmd = tables.findPmd(block);
        if (pmd < 0) {
          if (this.#holeMatches && this.#hole(mapping, page, next) !== DONE) return STOPPED;
          page = next;
          continue;
        }
        const low = tables.words[pmd]! | 0;
        const high = tables.words[pmd + 1]! | 0;
        let categories = this.#mappingCategories | PAGE_IS_HUGE;
        if (isHugeEntry(low)) categories |= this.#presentCategories(low, high, true);
        else if (low !== 0) categories |= nonPresentCategories(low, high, profile, this.#unprotected);
        if (this.#matches(categories)) {
          const pages = this.#output(categories, page, next - page);
          if (pages > 0 && protects && (categories & PAGE_IS_WRITTEN) !== 0) {
            if (pages !== ENTRIES) {
              // A part of it cannot be protected; the walk goes on all the same, and without an error.
              this.#takeBack(page, pages);
              this.#walkEnd = page;
              page = next;
              continue;
            }
            protectEntry(tables.words, pmd);
          }
          if (pages !== next - page) return STOPPED;
        }
        page = next;
      }
      return DONE;
    }

    #matches(categories: number): boolean {
      const { inverted, mask, anyof } = this.#request;
      const judged = categories ^ inverted;
      return (judged & mask) === mask && (anyof === 0 || (judged & anyof) !== 0);
    }

    /**
     * Appends pages to the output, or extends its last region.
     *
     * @returns how many pages were taken: fewer than `pages` when the output or `maxPages` is exhausted, and then
     *   the walk's end is set
     */
    #output(categories: number, page: number, pages: number): number {
      const request = this.#request;
      if (!request.hasVec) return pages;
      let taken = Math.min(pages, request.maxPages - this.#foundPages);
      if (taken > 0) {
        const words = this.#words;
        const reported = categories & request.returned;
        const startLow = (page * PAGE_SIZE) >>> 0;
        const startHigh = Math.floor(page / PAGES_PER_HIGH_WORD);
        const last = (this.#regions - 1) * REGION_WORDS;
        const end = page + taken;
        if (
          this.#regions > this.#closed &&
          words[last + 2] === startLow &&
          words[last + 3] === startHigh &&
          words[last + 4] === reported
        ) {
          words[last + 2] = (end * PAGE_SIZE) >>> 0;
          words[last + 3] = Math.floor(end / PAGES_PER_HIGH_WORD);
        } else if (this.#regions < this.#legLimit) {
          const at = this.#regions++ * REGION_WORDS;
          words[at] = startLow;
          words[at + 1] = startHigh;
          words[at + 2] = (end * PAGE_SIZE) >>> 0;
          words[at + 3] = Math.floor(end / PAGES_PER_HIGH_WORD);
          words[at + 4] = reported;
          words[at + 5] = 0;
        } else {
          taken = 0;
        }
      }
      this.#foundPages += taken;
      if (taken !== pages) this.#walkEnd = page + taken;
      return taken;
    }

    /**
     * As `#output` for pages of one block, from its page `index` on. Counts in integers alone: a page number is a
     * double, which as an argument would be an allocation.
     */
    #outputSmall(categories: number, block: number, index: number, pages: number): number {
      const request = this.#request;
      if (!request.hasVec) return pages;
      let taken = pages;
      if (this.#foundPages + pages > request.maxPages) taken = (request.maxPages - this.#foundPages) | 0;
      if (taken > 0) {
        const words = this.#words;
        const reported = categories & request.returned;
        const startLow = ((block << 21) + (index << 12)) >>> 0;
        const startHigh = block >>> 11;
        const end = index + taken;
        const endLow = ((block << 21) + (end << 12)) >>> 0;
        const endHigh = (block + (end >> 9)) >>> 11;
        const last = (this.#regions - 1) * REGION_WORDS;
        if (
          this.#regions > this.#closed &&
          words[last + 2] === startLow &&
          words[last + 3] === startHigh &&
          words[last + 4] === reported
        ) {
          words[last + 2] = endLow;
          words[last + 3] = endHigh;
        } else if (this.#regions < this.#legLimit) {
          const at = this.#regions++ * REGION_WORDS;
          words[at] = startLow;
          words[at + 1] = startHigh;
          words[at + 2] = endLow;
          words[at + 3] = endHigh;
          words[at + 4] = reported;
          words[at + 5] = 0;
        } else {
          taken = 0;
        }
      }
      this.#foundPages += taken;
      if (taken !== pages) this.#walkEnd = block * ENTRIES + index + taken;
      return taken;
    }

    /** Takes back the last output, which was `pages` pages from `page` on. */
    #takeBack(page: number, pages: number): void {
      if (!this.#request.hasVec) return;
      const words = this.#words;
      const last = (this.#regions - 1) * REGION_WORDS;
      const low = (page * PAGE_SIZE) >>> 0;
      const high = Math.floor(page / PAGES_PER_HIGH_WORD);
      if (words[last] === low && words[last + 1] === high) {
        // Emptied. The region before it stays closed: what follows begins a new one, whatever its categories.
        this.#closed = --this.#regions;
      } else {
        words[last + 2] = low;
        words[last + 3] = high;
      }
      this.#foundPages -= pages;
    }
  };
}
