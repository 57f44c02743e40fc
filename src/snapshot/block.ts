/**
 * A block: up to 16 pages, 8 where they are compressed together, as they lie in a data file.
 *
 *      0  "PGB2"
 *      4  u8 how many pages   u8 compression: 0 none, 1 deflate, 2 zstd   u16 0
 *      8  u32 bytes of the pages as they are stored
 *     12  u32 0
 *     16  check value of bytes 0 to 15 and of all from byte 32 on, up to the pages
 *     32  check values, one a page
 *      …  CRC-32 of each page, u32
 *      …  the pages
 *
 * A check value is the first 16 bytes of SHA-256: a page's tells its content from all others, and its CRC-32 tells in a fifth of the time
 * whether it is as it was. The next block begins at the next multiple of 64. Blocks of format 1, "PGB1", have no CRC-32.
 */
import * as crypto from 'node:crypto';
import * as zlib from 'node:zlib';
import { PAGE_SIZE } from '../abi/index.js';
import { crc32 } from './crc.js';
import { SnapshotError } from './errors.js';

export const BLOCK_PAGES = 16;
export const BLOCK_ALIGN = 64;
export const CHECK_BYTES = 16;
const CRC_BYTES = 4;
const HEAD_BYTES = 32;
/** The most that any block has before its pages, bytes. */
export const MOST_HEAD_BYTES = HEAD_BYTES + BLOCK_PAGES * (CHECK_BYTES + CRC_BYTES);
/** The most that any block has, bytes. */
export const MOST_BLOCK_BYTES = MOST_HEAD_BYTES + BLOCK_PAGES * PAGE_SIZE;
const MAGIC = 0x32424750;
const MAGIC_1 = 0x31424750;

/** How pages are compressed. `auto` is zstd where Node has it (22.15 or 23.8), otherwise deflate. */
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

/** The pages of one block. A compressed block has fewer, because reading one page decompresses all of them. */
export const pagesOfBlock = (kind: Kind): number => (kind === 'none' ? BLOCK_PAGES : BLOCK_PAGES / 2);

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

/** For what lies in two pieces: to copy it takes less time than to hash in steps. */
const joined = new Uint8Array(512);

export function checkValue(...parts: readonly Uint8Array[]): Uint8Array {
  if (hashOnce !== undefined) {
    if (parts.length === 1) return hashOnce('sha256', parts[0]!, 'buffer').subarray(0, CHECK_BYTES);
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (length <= joined.length) {
      let at = 0;
      for (const part of parts) {
        joined.set(part, at);
        at += part.length;
      }
      return hashOnce('sha256', joined.subarray(0, length), 'buffer').subarray(0, CHECK_BYTES);
    }
  }
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
  const crcsAt = HEAD_BYTES + checks.length;
  const at = crcsAt + count * CRC_BYTES;
  const bytes = Buffer.alloc(at + stored.length);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes[4] = count;
  bytes[5] = KINDS.indexOf(kind);
  bytes.writeUInt32LE(stored.length, 8);
  bytes.set(checks, HEAD_BYTES);
  for (let page = 0; page < count; page++)
    bytes.writeUInt32LE(
      crc32(pages.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE)),
      crcsAt + page * CRC_BYTES,
    );
  bytes.set(checkValue(bytes.subarray(0, 16), bytes.subarray(HEAD_BYTES, at)), 16);
  bytes.set(stored, at);
  return bytes;
}

export interface BlockHead {
  readonly pages: number;
  readonly kind: Kind;
  /** Where the pages begin in the block, bytes. */
  readonly at: number;
  readonly storedBytes: number;
  readonly checks: Uint8Array;
  /** CRC-32 of the pages, 4 bytes each, little-endian; undefined in a block of format 1. */
  readonly crcs: Uint8Array | undefined;
}

/**
 * The head lasts as long as the bytes.
 *
 * @throws Error, as a part of a sentence, for what is no block
 */
export function decodeHead(bytes: Uint8Array): BlockHead {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = bytes.length < HEAD_BYTES ? 0 : view.getUint32(0, true);
  if (magic !== MAGIC && magic !== MAGIC_1) throw new Error('no block begins there');
  const pages = bytes[4]!;
  const crcsAt = HEAD_BYTES + pages * CHECK_BYTES;
  const at = magic === MAGIC ? crcsAt + pages * CRC_BYTES : crcsAt;
  const kind = KINDS[bytes[5]!];
  const isRight =
    bytes.length >= at &&
    Buffer.compare(
      checkValue(bytes.subarray(0, 16), bytes.subarray(HEAD_BYTES, at)),
      bytes.subarray(16, HEAD_BYTES),
    ) === 0;
  if (!isRight || kind === undefined || pages > BLOCK_PAGES)
    throw new Error("a block's head is not what was written");
  const storedBytes = view.getUint32(8, true);
  if (storedBytes > pages * PAGE_SIZE) throw new Error('a block is longer than its pages');
  const checks = bytes.subarray(HEAD_BYTES, crcsAt);
  const crcs = at > crcsAt ? bytes.subarray(crcsAt, at) : undefined;
  return { pages, kind, at, storedBytes, checks, crcs };
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

function pageAt(bytes: Uint8Array, index: number): Uint8Array {
  const page = bytes.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
  if (page.length < PAGE_SIZE) throw new Error('a block has fewer pages than that');
  return page;
}

/**
 * Checks a page of a block by its CRC-32, if there is one. That finds errors of disks and memory.
 *
 * @throws Error, as a part of a sentence, when it is not
 */
export function checkPage(head: BlockHead, bytes: Uint8Array, index: number): Uint8Array {
  const { crcs } = head;
  if (crcs === undefined) return checkContent(head, bytes, index);
  const page = pageAt(bytes, index);
  const at = index * CRC_BYTES;
  const crc = (crcs[at]! | (crcs[at + 1]! << 8) | (crcs[at + 2]! << 16) | (crcs[at + 3]! << 24)) >>> 0;
  if (crc32(page) !== crc) throw new Error('a page is not what was written');
  return page;
}

/** Checks a page by its check value, which finds every change. @throws Error, as `checkPage` */
export function checkContent({ checks }: BlockHead, bytes: Uint8Array, index: number): Uint8Array {
  const page = pageAt(bytes, index);
  const check = checks.subarray(index * CHECK_BYTES, (index + 1) * CHECK_BYTES);
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
