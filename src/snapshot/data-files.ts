/// <reference lib="esnext.disposable" preserve="true" />
/** The data files of a store while snapshots are added: blocks are appended, and what nobody needs becomes holes. */
import {
  closeSync,
  constants,
  fstatSync,
  fsync,
  ftruncateSync,
  openSync,
  readSync,
  unlinkSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { PAGE_SIZE } from '../abi/index.js';
import { punchHole } from '../live/internal.js';
import {
  BLOCK_ALIGN,
  BLOCK_PAGES,
  blockOf,
  CHECK_BYTES,
  type compressionKind,
  encodeBlock,
  FILE_BYTES,
  MOST_BLOCK_BYTES,
  pagesOfBlock,
  placeOf,
  referenceOf,
} from './block.js';
import type { BlockIndex } from './block-index.js';
import { SnapshotError } from './errors.js';
import { dataFile, listStore } from './files.js';
import { explainSpace, syncFolder, writeAll } from './write.js';

const fsyncAsync = promisify(fsync);

const FILE_HEAD = Buffer.from(`${'PMSNAPD1'.padEnd(BLOCK_ALIGN - 1, ' ')}\n`, 'latin1');

/** @throws SnapshotError 'damaged' */
export function checkFileHead(folder: string, number: number): void {
  const path = dataFile(folder, number);
  const head = Buffer.alloc(BLOCK_ALIGN);
  const fd = openSync(path, 'r');
  try {
    readSync(fd, head, 0, head.length, 0);
  } finally {
    closeSync(fd);
  }
  if (Buffer.compare(head, FILE_HEAD) !== 0)
    throw new SnapshotError('damaged', `Cannot read ${path}: its beginning is not what was written`);
}

/** Of a file that is there: holes are made in it, so that it has to be the store's own, and no link. */
const KNOWN = constants.O_RDWR | constants.O_NOFOLLOW;

/** What file systems give back, bytes. */
const HOLE_BYTES = 4096;

const aligned = (bytes: number) => Math.ceil(bytes / BLOCK_ALIGN) * BLOCK_ALIGN;

/** A file that is written to. */
interface Open {
  readonly number: number;
  readonly fd: number;
  end: number;
}

export class DataFiles implements Disposable {
  readonly #folder: string;
  readonly #kind: ReturnType<typeof compressionKind>;
  readonly #index: BlockIndex;
  /** Blocks by their files: where each begins and ends, bytes. */
  readonly #blocks = new Map<number, Map<number, number>>();
  readonly #pages = new Uint8Array(BLOCK_PAGES * PAGE_SIZE);
  readonly #checks = new Uint8Array(BLOCK_PAGES * CHECK_BYTES);
  /** Pages of the block that is being filled. */
  #count = 0;
  #open: Open | undefined;
  #nextNumber = 1;
  /** Those that were filled since the last `sync`. */
  readonly #full: Open[] = [];
  /** Blocks since the last snapshot. */
  #fresh: number[] = [];
  #grownBytes = 0;

  constructor(folder: string, kind: ReturnType<typeof compressionKind>, index: BlockIndex) {
    this.#folder = folder;
    this.#kind = kind;
    this.#index = index;
    this.#nextNumber = (listStore(folder).data.at(-1) ?? 0) + 1;
  }

  /** A block that is there already. */
  learn(reference: number, bytes: number, checks: Uint8Array): void {
    const first = blockOf(reference);
    this.#note(first, bytes);
    this.#index.add(first, aligned(bytes), checks);
  }

  #note(reference: number, bytes: number): void {
    const { file, offset } = placeOf(reference);
    const blocks = this.#blocks.get(file) ?? new Map<number, number>();
    blocks.set(offset, offset + bytes);
    this.#blocks.set(file, blocks);
  }

  /** Looks for a page in the block that is being filled. */
  findPending(check: Uint8Array): number | undefined {
    for (let index = 0; index < this.#count; index++) {
      const at = index * CHECK_BYTES;
      // Nearly always it ends here.
      if (check[0] !== this.#checks[at]) continue;
      if (Buffer.compare(check, this.#checks.subarray(at, at + CHECK_BYTES)) === 0)
        return referenceOf(this.#open!.number, this.#open!.end) + index;
    }
    return undefined;
  }

  append(page: Uint8Array, check: Uint8Array): number {
    if (this.#open === undefined) this.#begin();
    const { number, end } = this.#open!;
    const reference = referenceOf(number, end) + this.#count;
    this.#pages.set(page, this.#count * PAGE_SIZE);
    this.#checks.set(check, this.#count * CHECK_BYTES);
    if (++this.#count === pagesOfBlock(this.#kind)) this.#flush();
    return reference;
  }

  #begin(): void {
    const number = this.#nextNumber++;
    try {
      const fd = openSync(dataFile(this.#folder, number), 'wx+', 0o600);
      this.#open = { number, fd, end: BLOCK_ALIGN };
      writeAll(fd, FILE_HEAD, 0);
      syncFolder(this.#folder);
    } catch (error) {
      throw explainSpace(error, this.#folder);
    }
  }

  #flush(): void {
    const open = this.#open!;
    const checks = this.#checks.slice(0, this.#count * CHECK_BYTES);
    const block = encodeBlock(this.#pages.subarray(0, this.#count * PAGE_SIZE), checks, this.#kind);
    try {
      writeAll(open.fd, block, open.end);
    } catch (error) {
      throw explainSpace(error, this.#folder);
    }
    const reference = referenceOf(open.number, open.end);
    this.#note(reference, block.length);
    this.#index.add(reference, aligned(block.length), checks);
    this.#fresh.push(reference);
    this.#grownBytes += aligned(block.length);
    open.end += aligned(block.length);
    this.#count = 0;
    if (open.end + MOST_BLOCK_BYTES <= FILE_BYTES) return;
    this.#full.push(open);
    this.#open = undefined;
  }

  /** Writes what is still in memory. Returns by how much the files have grown since the last time, bytes. */
  finish(): number {
    if (this.#count > 0) this.#flush();
    const bytes = this.#grownBytes;
    this.#grownBytes = 0;
    return bytes;
  }

  /** Brings all of it to the disk. */
  async sync(): Promise<void> {
    try {
      for (const { fd } of this.#full) await fsyncAsync(fd);
      if (this.#open !== undefined) await fsyncAsync(this.#open.fd);
    } catch (error) {
      throw explainSpace(error, this.#folder);
    }
    for (const { fd } of this.#full.splice(0)) closeSync(fd);
  }

  /** Gives back what only snapshots before `first` need, and what was written and is in none. */
  drop(first: number): void {
    for (const reference of this.#fresh.splice(0)) this.#index.dismiss(reference);
    /** Where blocks began that are free now, by their files. */
    const freed = new Map<number, number[]>();
    for (const { reference } of this.#index.drop(first)) {
      const { file, offset } = placeOf(reference);
      this.#blocks.get(file)!.delete(offset);
      const offsets = freed.get(file);
      if (offsets === undefined) freed.set(file, [offset]);
      else offsets.push(offset);
    }
    for (const [file, offsets] of freed) this.#clear(file, offsets);
  }

  /**
   * Makes holes of what is no block, or removes the file.
   *
   * @param freed where blocks began that are free now: what else is no block is a hole already. All of it where it is left out
   */
  #clear(number: number, freed?: number[]): void {
    const blocks = [...(this.#blocks.get(number) ?? [])].sort(([one], [other]) => one - other);
    const isOpen = number === this.#open?.number;
    if (blocks.length === 0 && !isOpen) {
      this.#blocks.delete(number);
      unlinkSync(dataFile(this.#folder, number));
      return;
    }
    const fd = isOpen ? this.#open!.fd : openSync(dataFile(this.#folder, number), KNOWN);
    try {
      let at = BLOCK_ALIGN;
      freed?.sort((one, other) => one - other);
      let next = 0;
      const clear = (to: number) => {
        if (freed !== undefined) {
          // Blocks that are there lie between: it begins in this gap, or behind it.
          if (next === freed.length || freed[next]! >= to) return;
          while (next < freed.length && freed[next]! < to) next++;
        }
        const from = Math.ceil(at / HOLE_BYTES) * HOLE_BYTES;
        const length = Math.floor(to / HOLE_BYTES) * HOLE_BYTES - from;
        if (length > 0) punchHole(fd, from, length);
      };
      for (const [start, end] of blocks) {
        clear(start);
        at = end;
      }
      if (isOpen) clear(this.#open!.end);
      else if (fstatSync(fd).size > at) ftruncateSync(fd, at);
    } finally {
      if (!isOpen) closeSync(fd);
    }
  }

  /** Removes what no block that was learnt takes up. */
  removeUnknown(): void {
    for (const number of listStore(this.#folder).data) this.#clear(number);
  }

  /** What was appended since the last snapshot is removed. */
  [Symbol.dispose](): void {
    const files = new Set<number>();
    for (const { number, fd } of this.#full.splice(0)) {
      closeSync(fd);
      files.add(number);
    }
    for (const reference of this.#fresh.splice(0)) {
      const { file, offset } = placeOf(reference);
      this.#blocks.get(file)!.delete(offset);
      files.add(file);
    }
    if (this.#open !== undefined) {
      const { number, fd } = this.#open;
      this.#open = undefined;
      closeSync(fd);
      files.add(number);
    }
    for (const file of files) this.#clear(file);
  }
}
