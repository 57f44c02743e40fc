/**
 * A block: up to 16 pages, compressed together, as they lie in a data file.
 *
 *      0  "PGB1"
 *      4  u8 how many pages   u8 compression: 0 none, 1 deflate, 2 zstd   u16 0
 *      8  u32 bytes of the pages as they are stored
 *     12  u32 0
 *     16  check value of bytes 0 to 15 and of the check values behind this
 *     32  check values, one a page
 *      …  the pages
 *
 * A check value is the first 16 bytes of SHA-256. The next block begins at the next multiple of 64.
 */
import * as crypto from 'node:crypto';
import * as zlib from 'node:zlib';
import { PAGE_SIZE } from '../abi/index.js';
import { SnapshotError } from './errors.js';

export const BLOCK_PAGES = 16;
export const BLOCK_ALIGN = 64;
export const CHECK_BYTES = 16;
const HEAD_BYTES = 32;
/** Above what any block can have, bytes. */
export const MOST_HEAD_BYTES = HEAD_BYTES + BLOCK_PAGES * CHECK_BYTES;
const MAGIC = 0x31424750;

/** How pages are compressed; `auto` is zstd where Node has it (22.15 and 23.8 on), otherwise deflate. */
export type SnapshotCompression = 'auto' | 'zstd' | 'deflate' | 'none';

const KINDS = ['none', 'deflate', 'zstd'] as const;
type Kind = (typeof KINDS)[number];

/** In newer Nodes than the types are of. */
const { zstdCompressSync, zstdDecompressSync } = zlib as {
  zstdCompressSync?: (bytes: Uint8Array, options?: object) => Uint8Array;
  zstdDecompressSync?: (bytes: Uint8Array, options?: object) => Uint8Array;
};

/** Level 1, by the number of that parameter: half the time of the usual one, and as small for most of memory. */
const ZSTD_FAST = { params: { 100: 1 } };

/** @throws SnapshotError 'version' for what this Node lacks */
export function compressionKind(wanted: SnapshotCompression): Kind {
  if (wanted === 'auto') return zstdCompressSync === undefined ? 'deflate' : 'zstd';
  if (wanted === 'zstd' && zstdCompressSync === undefined)
    throw new SnapshotError(
      'version',
      `Cannot compress with zstd: Node ${process.version} has none, 22.15 and 23.8 brought it; deflate works everywhere`,
    );
  return wanted;
}

/** In one call, since Node 20.12: that makes less garbage. */
const { hash: hashOnce } = crypto as {
  hash?: (algorithm: string, bytes: Uint8Array, encoding: 'buffer') => Uint8Array;
};

export function checkValue(...parts: readonly Uint8Array[]): Uint8Array {
  if (hashOnce !== undefined && parts.length === 1)
    return hashOnce('sha256', parts[0]!, 'buffer').subarray(0, CHECK_BYTES);
  const hash = crypto.createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest().subarray(0, CHECK_BYTES);
}

function compress(pages: Uint8Array, kind: Kind): { kind: Kind; stored: Uint8Array } {
  if (kind !== 'none') {
    // Speed before size: most of memory is easy.
    const stored =
      kind === 'zstd'
        ? zstdCompressSync!(pages, ZSTD_FAST)
        : zlib.deflateRawSync(pages, { level: 1, memLevel: 9 });
    if (stored.length < pages.length) return { kind, stored };
  }
  return { kind: 'none', stored: pages };
}

/** @param checks the pages' check values, one behind the other */
export function encodeBlock(pages: Uint8Array, checks: Uint8Array, wanted: Kind): Buffer {
  const count = pages.length / PAGE_SIZE;
  const { kind, stored } = compress(pages, wanted);
  const bytes = Buffer.alloc(HEAD_BYTES + checks.length + stored.length);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes[4] = count;
  bytes[5] = KINDS.indexOf(kind);
  bytes.writeUInt32LE(stored.length, 8);
  bytes.set(checks, HEAD_BYTES);
  bytes.set(checkValue(bytes.subarray(0, 16), checks), 16);
  bytes.set(stored, HEAD_BYTES + checks.length);
  return bytes;
}

export interface BlockHead {
  readonly pages: number;
  readonly kind: Kind;
  /** Where the pages begin in the block, bytes. */
  readonly at: number;
  readonly storedBytes: number;
  readonly checks: Uint8Array;
}

/** @throws Error, as a part of a sentence, for what is no block */
export function decodeHead(bytes: Uint8Array): BlockHead {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEAD_BYTES || view.getUint32(0, true) !== MAGIC)
    throw new Error('no block begins there');
  const pages = bytes[4]!;
  const at = HEAD_BYTES + pages * CHECK_BYTES;
  const kind = KINDS[bytes[5]!];
  const checks = bytes.slice(HEAD_BYTES, at);
  const isRight =
    bytes.length >= at &&
    Buffer.compare(checkValue(bytes.subarray(0, 16), checks), bytes.subarray(16, HEAD_BYTES)) === 0;
  if (!isRight || kind === undefined || pages > BLOCK_PAGES)
    throw new Error("a block's head is not what was written");
  const storedBytes = view.getUint32(8, true);
  if (storedBytes > pages * PAGE_SIZE) throw new Error('a block is longer than its pages');
  return { pages, kind, at, storedBytes, checks };
}

/**
 * Decompresses a block's pages. `checkPage` looks at each before it is used.
 *
 * @throws Error, as a part of a sentence, when that fails
 */
export function decodePages({ pages, kind }: BlockHead, stored: Uint8Array): Uint8Array {
  const bytes = decompress(kind, stored, pages * PAGE_SIZE);
  if (bytes.length !== pages * PAGE_SIZE) throw new Error('a block has another length than it had');
  return bytes;
}

/** @throws Error, as a part of a sentence, when a page of the block is not what was written */
export function checkPage({ checks }: BlockHead, bytes: Uint8Array, index: number): Uint8Array {
  const page = bytes.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
  const check = checks.subarray(index * CHECK_BYTES, (index + 1) * CHECK_BYTES);
  if (page.length < PAGE_SIZE) throw new Error('a block has fewer pages than that');
  if (Buffer.compare(checkValue(page), check) !== 0) throw new Error('a page is not what was written');
  return page;
}

/** zlib asks for another piece when it has filled one to the last byte, and the least that it takes. */
const SPARE_BYTES = 64;

function decompress(kind: Kind, stored: Uint8Array, maxOutputLength: number): Uint8Array {
  if (kind === 'none') return stored;
  if (kind === 'zstd' && zstdDecompressSync === undefined)
    throw new SnapshotError(
      'version',
      `Cannot read pages that were compressed with zstd: Node ${process.version} has none; 22.15 and 23.8 brought it`,
    );
  // In one piece, and not put together from pieces: that takes half of the time, and leaves half of the garbage.
  const options = { maxOutputLength, chunkSize: maxOutputLength + SPARE_BYTES };
  try {
    return kind === 'zstd' ? zstdDecompressSync!(stored, options) : zlib.inflateRawSync(stored, options);
  } catch (cause) {
    throw new Error('a block cannot be decompressed', { cause });
  }
}

/** References name pages by place: the file, where its block begins in units of 64 bytes, and the page's number in it. */
const PLACES = 2 ** 20;
/** So large does a data file get, bytes. */
export const FILE_BYTES = PLACES * BLOCK_ALIGN;

/** The reference of a block's first page. */
export function referenceOf(file: number, offset: number): number {
  return (file * PLACES + offset / BLOCK_ALIGN) * BLOCK_PAGES;
}

export interface PagePlace {
  readonly file: number;
  /** Where its block begins, bytes. */
  readonly offset: number;
  readonly index: number;
}

export function placeOf(reference: number): PagePlace {
  const block = Math.floor(reference / BLOCK_PAGES);
  return {
    file: Math.floor(block / PLACES),
    offset: (block % PLACES) * BLOCK_ALIGN,
    index: reference % BLOCK_PAGES,
  };
}

/** Of a page's reference, that of its block's first page. */
export const blockOf = (reference: number): number => reference - (reference % BLOCK_PAGES);
