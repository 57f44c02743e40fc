/// <reference lib="esnext.disposable" preserve="true" />
/** Reads pages of a store by their references. */
import { readSync } from 'node:fs';
import { PAGE_SIZE } from '../abi/index.js';
import {
  BLOCK_PAGES,
  type BlockHead,
  blockOf,
  checkContent,
  checkPage,
  decodeHead,
  decodePages,
  MOST_HEAD_BYTES,
  placeOf,
} from './block.js';
import { OpenFiles } from './open-files.js';
import { ZERO } from './page-table.js';

/** So many blocks are kept decompressed: 4 MiB. */
const MOST_BLOCKS = 64;
const MOST_FILES = 64;
/** Read at once: most blocks fit. */
const READ_BYTES = 24 << 10;

/** Of a block that is full, bytes. */
const BLOCK_BYTES = BLOCK_PAGES * PAGE_SIZE;

const ALL = 2 ** BLOCK_PAGES - 1;

const ZEROS = new Uint8Array(PAGE_SIZE);

interface CachedBlock {
  readonly head: BlockHead;
  /** Pages, one behind the other. Of those that are not loaded, anything. */
  readonly bytes: Uint8Array;
  /** Which pages are there, one bit each. */
  loaded: number;
  /** Which pages were found to be what was written, one bit each. */
  checked: number;
}

export interface PageReaderOptions {
  /** Compare pages with their check values, also where a CRC-32 is at hand: nothing gets by, and it takes five times as long. */
  readonly byContent?: boolean | undefined;
}

export class PageReader implements Disposable {
  readonly folder: string;
  readonly #files: OpenFiles;
  readonly #checkPage: typeof checkPage;
  /** Blocks by the references of their first pages; those that were used last are at the end. */
  readonly #blocks = new Map<number, CachedBlock>();
  readonly #buffer = new Uint8Array(READ_BYTES);
  /** What uncompressed blocks were in that are kept no more: without it, they would leave a gibibyte of garbage for each that is read. */
  readonly #spare: Uint8Array[] = [];

  constructor(folder: string, { byContent = false }: PageReaderOptions = {}) {
    this.folder = folder;
    this.#files = new OpenFiles(folder, MOST_FILES);
    this.#checkPage = byContent ? checkContent : checkPage;
  }

  /**
   * The bytes of a page. They must not be changed, and are valid until 32 other pages are read.
   *
   * @throws SnapshotError 'damaged' when they are not what was written
   */
  read(reference: number): Uint8Array {
    if (reference <= ZERO) return ZEROS;
    const block = blockOf(reference);
    let cached = this.#blocks.get(block);
    if (cached === undefined) {
      if (this.#blocks.size >= MOST_BLOCKS) this.#forgetOldest();
      cached = this.#readBlock(reference);
    } else this.#blocks.delete(block);
    this.#blocks.set(block, cached);
    const { head, bytes, checked } = cached;
    const index = reference - block;
    if ((cached.loaded & (1 << index)) === 0) this.#load(reference, cached, index);
    if ((checked & (1 << index)) === 0) {
      this.#files.check(reference, () => this.#checkPage(head, bytes, index));
      cached.checked |= 1 << index;
    }
    return bytes.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
  }

  /** The head of the block that a page is in, and the length of the whole block, bytes. */
  head(reference: number): { head: BlockHead; bytes: number } {
    const { file, offset } = placeOf(reference);
    const bytes = this.#readAt(file, offset, MOST_HEAD_BYTES);
    const head = this.#files.check(reference, () => decodeHead(bytes.slice(0, MOST_HEAD_BYTES)));
    return { head, bytes: head.at + head.storedBytes };
  }

  #forgetOldest(): void {
    const [block, { head, bytes }] = this.#blocks.entries().next().value!;
    this.#blocks.delete(block);
    if (head.kind === 'none' && bytes.length === BLOCK_BYTES) this.#spare.push(bytes);
  }

  #readBlock(reference: number): CachedBlock {
    const { file, offset } = placeOf(reference);
    const bytes = this.#readAt(file, offset, READ_BYTES);
    const head = this.#files.check(reference, () => decodeHead(bytes.slice(0, MOST_HEAD_BYTES)));
    const { at, storedBytes } = head;
    const end = at + storedBytes;
    let stored = bytes.subarray(at, end);
    if (head.kind === 'none') {
      // Not the buffer: it is used again.
      const whole = (storedBytes === BLOCK_BYTES && this.#spare.pop()) || new Uint8Array(storedBytes);
      whole.set(stored);
      this.#files.check(reference, () => decodePages(head, whole));
      return { head, bytes: whole, loaded: 2 ** Math.floor(stored.length / PAGE_SIZE) - 1, checked: 0 };
    }
    if (end > bytes.length) {
      const whole = new Uint8Array(storedBytes);
      whole.set(stored);
      this.#fillAll(reference, whole.subarray(stored.length), offset + at + stored.length);
      stored = whole;
    }
    return {
      head,
      bytes: this.#files.check(reference, () => decodePages(head, stored)),
      loaded: ALL,
      checked: 0,
    };
  }

  /** Reads a page of an uncompressed block, and from the second time on, all of the block: others will be asked for, too. */
  #load(reference: number, cached: CachedBlock, index: number): void {
    const { head, bytes } = cached;
    const { offset } = placeOf(reference);
    const isSecond = cached.checked !== 0;
    // Those before the first that is missing are there: the lowest bit that is not set.
    const there = 31 - Math.clz32(~cached.loaded & -~cached.loaded);
    const from = isSecond
      ? Math.min(there * PAGE_SIZE, bytes.length)
      : Math.min(index * PAGE_SIZE, bytes.length);
    const to = isSecond ? bytes.length : Math.min(from + PAGE_SIZE, bytes.length);
    // What is read once more may have become a hole since: it is to be checked once more, too.
    if (isSecond) cached.checked = 0;
    this.#fillAll(reference, bytes.subarray(from, to), offset + head.at + from);
    cached.loaded |= isSecond ? ALL : 1 << index;
  }

  #fillAll(reference: number, bytes: Uint8Array, offset: number): void {
    if (this.#fill(placeOf(reference).file, bytes, offset) < bytes.length)
      throw this.#files.damaged(reference, 'its file ends before');
  }

  #readAt(file: number, offset: number, length: number): Uint8Array {
    const bytes = this.#buffer.subarray(0, length);
    return bytes.subarray(0, this.#fill(file, bytes, offset));
  }

  #fill(file: number, bytes: Uint8Array, offset: number): number {
    const fd = this.#files.open(file);
    let done = 0;
    while (done < bytes.length) {
      const got = readSync(fd, bytes, done, bytes.length - done, offset + done);
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }
}
