/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Reads many pages of a store: in batches, some of which are read while the one before them is used. What lies side by side in a
 * file is read at once.
 */
import { read } from 'node:fs';
import { promisify } from 'node:util';
import { PAGE_SIZE } from '../abi/index.js';
import {
  type BlockHead,
  blockOf,
  checkPage,
  decodeHead,
  decodePages,
  MOST_BLOCK_BYTES,
  placeOf,
} from './block.js';
import { OpenFiles } from './open-files.js';
import { ZERO } from './page-table.js';

const readAsync = promisify(read);

/** A batch has up to so many blocks: 8 MiB. */
const BATCH_BLOCKS = 128;
/** So many batches are under way, the one that is used among them. */
const BATCHES = 3;
/** Read at once, bytes, at most. */
const RUN_BYTES = 1 << 20;
/** What nobody asked for is read, too, where it is shorter than this, bytes: to ask once more would take longer. */
const GAP_BYTES = 128 << 10;
/** Buffers are of multiples of this, bytes, so that they are used again. */
const BUFFER_BYTES = 4 << 20;
/** More than all batches under way can ask for. */
const MOST_FILES = 2 * BATCHES * BATCH_BLOCKS;

const ZEROS = new Uint8Array(PAGE_SIZE);

interface Block {
  /** Of its first page. */
  readonly reference: number;
  /** Batches that need it. */
  users: number;
  /** Ends when it is read. */
  loading: Promise<void>;
  /** The one in whose buffer `raw`, and `pages` of a block without compression, lie; undefined when they lie elsewhere. */
  owner: Batch | undefined;
  /** As it was read: what lies behind it in its file may follow. */
  raw: Uint8Array;
  /** Once one of its pages was asked for. */
  head: BlockHead | undefined;
  /** Likewise: one behind the other. */
  pages: Uint8Array;
  /** Which pages were found to be what was written, one bit each. */
  checked: number;
}

interface Batch {
  readonly blocks: readonly Block[];
  readonly buffer: Uint8Array;
  /** Ends when all of its blocks are read. */
  readonly loading: Promise<unknown>;
}

/** Blocks that are read at once, and from where to where in a file, bytes. */
interface Run {
  readonly file: number;
  readonly start: number;
  end: number;
  readonly blocks: Block[];
}

/** Counts the blocks of pages, so that what needs too many of them is ended in time. */
export class BatchBlocks {
  readonly #blocks = new Set<number>();

  /** Whether one more page still fits, or two of them, which may be `ABSENT` or `ZERO`. Then they are counted. */
  take(reference: number, other: number = ZERO): boolean {
    // No batch is too small for two.
    if (this.#blocks.size > BATCH_BLOCKS - 2) {
      const isThere = (each: number) => each <= ZERO || this.#blocks.has(blockOf(each));
      if (!isThere(reference) || !isThere(other)) return false;
    }
    if (reference > ZERO) this.#blocks.add(blockOf(reference));
    if (other > ZERO) this.#blocks.add(blockOf(other));
    return true;
  }

  clear(): void {
    this.#blocks.clear();
  }
}

/** Gives the bytes of a page of the batch. They are valid as long as the batch is used, and must not be changed. */
export type PageOfBatch = (reference: number) => Uint8Array;

class BlockLoader implements Disposable {
  readonly #files: OpenFiles;
  /** Those that a batch under way needs, by their references. */
  readonly #blocks = new Map<number, Block>();
  readonly #buffers: Uint8Array[] = [];

  constructor(folder: string) {
    this.#files = new OpenFiles(folder, MOST_FILES);
  }

  begin(references: Iterable<number>): Batch {
    const blocks = new Set<Block>();
    const fresh: Block[] = [];
    let last = -1;
    for (const reference of references) {
      const number = blockOf(reference);
      if (reference <= ZERO || number === last) continue;
      last = number;
      let block = this.#blocks.get(number);
      if (block === undefined) {
        block = {
          reference: number,
          users: 0,
          loading: Promise.resolve(),
          owner: undefined,
          raw: ZEROS,
          head: undefined,
          pages: ZEROS,
          checked: 0,
        };
        this.#blocks.set(number, block);
        fresh.push(block);
      }
      blocks.add(block);
    }
    for (const block of blocks) block.users++;
    const runs = joinRuns(fresh);
    const buffer = this.#takeBuffer(runs.reduce((sum, { start, end }) => sum + end - start, 0));
    const batch: Batch = { blocks: [...blocks], buffer, loading: Promise.resolve() };
    let at = 0;
    for (const run of runs) {
      const loading = this.#load(run, buffer.subarray(at, at + run.end - run.start), batch);
      // Whoever waits for it hears of it.
      loading.catch(() => undefined);
      for (const block of run.blocks) block.loading = loading;
      at += run.end - run.start;
    }
    const loading = Promise.all([...blocks].map((block) => block.loading));
    loading.catch(() => undefined);
    return Object.assign(batch, { loading });
  }

  #takeBuffer(lengthBytes: number): Uint8Array {
    const index = this.#buffers.findIndex(({ length }) => length >= lengthBytes);
    if (index >= 0) return this.#buffers.splice(index, 1)[0]!;
    // One that is too small is hardly of use again.
    this.#buffers.pop();
    return new Uint8Array(Math.ceil(lengthBytes / BUFFER_BYTES) * BUFFER_BYTES);
  }

  async #load({ file, start, blocks }: Run, bytes: Uint8Array, batch: Batch): Promise<void> {
    const fd = this.#files.open(file);
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await readAsync(fd, bytes, length, bytes.length - length, start + length);
      // The last block may be shorter than any, and the file ends there.
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    for (const block of blocks) {
      block.raw = bytes.subarray(Math.min(length, placeOf(block.reference).offset - start), length);
      block.owner = batch;
    }
  }

  /** Finds a block's pages: when they are going to be looked at, so that they are still near the processor then. */
  #decode(block: Block): BlockHead {
    const { reference, raw } = block;
    const head = this.#files.check(reference, () => decodeHead(raw));
    const end = head.at + head.storedBytes;
    if (end > raw.length) throw this.#files.damaged(reference, 'its file ends before');
    block.pages = this.#files.check(reference, () => decodePages(head, raw.subarray(head.at, end)));
    block.head = head;
    return head;
  }

  /** @throws SnapshotError 'damaged' */
  page(reference: number): Uint8Array {
    if (reference <= ZERO) return ZEROS;
    const number = blockOf(reference);
    const block = this.#blocks.get(number)!;
    const index = reference - number;
    const head = block.head ?? this.#decode(block);
    if ((block.checked & (1 << index)) === 0) {
      this.#files.check(reference, () => checkPage(head, block.pages, index));
      block.checked |= 1 << index;
    }
    return block.pages.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
  }

  /** Its buffer is used again: a block that a later batch needs moves out of it. */
  end(batch: Batch): void {
    for (const block of batch.blocks) {
      if (--block.users === 0) this.#blocks.delete(block.reference);
      else if (block.owner === batch) {
        block.raw = block.raw.slice(0, MOST_BLOCK_BYTES);
        block.owner = undefined;
        if (block.head !== undefined) this.#decode(block);
      }
    }
    if (this.#buffers.length < BATCHES) this.#buffers.push(batch.buffer);
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }
}

/** What lies near each other becomes one run. */
function joinRuns(blocks: readonly Block[]): Run[] {
  const runs: Run[] = [];
  for (const block of [...blocks].sort((one, other) => one.reference - other.reference)) {
    const { file, offset } = placeOf(block.reference);
    const last = runs.at(-1);
    const end = offset + MOST_BLOCK_BYTES;
    if (last?.file === file && offset - last.end <= GAP_BYTES && end - last.start <= RUN_BYTES) {
      last.blocks.push(block);
      last.end = end;
    } else runs.push({ file, start: offset, end, blocks: [block] });
  }
  return runs;
}

/**
 * Goes over batches of pages, one after the other, while the next ones are read.
 *
 * @param batches each with the references of its pages, of up to 128 blocks: see {@link BatchBlocks}. Asked for ahead of their use
 * @param use is given each batch once its pages are there
 * @throws SnapshotError 'damaged', and what `use` throws
 */
export async function readAhead<Each extends { readonly references: readonly number[] }>(
  folder: string,
  batches: Iterable<Each>,
  use: (each: Each, page: PageOfBatch) => Promise<void> | void,
): Promise<void> {
  using loader = new BlockLoader(folder);
  const page: PageOfBatch = (reference) => loader.page(reference);
  const waiting: { each: Each; batch: Batch }[] = [];
  const next = async () => {
    const { each, batch } = waiting[0]!;
    await batch.loading;
    await use(each, page);
    loader.end(batch);
    waiting.shift();
  };
  try {
    for (const each of batches) {
      waiting.push({ each, batch: loader.begin(each.references) });
      if (waiting.length === BATCHES) await next();
    }
    while (waiting.length > 0) await next();
  } finally {
    // Nothing is read any more when the files are closed.
    await Promise.allSettled(waiting.flatMap(({ batch }) => batch.blocks.map(({ loading }) => loading)));
  }
}
