/**
 * Words of /proc/PID/pagemap as last-level tables that the engine walks. A word is translated where it was read:
 *
 *      31                14 13 12  11  10   9   8  3  2  1  0
 *     +--------------------+-----+----+---+---+---+--+--+--+--+
 *     |         0          |kind | SD |WP | G | V |H |S |  |P |     the high word is 0
 *     +--------------------+-----+----+---+---+---+--+--+--+--+
 *
 * P present, S swapped or a marker, H a part of a huge page, V nothing is there (but other bits are to be told), G guard,
 * WP not written since it was last protected, SD soft-dirty; kind is the engine's `FRAME_*`.
 */
import { ALL_CATEGORIES, HUGE_PAGE_SIZE, PAGE_SIZE } from '../../abi/index.js';
import {
  type EntryFormat,
  FRAME_ANONYMOUS,
  FRAME_FILE,
  FRAME_ZERO,
  type ScanProfile,
  type ScanTables,
} from '../../engine/index.js';

export const P = 1 << 0;
export const SWAP = 1 << 2;
export const HUGE = 1 << 3;
export const VOID = 1 << 8;
export const GUARD = 1 << 9;
export const CLEAN = 1 << 10;
export const SOFT_DIRTY = 1 << 11;
export const KIND_SHIFT = 12;
const KIND_FILE = FRAME_FILE << KIND_SHIFT;
const KIND_ZERO = FRAME_ZERO << KIND_SHIFT;

/** The engine's frame kinds by "frame number". */
export const FRAME_KINDS = new Uint8Array([FRAME_ANONYMOUS, FRAME_FILE, FRAME_ZERO]);

/** Bits of a word's high half, which is negative when the page is present; `proc/pagemap-words.ts` draws them. */
const WORD_SWAPPED = 1 << 30;
const WORD_FILE = 1 << 29;
const WORD_GUARD = 1 << 26;
const WORD_SOFT_DIRTY = 1 << 23;
const WORD_FRAME = 0x7fffff;

export const WORD_FORMAT: EntryFormat = {
  MARKER_GUARD: GUARD,
  P,
  PART_OF_HUGE: HUGE,
  PRESENT_ANY: P,
  SOFT_DIRTY,
  SWP_SOFT_DIRTY: SOFT_DIRTY,
  UFFD_WP: CLEAN,
  VOID,
  isHugeEntry: () => false,
  isMarker: (low) => (low & GUARD) !== 0,
  isProtected: (low) => (low & CLEAN) !== 0,
  markerBits: (low) => low & GUARD,
  placeMarkers: () => undefined,
  protectEntry(words, slot) {
    words[slot] = words[slot]! | CLEAN;
  },
};

/** How the engine walks such words. */
export const WORD_PROFILE: ScanProfile = {
  knownCategories: ALL_CATEGORIES,
  reportsSoftDirty: true,
  reportsGuard: true,
  emptyIsWritten: false,
  holeIsWritten: false,
  untrackedIsWritten: true,
  hugeZeroIsPfnZero: true,
};

/** What a word's translation depends on besides the word. */
export interface WordContext {
  /** Private anonymous memory: what looks like a file's page there is a part of the huge zero page. */
  readonly anonymous: boolean;
  /** The frame number of the zero page; -1 when frame numbers are hidden. */
  readonly zeroFrame: number;
}

/** Translates words `from` to `to` (in pages) of `words`. */
export function translateWords(
  words: Uint32Array,
  slot: number,
  pages: number,
  { anonymous, zeroFrame }: WordContext,
): void {
  for (const end = slot + pages * 2; slot < end; slot += 2) {
    const high = words[slot + 1]! | 0;
    if (high === 0) {
      words[slot] = 0;
      continue;
    }
    let entry = (high & WORD_SOFT_DIRTY) !== 0 ? SOFT_DIRTY : 0;
    if (high < 0) {
      entry |= P;
      if ((high & WORD_FILE) !== 0) entry |= anonymous ? KIND_ZERO : KIND_FILE;
      else if (words[slot] === zeroFrame && (high & WORD_FRAME) === 0) entry |= KIND_ZERO;
    } else if ((high & WORD_SWAPPED) !== 0) {
      entry |= SWAP;
      if ((high & WORD_GUARD) !== 0) entry |= GUARD;
    } else if (entry !== 0) {
      entry |= VOID;
    }
    words[slot] = entry;
    words[slot + 1] = 0;
  }
}

/** Whether the 512 words from `slot` on may be those of one huge entry: all present, alike, and of consecutive frames. */
export function looksHuge(words: Uint32Array, slot: number): boolean {
  const high = words[slot + 1]!;
  if ((high | 0) >= 0) return false;
  const low = words[slot]!;
  // Where frame numbers are hidden, all are 0.
  const step = low === 0 && (high & WORD_FRAME) === 0 ? 0 : 1;
  if (step === 1 && low % (HUGE_PAGE_SIZE / PAGE_SIZE) !== 0) return false;
  for (let page = 1; page < HUGE_PAGE_SIZE / PAGE_SIZE; page++) {
    if (words[slot + page * 2 + 1] !== high || words[slot + page * 2] !== low + page * step) return false;
  }
  return true;
}

/** Whether a present word is of a page of a file, as the kernel shows it (the huge zero page looks so, too). */
export function wordIsFile(high: number): boolean {
  return (high | 0) < 0 && (high & WORD_FILE) !== 0;
}

/** Pages of a block, as the engine calls the reach of a last-level table. */
export const BLOCK_PAGES = HUGE_PAGE_SIZE / PAGE_SIZE;
/** Slots of a block's entries. */
export const BLOCK_SLOTS = BLOCK_PAGES * 2;
/** Blocks of a PMD table. */
const PMD_BLOCKS = 512;
/** Blocks that are read at once, at most: 256 KiB of words. Twice as much is no faster (bench/fallback.mjs). */
const MOST_BLOCKS = 64;
/** A PMD entry whose block has still to be looked at. */
const UNSEEN = 1;

/** Reads and translates the words of blocks, into `words` from `slot` on; false for a block that holds nothing. */
export interface BlockSource {
  /** Up to which block, exclusive, those from `block` on may be read. */
  reach(block: number): number;
  load(words: Uint32Array, slot: number, block: number, count: number): void;
  /** Whether the blocks' entries are all empty. */
  isEmpty(words: Uint32Array, slot: number): boolean;
  /** Gets the blocks of a window before they are given up. */
  leave(words: Uint32Array, slot: number, block: number, count: number): void;
}

/**
 * The tables that a walk sees: of the block that it asks for, and some behind it, the words are read just then.
 *
 * `words` holds one PMD table, that of the 1 GiB that is walked, and behind it the window of last-level tables.
 */
export class WordTables implements ScanTables {
  readonly words = new Uint32Array(PMD_BLOCKS * 2 + MOST_BLOCKS * BLOCK_SLOTS);
  readonly #source: BlockSource;
  #pmdBase = -1;
  #first = 0;
  #count = 0;
  #next = 1;

  constructor(source: BlockSource) {
    this.#source = source;
  }

  /** Forgets all that was read. */
  reset(): void {
    this.#pmdBase = -1;
    this.#count = 0;
    this.#next = 1;
  }

  /** Gives up the window. */
  flush(): void {
    if (this.#count > 0) this.#source.leave(this.words, PMD_BLOCKS * 2, this.#first, this.#count);
    this.#count = 0;
  }

  findPmd(block: number): number {
    const base = Math.floor(block / PMD_BLOCKS) * PMD_BLOCKS;
    if (base !== this.#pmdBase) {
      this.#pmdBase = base;
      for (let slot = 0; slot < PMD_BLOCKS * 2; slot += 2) this.words[slot] = UNSEEN;
    }
    return (block - base) * 2;
  }

  /** All may hold something. */
  stripesAt(): number {
    return -1;
  }

  pteTable(pmd: number): number {
    const block = this.#pmdBase + pmd / 2;
    if (block < this.#first || block >= this.#first + this.#count) this.#read(block);
    const slot = PMD_BLOCKS * 2 + (block - this.#first) * BLOCK_SLOTS;
    if (!this.#source.isEmpty(this.words, slot)) return slot;
    this.words[pmd] = 0;
    return -1;
  }

  #read(block: number): void {
    // A walk that goes on reads more and more at once; one that a small output stops has read little in vain.
    const goesOn = block === this.#first + this.#count;
    this.flush();
    this.#next = goesOn ? Math.min(this.#next * 2, MOST_BLOCKS) : 1;
    this.#first = block;
    this.#count = Math.max(1, Math.min(this.#next, this.#source.reach(block) - block));
    this.#source.load(this.words, PMD_BLOCKS * 2, block, this.#count);
  }

  // No mapping of these tables is protected where it has none.
  ensurePmd(block: number): number {
    return this.findPmd(block);
  }

  ensurePte(block: number): number {
    return this.pteTable(this.findPmd(block));
  }
}
