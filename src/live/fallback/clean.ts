/**
 * Which pages were not written since a scan protected them, by soft-dirty bits. The kernel can only clear the bits of a whole
 * address space: what it forgets thereby of pages that the scan was not about is kept here.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { PAGE_SIZE } from '../../abi/index.js';
import { isPagemapSoftDirty, type Mapping } from '../../proc/index.js';
import { type ProcessHandle, readPagemap } from '../process.js';
import { BLOCK_PAGES, BLOCK_SLOTS, CLEAN, SOFT_DIRTY, VOID } from './words.js';

/** 32-bit words of a block's bits. */
const BLOCK_WORDS = BLOCK_PAGES / 32;
/** Blocks whose words are read at once. */
const AT_ONCE = 64;

/** Clears all soft-dirty bits of an address space (man proc_pid_clear_refs). */
export function clearSoftDirty(handle: ProcessHandle): void {
  let fd: number;
  try {
    fd = openSync(handle.path('clear_refs'), constants.O_WRONLY);
  } catch (error) {
    throw handle.problem(error, `open /proc/${handle.pid}/clear_refs`);
  }
  try {
    writeSync(fd, '4');
  } catch (error) {
    throw handle.problem(error, `write to /proc/${handle.pid}/clear_refs`);
  } finally {
    closeSync(fd);
  }
}

/** A set of pages, by blocks of 2 MiB. */
export class CleanPages {
  readonly #process: ProcessHandle;
  readonly #fd: number;
  readonly #pause: (work: () => void) => void;
  readonly #blocks = new Map<number, Uint32Array>();
  readonly #staged = new Map<number, Uint32Array>();
  readonly #words = new Uint32Array(AT_ONCE * BLOCK_SLOTS);

  /** @param fd the process's pagemap, which stays the caller's */
  constructor(process: ProcessHandle, fd: number, pause: (work: () => void) => void) {
    this.#process = process;
    this.#fd = fd;
    this.#pause = pause;
  }

  /** Takes what was written since the last time out of the set, and has the kernel note writes anew. */
  harvest(trackable: (mappings: readonly Mapping[]) => readonly Mapping[]): void {
    this.#pause(() => {
      const mappings = trackable(this.#process.mappings());
      const blocks = [...this.#blocks.keys()].sort((a, b) => a - b);
      let index = 0;
      for (let at = 0; at < blocks.length; ) {
        const first = blocks[at]!;
        let count = 1;
        while (count < AT_ONCE && blocks[at + count] === first + count) count++;
        this.#read(first, count);
        for (let offset = 0; offset < count; offset++) {
          const start = (first + offset) * BLOCK_PAGES;
          while (index < mappings.length && mappings[index]!.end <= start * PAGE_SIZE) index++;
          this.#drop(first + offset, offset * BLOCK_SLOTS, mappings, index);
        }
        at += count;
      }
      clearSoftDirty(this.#process);
    });
  }

  #read(block: number, count: number): void {
    const words = this.#words.subarray(0, count * BLOCK_SLOTS);
    const bytes = readPagemap(this.#fd, words, block * BLOCK_PAGES * PAGE_SIZE);
    if (bytes < words.byteLength) words.fill(0, bytes / 4);
  }

  /** Keeps of a block what is mapped and was not written. */
  #drop(block: number, slot: number, mappings: readonly Mapping[], index: number): void {
    const bits = this.#blocks.get(block)!;
    const kept = new Uint32Array(BLOCK_WORDS);
    const first = block * BLOCK_PAGES;
    let any = false;
    for (; index < mappings.length; index++) {
      const { start, end } = mappings[index]!;
      const from = Math.max(start / PAGE_SIZE - first, 0);
      const to = Math.min(end / PAGE_SIZE - first, BLOCK_PAGES);
      if (from >= BLOCK_PAGES) break;
      for (let page = from; page < to; page++) {
        const bit = bits[page >> 5]! & (1 << (page & 31));
        if (bit === 0 || isPagemapSoftDirty(this.#words[slot + page * 2 + 1]!)) continue;
        kept[page >> 5] = kept[page >> 5]! | bit;
        any = true;
      }
    }
    if (any) this.#blocks.set(block, kept);
    else this.#blocks.delete(block);
  }

  /** Marks in translated words which of a range's pages are clean. All others count as written. */
  mark(words: Uint32Array, slot: number, from: number, to: number): void {
    let bits: Uint32Array | undefined;
    let block = -1;
    for (let page = from; page < to; page++, slot += 2) {
      const own = Math.floor(page / BLOCK_PAGES);
      if (own !== block) {
        block = own;
        bits = this.#blocks.get(block);
      }
      const index = page % BLOCK_PAGES;
      const entry = words[slot]!;
      const clean =
        (entry & SOFT_DIRTY) === 0 && bits !== undefined && (bits[index >> 5]! & (1 << (index & 31))) !== 0;
      words[slot] = (entry === 0 ? VOID : entry) | (clean ? CLEAN : 0);
    }
  }

  /** Notes the pages that are clean now in a window of words. */
  stage(words: Uint32Array, slot: number, block: number, count: number): void {
    for (let offset = 0; offset < count; offset++, slot += BLOCK_SLOTS) {
      let bits: Uint32Array | undefined;
      for (let page = 0; page < BLOCK_PAGES; page++) {
        if ((words[slot + page * 2]! & CLEAN) === 0) continue;
        bits ??= new Uint32Array(BLOCK_WORDS);
        bits[page >> 5] = bits[page >> 5]! | (1 << (page & 31));
      }
      if (bits !== undefined) this.#staged.set(block + offset, bits);
    }
  }

  /** Makes what was noted so. */
  commit(): void {
    for (const [block, bits] of this.#staged) {
      const own = this.#blocks.get(block);
      if (own === undefined) this.#blocks.set(block, bits);
      else for (let word = 0; word < BLOCK_WORDS; word++) own[word] = own[word]! | bits[word]!;
    }
    this.#staged.clear();
  }

  /** Forgets what was noted. */
  forget(): void {
    this.#staged.clear();
  }
}
