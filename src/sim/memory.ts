import { FRAME_ANONYMOUS, FRAME_FILE, FRAME_HUGE_ZERO, FRAME_ZERO } from '../engine/index.js';

/** Pages of a huge page. */
export const HUGE_PAGES = 512;
/** Below it lie the frames of the page tables. */
export const FRAME_BASE = 0x100000;
/** The shared zero page. */
export const ZERO_FRAME = FRAME_BASE;
/** The first frame of the huge zero page. */
export const HUGE_ZERO_FRAME = FRAME_BASE + HUGE_PAGES;
const FIRST_FREE = 2 * HUGE_PAGES;
/** There is room for so many at first: few, since most address spaces of a program that makes many are small. */
const FRAMES = 4 * HUGE_PAGES;

/** The page cache holds it. */
const CACHED = 1;
/** MADV_FREE was called on it: reclaim may drop it unless it was written to since. */
const LAZY_FREE = 2;
/** The page itself is known to be dirty, whatever its entry says. */
const DIRTY_PAGE = 16;
/** Something other than zeros was written to it. */
const NONZERO = 4;
/** Part of an anonymous huge page, however it is mapped now. */
const LARGE = 8;

/** A bigger copy of a typed array; a quarter more room keeps growth cheap and small. */
function grown<T extends Uint8Array | Uint16Array | Int32Array>(
  array: T,
  length: number,
  make: (length: number) => T,
): T {
  const next = make(Math.max(length, Math.ceil(array.length * 1.25)));
  next.set(array);
  return next;
}

/**
 * Physical memory, swap and page contents, which address spaces share. A frame is a number from `FRAME_BASE`
 * on; its metadata takes six bytes.
 */
export class PhysicalMemory {
  /** `FRAME_*` kinds by frame number less `FRAME_BASE`. */
  kinds = new Uint8Array(FRAMES);
  /** How many entries map the frame; of a free one, less than 0: -2 less the index of the next free one of its block, or -1. */
  #mappings = new Int32Array(FRAMES);
  #flags = new Uint8Array(FRAMES);
  #used = FIRST_FREE;
  /**
   * By block of 512 frames: how many are free, and the first of these. What is free as a whole is in no list, and becomes a huge
   * page or small ones, whatever it was before.
   */
  #freeCounts = new Uint16Array(FRAMES / HUGE_PAGES);
  #firstFree = new Int32Array(FRAMES / HUGE_PAGES);
  #freeBlocks: number[] = [];
  /** Blocks with free frames, the one to take from last. Some may have none any more, or nothing else. */
  #partBlocks: number[] = [];
  #isPartBlock = new Uint8Array(FRAMES / HUGE_PAGES);
  #inUse = 0;

  #swapUsers = new Int32Array(64);
  #swapUsed = 1;
  #freeSlots: number[] = [];
  /** Slots of pages that hold nothing but zeros. */
  readonly #zeroSlots = new Set<number>();

  /** The files whose pages lie in this memory, and whether each is open. */
  readonly files = new WeakMap<MemoryFile, { isOpen: boolean }>();

  /** Page contents by frame, and by swap slot as `-slot`; undefined when contents are not simulated. */
  readonly contents: Map<number, Uint8Array> | undefined;
  /** 2 MiB pages of the hugetlb pool that nothing has reserved. */
  freeHugetlb: number;

  constructor(options: { contents: boolean; hugetlbPages: number }) {
    this.contents = options.contents ? new Map() : undefined;
    this.freeHugetlb = options.hugetlbPages;
    this.kinds[ZERO_FRAME - FRAME_BASE] = FRAME_ZERO;
    this.kinds.fill(FRAME_HUGE_ZERO, HUGE_ZERO_FRAME - FRAME_BASE, FIRST_FREE);
  }

  /** Bytes of metadata, room for growth included. */
  get byteLength(): number {
    const frames = this.kinds.byteLength + this.#mappings.byteLength + this.#flags.byteLength;
    return frames + this.#freeCounts.byteLength + this.#firstFree.byteLength + this.#isPartBlock.byteLength;
  }

  /** Frames that hold a page, the zero pages not counted. */
  get framesInUse(): number {
    return this.#inUse;
  }

  /** A block of 512 frames, none of them in use. */
  #takeBlock(): number {
    const free = this.#freeBlocks.pop();
    if (free !== undefined) return free;
    const block = this.#used / HUGE_PAGES;
    this.#used += HUGE_PAGES;
    if (this.#used > this.kinds.length) {
      this.kinds = grown(this.kinds, this.#used, (n) => new Uint8Array(n));
      this.#mappings = grown(this.#mappings, this.#used, (n) => new Int32Array(n));
      this.#flags = grown(this.#flags, this.#used, (n) => new Uint8Array(n));
    }
    if (block >= this.#freeCounts.length) {
      this.#freeCounts = grown(this.#freeCounts, block + 1, (n) => new Uint16Array(n));
      this.#firstFree = grown(this.#firstFree, block + 1, (n) => new Int32Array(n));
      this.#isPartBlock = grown(this.#isPartBlock, block + 1, (n) => new Uint8Array(n));
    }
    return block;
  }

  /** A block that has free frames, but not free frames alone. */
  #partBlock(): number {
    for (;;) {
      const block = this.#partBlocks.at(-1);
      if (block === undefined) break;
      const count = this.#freeCounts[block]!;
      if (count > 0 && count < HUGE_PAGES) return block;
      this.#partBlocks.pop();
      this.#isPartBlock[block] = 0;
    }
    const block = this.#takeBlock();
    const head = block * HUGE_PAGES;
    for (let index = head; index < head + HUGE_PAGES; index++) this.#mappings[index] = -2 - (index + 1);
    this.#mappings[head + HUGE_PAGES - 1] = -1;
    this.#firstFree[block] = head;
    this.#freeCounts[block] = HUGE_PAGES;
    this.#notePart(block);
    return block;
  }

  #notePart(block: number): void {
    if (this.#isPartBlock[block] !== 0) return;
    this.#isPartBlock[block] = 1;
    this.#partBlocks.push(block);
  }

  /** A frame for one page. */
  allocate(kind: typeof FRAME_ANONYMOUS | typeof FRAME_FILE): number {
    const block = this.#partBlock();
    const index = this.#firstFree[block]!;
    this.#firstFree[block] = -2 - this.#mappings[index]!;
    this.#freeCounts[block]!--;
    this.kinds[index] = kind;
    this.#mappings[index] = 0;
    this.#flags[index] = kind === FRAME_FILE ? CACHED : 0;
    this.#inUse++;
    return index + FRAME_BASE;
  }

  /** 512 frames in a row, aligned. */
  allocateHuge(kind: typeof FRAME_ANONYMOUS | typeof FRAME_FILE): number {
    const block = this.#takeBlock();
    const index = block * HUGE_PAGES;
    this.#freeCounts[block] = 0;
    this.kinds.fill(kind, index, index + HUGE_PAGES);
    this.#mappings.fill(0, index, index + HUGE_PAGES);
    this.#flags.fill(kind === FRAME_FILE ? CACHED : LARGE, index, index + HUGE_PAGES);
    this.#inUse += HUGE_PAGES;
    return index + FRAME_BASE;
  }

  #release(frame: number): void {
    this.contents?.delete(frame);
    this.#inUse--;
    const index = frame - FRAME_BASE;
    const block = Math.floor(index / HUGE_PAGES);
    const count = ++this.#freeCounts[block]!;
    this.#mappings[index] = count === 1 ? -1 : -2 - this.#firstFree[block]!;
    this.#firstFree[block] = index;
    if (count === HUGE_PAGES) this.#freeBlocks.push(block);
    else this.#notePart(block);
  }

  /** Counts an entry that maps the frame. */
  map(frame: number): void {
    this.#mappings[frame - FRAME_BASE]!++;
  }

  mapHuge(frame: number): void {
    for (let index = frame - FRAME_BASE, end = index + HUGE_PAGES; index < end; index++) {
      this.#mappings[index]!++;
    }
  }

  /** An entry no longer maps the frame, which is freed when nothing holds it any more. */
  unmap(frame: number): void {
    const index = frame - FRAME_BASE;
    if (index < FIRST_FREE) return;
    if (--this.#mappings[index]! === 0 && (this.#flags[index]! & CACHED) === 0) this.#release(frame);
  }

  unmapHuge(frame: number): void {
    const head = frame - FRAME_BASE;
    if (head < FIRST_FREE) return;
    let unused = 0;
    for (let index = head; index < head + HUGE_PAGES; index++) {
      if (--this.#mappings[index]! === 0 && (this.#flags[index]! & CACHED) === 0) unused++;
    }
    if (unused === HUGE_PAGES) {
      for (let index = head; index < head + HUGE_PAGES; index++) this.contents?.delete(index + FRAME_BASE);
      this.#inUse -= HUGE_PAGES;
      this.#freeCounts[head / HUGE_PAGES] = HUGE_PAGES;
      this.#freeBlocks.push(head / HUGE_PAGES);
    } else if (unused > 0) {
      for (let index = head; index < head + HUGE_PAGES; index++) {
        if (this.#mappings[index] === 0 && (this.#flags[index]! & CACHED) === 0) {
          this.#release(index + FRAME_BASE);
        }
      }
    }
  }

  /** How many entries map the frame. */
  mappings(frame: number): number {
    return this.#mappings[frame - FRAME_BASE]!;
  }

  /**
   * Whether any page of the frame's huge page is mapped more than once. After a fork, one side may have copied some of its
   * pages, the first one or others: each of the rest alone keeps the whole shared.
   */
  isHugeShared(frame: number): boolean {
    const head = Math.floor((frame - FRAME_BASE) / HUGE_PAGES) * HUGE_PAGES;
    for (let index = head; index < head + HUGE_PAGES; index++) if (this.#mappings[index]! > 1) return true;
    return false;
  }

  /** How many pages of the frame's huge page are mapped at all. */
  mappedOfHuge(frame: number): number {
    const head = Math.floor((frame - FRAME_BASE) / HUGE_PAGES) * HUGE_PAGES;
    let count = 0;
    for (let index = head; index < head + HUGE_PAGES; index++) if (this.#mappings[index]! > 0) count++;
    return count;
  }

  isFile(frame: number): boolean {
    return this.kinds[frame - FRAME_BASE] === FRAME_FILE;
  }

  isAnonymous(frame: number): boolean {
    return this.kinds[frame - FRAME_BASE] === FRAME_ANONYMOUS;
  }

  /** The page cache lets go of the frame. */
  uncache(frame: number): void {
    const index = frame - FRAME_BASE;
    this.#flags[index] = this.#flags[index]! & ~CACHED;
    if (this.#mappings[index] === 0) this.#release(frame);
  }

  /** Frees the pages of a file that nothing refers to any more. */
  dropCache(file: MemoryFile): void {
    for (let index = 0; index < file.entries.length; index++) this.dropCached(file, index);
  }

  /** Frees the page, or the swap slot, of one entry of the cache. */
  dropCached(file: MemoryFile, index: number): void {
    const entry = file.entries[index]!;
    file.entries[index] = 0;
    if (entry < 0) this.freeSlot(-entry);
    else if (entry > 0)
      for (let page = 0; page < (file.hugetlb ? HUGE_PAGES : 1); page++) this.uncache(entry + page);
  }

  isLazyFree(frame: number): boolean {
    return (this.#flags[frame - FRAME_BASE]! & LAZY_FREE) !== 0;
  }

  isDirtyPage(frame: number): boolean {
    return (this.#flags[frame - FRAME_BASE]! & DIRTY_PAGE) !== 0;
  }

  setDirtyPage(frame: number): void {
    const index = frame - FRAME_BASE;
    this.#flags[index] = this.#flags[index]! | DIRTY_PAGE;
  }

  /** With `lazy`, nothing that was written before counts any more. */
  setLazyFree(frame: number, lazy: boolean): void {
    const index = frame - FRAME_BASE;
    this.#flags[index] = (this.#flags[index]! & ~(LAZY_FREE | DIRTY_PAGE)) | (lazy ? LAZY_FREE : 0);
  }

  /** Notes a write to the frame by the CPU. */
  written(frame: number): void {
    const index = frame - FRAME_BASE;
    this.#flags[index] = this.#flags[index]! | NONZERO;
  }

  isZeroFilled(frame: number): boolean {
    return (this.#flags[frame - FRAME_BASE]! & NONZERO) === 0;
  }

  /** Whether the frame belongs to an anonymous huge page. */
  isLarge(frame: number): boolean {
    return (this.#flags[frame - FRAME_BASE]! & LARGE) !== 0;
  }

  /** Makes what is left of a huge page small pages. */
  splitLarge(frame: number): void {
    const head = Math.floor((frame - FRAME_BASE) / HUGE_PAGES) * HUGE_PAGES;
    for (let index = head; index < head + HUGE_PAGES; index++) {
      this.#flags[index] = this.#flags[index]! & ~LARGE;
    }
  }

  /** Moves a page's contents to a new swap slot, which has one user. */
  swapOut(frame: number): number {
    const slot = this.#freeSlots.pop() ?? this.#swapUsed++;
    if (slot >= this.#swapUsers.length) {
      this.#swapUsers = grown(this.#swapUsers, slot + 1, (n) => new Int32Array(n));
    }
    this.#swapUsers[slot] = 1;
    if (this.isZeroFilled(frame)) this.#zeroSlots.add(slot);
    const bytes = this.contents?.get(frame);
    if (bytes !== undefined) this.contents!.set(-slot, bytes.slice());
    return slot;
  }

  /** Copies a slot's contents into a frame; the slot keeps its users. */
  swapIn(slot: number, frame: number): void {
    const bytes = this.contents?.get(-slot);
    if (bytes !== undefined) this.contents!.set(frame, bytes.slice());
    if (!this.#zeroSlots.has(slot)) this.written(frame);
  }

  shareSlot(slot: number): void {
    this.#swapUsers[slot]!++;
  }

  freeSlot(slot: number): void {
    if (--this.#swapUsers[slot]! > 0) return;
    this.contents?.delete(-slot);
    this.#zeroSlots.delete(slot);
    this.#freeSlots.push(slot);
  }

  /** Copies contents from frame to frame: copy on write. */
  copy(from: number, to: number): void {
    const bytes = this.contents?.get(from);
    if (bytes !== undefined) this.contents!.set(to, bytes.slice());
    if (!this.isZeroFilled(from)) this.written(to);
  }
}

/**
 * The page cache of a memory file, of shared anonymous memory, or of shared hugetlb memory (there with one entry for
 * each 2 MiB). An entry is 0 where there is no page, a frame number, or a negated swap slot; `createFile` makes all
 * pages at once.
 *
 * @example
 * ```ts
 * import { AddressSpace, type MemoryFile } from 'pagemap-scan/sim';
 * const space = new AddressSpace({ contents: true });
 * const file: MemoryFile = space.createFile(4 * 4096);
 * const [one, other] = [1, 2].map(() => space.mmap({ lengthBytes: 4 * 4096, file, shared: true }));
 * space.writeU32(one!, 7);
 * console.assert(space.readU32(other!) === 7 && file.sizePages === 4 && file.users === 3);
 * ```
 */
export class MemoryFile {
  readonly entries: Int32Array;
  readonly sizePages: number;
  /** By which a 2 MiB stretch of the file is one huge page. */
  readonly hugeStretches = new Set<number>();
  /** Mappings and open descriptors. */
  users = 0;
  readonly hugetlb: boolean;

  /**
   * @internal Use {@link AddressSpace.createFile}.
   * @param hugetlb whether an entry stands for 2 MiB
   */
  constructor(sizePages: number, hugetlb: boolean) {
    const entries = hugetlb ? Math.ceil(sizePages / HUGE_PAGES) : sizePages;
    this.hugetlb = hugetlb;
    this.sizePages = sizePages;
    this.entries = new Int32Array(entries);
  }

  /** Whether a page lies in a huge page of the cache. */
  isHuge(index: number): boolean {
    return this.hugeStretches.size > 0 && this.hugeStretches.has(Math.floor(index / HUGE_PAGES));
  }
}
