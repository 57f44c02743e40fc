/// <reference lib="esnext.disposable" preserve="true" />
/** Reads pages of a store by their references. */
import { closeSync, openSync, readSync } from 'node:fs';
import { PAGE_SIZE } from '../abi/index.js';
import { codeOf } from '../abi/internal.js';
import {
  type BlockHead,
  blockOf,
  checkPage,
  decodeHead,
  decodePages,
  MOST_HEAD_BYTES,
  placeOf,
} from './block.js';
import { SnapshotError } from './errors.js';
import { dataFile } from './files.js';
import { ZERO } from './page-table.js';

/** So many blocks are kept decompressed: 4 MiB. */
const MOST_BLOCKS = 64;
const MOST_FILES = 64;
/** Read at once: most blocks fit. */
const READ_BYTES = 24 << 10;

const ZEROS = new Uint8Array(PAGE_SIZE);

interface CachedBlock {
  readonly head: BlockHead;
  readonly bytes: Uint8Array;
  /** Which pages were found to be what was written, one bit each. */
  checked: number;
}

export class PageReader implements Disposable {
  readonly #folder: string;
  /** Descriptors by the files' numbers; those that were used last are at the end. */
  readonly #files = new Map<number, number>();
  /** Blocks by the references of their first pages, likewise. */
  readonly #blocks = new Map<number, CachedBlock>();
  readonly #buffer = new Uint8Array(READ_BYTES);

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * The bytes of a page. They must not be changed.
   *
   * @throws SnapshotError 'damaged' when they are not what was written
   */
  read(reference: number): Uint8Array {
    if (reference <= ZERO) return ZEROS;
    const block = blockOf(reference);
    let cached = this.#blocks.get(block);
    if (cached === undefined) {
      const { head, stored } = this.#readBlock(reference);
      const bytes = this.#check(reference, () => decodePages(head, stored));
      cached = { head, bytes, checked: 0 };
      if (this.#blocks.size >= MOST_BLOCKS) this.#blocks.delete(this.#blocks.keys().next().value!);
    } else this.#blocks.delete(block);
    this.#blocks.set(block, cached);
    const { head, bytes, checked } = cached;
    const index = reference - block;
    if ((checked & (1 << index)) === 0) {
      this.#check(reference, () => checkPage(head, bytes, index));
      cached.checked |= 1 << index;
    }
    return bytes.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
  }

  /** The head of the block that a page is in, and the length of the whole block, bytes. */
  head(reference: number): { head: BlockHead; bytes: number } {
    const { file, offset } = placeOf(reference);
    const bytes = this.#readAt(file, offset, MOST_HEAD_BYTES);
    const head = this.#check(reference, () => decodeHead(bytes));
    return { head, bytes: head.at + head.storedBytes };
  }

  #readBlock(reference: number): { head: BlockHead; stored: Uint8Array } {
    const { file, offset } = placeOf(reference);
    const bytes = this.#readAt(file, offset, READ_BYTES);
    const head = this.#check(reference, () => decodeHead(bytes));
    const end = head.at + head.storedBytes;
    if (end <= bytes.length) return { head, stored: bytes.slice(head.at, end) };
    const stored = new Uint8Array(head.storedBytes);
    stored.set(bytes.subarray(head.at));
    const done = Math.max(0, bytes.length - head.at);
    const rest = this.#fill(file, stored.subarray(done), offset + head.at + done);
    if (rest < stored.length - done) throw this.#damaged(reference, 'its file ends before');
    return { head, stored };
  }

  #readAt(file: number, offset: number, length: number): Uint8Array {
    const bytes = this.#buffer.subarray(0, length);
    return bytes.subarray(0, this.#fill(file, bytes, offset));
  }

  #fill(file: number, bytes: Uint8Array, offset: number): number {
    const fd = this.#open(file);
    let done = 0;
    while (done < bytes.length) {
      const got = readSync(fd, bytes, done, bytes.length - done, offset + done);
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  #open(file: number): number {
    let fd = this.#files.get(file);
    if (fd !== undefined) {
      this.#files.delete(file);
    } else {
      if (this.#files.size >= MOST_FILES) {
        const [oldest, itsFd] = this.#files.entries().next().value!;
        closeSync(itsFd);
        this.#files.delete(oldest);
      }
      try {
        fd = openSync(dataFile(this.#folder, file), 'r');
      } catch (cause) {
        if (codeOf(cause) !== 'ENOENT') throw cause;
        throw new SnapshotError(
          'damaged',
          `Cannot read ${dataFile(this.#folder, file)}: it is gone; its snapshot was dropped meanwhile, or the store is damaged`,
          { cause },
        );
      }
    }
    this.#files.set(file, fd);
    return fd;
  }

  #check<Value>(reference: number, work: () => Value): Value {
    try {
      return work();
    } catch (error) {
      throw error instanceof SnapshotError
        ? error
        : this.#damaged(reference, (error as Error).message, error);
    }
  }

  #damaged(reference: number, why: string, cause?: unknown): SnapshotError {
    const { file, offset } = placeOf(reference);
    return new SnapshotError(
      'damaged',
      `Cannot read the block at byte ${offset} of ${dataFile(this.#folder, file)}: ${why}; the store is damaged, or its snapshot was dropped meanwhile`,
      { cause },
    );
  }

  [Symbol.dispose](): void {
    for (const fd of this.#files.values()) closeSync(fd);
    this.#files.clear();
  }
}
