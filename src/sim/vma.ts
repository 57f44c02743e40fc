import { mman } from '../abi/index.js';
import type { ScanMapping } from '../engine/index.js';
import { A, P, PROTNONE, UFFD_WP, US } from '../x86/index.js';
import { HUGE_PAGES, type MemoryFile } from './memory.js';

/** A userfaultfd of the address space. */
export interface Userfault {
  readonly features: number;
  /** Resolves write-protection faults in the kernel, without a message. */
  readonly wpAsync: boolean;
  /** Anonymous memory without pages can be protected. */
  readonly wpUnpopulated: boolean;
  /** Gives a page back to whoever accesses it, in the kernel, without a message. */
  rwpAsync: boolean;
}

/** What a mapping is registered for. */
export type UserfaultMode = 'wp' | 'rwp';

/** Identity of the anonymous pages of a mapping; two mappings with different ones do not merge. */
export interface AnonVma {
  readonly id: number;
}

export const ADVICE_NONE = 0;
export const ADVICE_HUGE = 1;
export const ADVICE_NO_HUGE = 2;

/** A mapping. Positions are page numbers, `end` exclusive. */
export class Vma implements ScanMapping {
  start: number;
  end: number;
  prot: number;
  readonly shared: boolean;
  /** The memory file behind it; null for private anonymous memory and private hugetlb. */
  readonly file: MemoryFile | null;
  /** Page of the file (of anonymous memory: of the address space) at `start`. */
  offset: number;
  readonly hugetlb: boolean;
  readonly pfnMap = false;
  /** `ADVICE_*` about transparent huge pages. */
  hugeAdvice = ADVICE_NONE;
  softDirty = false;
  /** Counted against the commit limit: private memory that is or once was writable. */
  accounted: boolean;
  anonVma: AnonVma | null = null;
  /** Private hugetlb: the pool keeps its pages for it. It keeps none for a child, which shares its parent's. */
  isCharged = false;
  uffdWp = false;
  uffdRwp = false;
  wpAllowed = false;
  #uffd: Userfault | null = null;

  constructor(fields: {
    start: number;
    end: number;
    prot: number;
    shared: boolean;
    file: MemoryFile | null;
    offset: number;
    hugetlb: boolean;
  }) {
    this.start = fields.start;
    this.end = fields.end;
    this.prot = fields.prot;
    this.shared = fields.shared;
    this.file = fields.file;
    this.offset = fields.offset;
    this.hugetlb = fields.hugetlb;
    if (fields.file !== null) fields.file.users++;
    this.accounted = !fields.shared && !fields.hugetlb && (fields.prot & mman.PROT_WRITE) !== 0;
  }

  /** Private anonymous memory of small and transparent huge pages. */
  get anonymous(): boolean {
    return this.file === null && !this.hugetlb;
  }

  get writable(): boolean {
    return (this.prot & mman.PROT_WRITE) !== 0;
  }

  get uffd(): Userfault | null {
    return this.#uffd;
  }

  /** Registers the mapping, or ends its registration. */
  setUffd(uffd: Userfault | null, mode: UserfaultMode = 'wp'): void {
    this.#uffd = uffd;
    this.uffdWp = uffd !== null && mode === 'wp';
    this.uffdRwp = uffd !== null && mode === 'rwp';
    this.wpAllowed = uffd?.wpAsync === true && this.usesMarkers;
  }

  /** What the mapping is registered for; meaningless where it is not. */
  get uffdMode(): UserfaultMode {
    return this.uffdRwp ? 'rwp' : 'wp';
  }

  /** Whether protection of what is not populated can be remembered. */
  get usesMarkers(): boolean {
    return this.uffdWp && (!this.anonymous || this.#uffd!.wpUnpopulated);
  }

  /** Flag bits of an entry that maps a page of this mapping read-only. */
  get entryFlags(): number {
    return (this.prot & (mman.PROT_READ | mman.PROT_WRITE | mman.PROT_EXEC)) === 0
      ? PROTNONE | A
      : P | US | A;
  }

  /** As `entryFlags`, of a page that is protected from reading and writing: as of a PROT_NONE mapping, every access faults. */
  get protectedFlags(): number {
    return PROTNONE | A | UFFD_WP;
  }

  /** Whether the whole 2 MiB block lies in the mapping and, for a file, at a huge page's place in it. */
  suitsHuge(block: number): boolean {
    const start = block * HUGE_PAGES;
    if (start < this.start || start + HUGE_PAGES > this.end) return false;
    return this.file === null || (this.start - this.offset) % HUGE_PAGES === 0;
  }

  /** The file's page at a page of the mapping. */
  fileIndex(page: number): number {
    return page - this.start + this.offset;
  }

  /** The upper part, from `page` on, as a mapping of its own; this one ends there. */
  splitOff(page: number): Vma {
    const upper = new Vma({
      start: page,
      end: this.end,
      prot: this.prot,
      shared: this.shared,
      file: this.file,
      offset: this.offset + (page - this.start),
      hugetlb: this.hugetlb,
    });
    upper.hugeAdvice = this.hugeAdvice;
    upper.softDirty = this.softDirty;
    upper.accounted = this.accounted;
    upper.anonVma = this.anonVma;
    upper.isCharged = this.isCharged;
    upper.setUffd(this.#uffd, this.uffdMode);
    this.end = page;
    return upper;
  }

  /** Whether `next`, which must follow, could be part of this mapping but for its anonymous pages. */
  #continuesAs(next: Vma): boolean {
    return (
      this.end === next.start &&
      this.shared === next.shared &&
      this.file === next.file &&
      !this.hugetlb &&
      !next.hugetlb &&
      this.hugeAdvice === next.hugeAdvice &&
      this.accounted === next.accounted &&
      this.offset + (this.end - this.start) === next.offset
    );
  }

  canMerge(next: Vma): boolean {
    return (
      this.#continuesAs(next) &&
      this.prot === next.prot &&
      this.#uffd === next.uffd &&
      this.uffdRwp === next.uffdRwp &&
      (this.anonVma === null || next.anonVma === null || this.anonVma === next.anonVma)
    );
  }

  /** Whether the two could become one after an mprotect, so that they share the identity of their pages. */
  sharesAnonVma(next: Vma): boolean {
    return this.#continuesAs(next) && this.#uffd === next.uffd && this.uffdRwp === next.uffdRwp;
  }
}
