/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A page index: which of 128 snapshots in a row touch a page, so that a history need not read the others' manifests. All of it
 * follows from manifests; what has none is read without.
 *
 *      0  "PMSNAPI1"
 *      8  check value of bytes 0 to 7 and of bytes 24 on, up to the blocks
 *     24  u64 from: the first snapshot whose touches are told
 *     32  u32 how many blocks   u32 0
 *     40  for each block: u64 its first page   u32 its length, bytes   u32 0   check value of the block
 *      …  the blocks
 *
 * A block has up to 512 pieces, ascending: the gap since the end of the piece before (of the first one, since the block's first page), its length in
 * pages, how many snapshots touch its pages, then which: below 16, for each the gap since the one before; from 16 on, a bit for each.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { codeOf } from '../abi/internal.js';
import { CHECK_BYTES, checkValue } from './block.js';
import { ByteReader, ByteWriter } from './bytes.js';
import { SnapshotError } from './errors.js';
import { indexFile } from './files.js';
import { type PageSpan, SPAN, type Touches, WORDS } from './touches.js';

const MAGIC = 'PMSNAPI1';
const CHECKED_AT = MAGIC.length + CHECK_BYTES;
const HEAD_BYTES = 40;
const ENTRY_BYTES = 16 + CHECK_BYTES;
const BLOCK_PIECES = 512;
/** More than any index has: what says so is damaged. */
const MOST_BLOCKS = 2 ** 22;
/** From so many on, bits are shorter than numbers. */
const MOST_NUMBERS = 16;

/** The number of the index that tells of a snapshot. */
export const spanOf = (snapshot: number): number => Math.ceil(snapshot / SPAN);

/** Which bit of its index a snapshot has. */
export const bitOf = (snapshot: number): number => (snapshot - 1) % SPAN;

interface Block {
  readonly first: number;
  readonly bytes: Uint8Array;
}

function encodeBits(writer: ByteWriter, bits: Uint32Array, at: number): void {
  const numbers: number[] = [];
  for (let bit = 0; bit < SPAN; bit++) if ((bits[at + (bit >> 5)]! >>> (bit & 31)) & 1) numbers.push(bit);
  writer.number(numbers.length);
  if (numbers.length < MOST_NUMBERS) {
    let behind = 0;
    for (const number of numbers) {
      writer.number(number - behind);
      behind = number + 1;
    }
    return;
  }
  for (let word = at; word < at + WORDS; word++)
    for (let shift = 0; shift < 32; shift += 8) writer.byte((bits[word]! >>> shift) & 0xff);
}

/** @param from the first snapshot whose touches are among them */
export function encodeIndex(touches: Touches, from: number): Buffer {
  const blocks: Block[] = [];
  let writer = new ByteWriter();
  let count = 0;
  let blockFirst = 0;
  let behind = 0;
  const finish = () => {
    if (count > 0) blocks.push({ first: blockFirst, bytes: writer.bytes });
    writer = new ByteWriter();
    count = 0;
  };
  touches.visit((first, end, bits, at) => {
    if (count === BLOCK_PIECES) finish();
    if (count === 0) [blockFirst, behind] = [first, first];
    writer.number(first - behind);
    writer.number(end - first);
    encodeBits(writer, bits, at);
    behind = end;
    count++;
  });
  finish();
  const head = Buffer.alloc(HEAD_BYTES + blocks.length * ENTRY_BYTES);
  head.write(MAGIC, 'latin1');
  head.writeBigUInt64LE(BigInt(from), CHECKED_AT);
  head.writeUInt32LE(blocks.length, 32);
  blocks.forEach(({ first, bytes }, index) => {
    const at = HEAD_BYTES + index * ENTRY_BYTES;
    head.writeBigUInt64LE(BigInt(first), at);
    head.writeUInt32LE(bytes.length, at + 8);
    head.set(checkValue(bytes), at + 16);
  });
  head.set(checkOf(head), MAGIC.length);
  return Buffer.concat([head, ...blocks.map(({ bytes }) => bytes)]);
}

const checkOf = (head: Uint8Array) => checkValue(head.subarray(0, MAGIC.length), head.subarray(CHECKED_AT));

/** Adds the bits of the pieces of a block that meet some pages to `bits`. */
function takeBits(block: Uint8Array, blockFirst: number, [from, to]: PageSpan, bits: Uint32Array): void {
  const reader = new ByteReader(block);
  let page = blockFirst;
  while (!reader.isAtEnd) {
    page += reader.number();
    const end = page + reader.number();
    if (page >= to) return;
    const isMet = end > from;
    const count = reader.number();
    let bit = 0;
    if (count < MOST_NUMBERS)
      for (let index = 0; index < count; index++) {
        bit += reader.number();
        if (isMet) bits[bit >> 5]! |= 1 << (bit & 31);
        bit++;
      }
    else
      for (; bit < SPAN; bit += 8) {
        const byte = reader.byte();
        if (isMet) bits[bit >> 5]! |= byte << (bit & 31);
      }
    page = end;
  }
}

/** Which snapshots of a span touch some pages. */
export interface Touching {
  /** Those before it are not told of. */
  readonly from: number;
  has(snapshot: number): boolean;
}

/** Reads a part of a file. */
type ReadAt = (offset: number, lengthBytes: number) => Buffer;

/** The entries of an index's blocks: their first pages, where they begin and their lengths in the file, and their check values. */
function readHead(read: ReadAt) {
  const start = read(0, HEAD_BYTES);
  if (start.length < HEAD_BYTES || start.toString('latin1', 0, MAGIC.length) !== MAGIC)
    throw new Error('it is no page index');
  const count = start.readUInt32LE(32);
  if (count > MOST_BLOCKS) throw new Error('it is not what was written');
  const head = read(0, HEAD_BYTES + count * ENTRY_BYTES);
  if (Buffer.compare(checkOf(head), head.subarray(MAGIC.length, CHECKED_AT)) !== 0)
    throw new Error('it is not what was written');
  let offset = head.length;
  const entries = Array.from({ length: count }, (_, index) => {
    const at = HEAD_BYTES + index * ENTRY_BYTES;
    const bytes = head.readUInt32LE(at + 8);
    const entry = {
      first: Number(head.readBigUInt64LE(at)),
      offset,
      bytes,
      check: head.subarray(at + 16, at + ENTRY_BYTES),
    };
    offset += bytes;
    return entry;
  });
  return { from: Number(start.readBigUInt64LE(CHECKED_AT)), entries, end: offset };
}

/** @throws Error, as a part of a sentence, when it is not what was written */
function readTouching(read: ReadAt, pages: PageSpan): Touching {
  const { from, entries } = readHead(read);
  const bits = new Uint32Array(WORDS);
  entries.forEach(({ first, offset, bytes, check }, index) => {
    if (first >= pages[1] || (entries[index + 1]?.first ?? Number.POSITIVE_INFINITY) <= pages[0]) return;
    const block = read(offset, bytes);
    if (Buffer.compare(checkValue(block), check) !== 0) throw new Error('it is not what was written');
    takeBits(block, first, pages, bits);
  });
  return { from, has: (snapshot) => ((bits[bitOf(snapshot) >> 5]! >>> (bitOf(snapshot) & 31)) & 1) === 1 };
}

/** Which snapshots of a span touch some pages; undefined when there is no index of it, or it is damaged: manifests tell all. */
export function findTouching(folder: string, span: number, pages: PageSpan): Touching | undefined {
  let fd: number;
  try {
    fd = openSync(indexFile(folder, span), 'r');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return readTouching((offset, lengthBytes) => {
      const bytes = Buffer.alloc(lengthBytes);
      return bytes.subarray(0, readSync(fd, bytes, 0, lengthBytes, offset));
    }, pages);
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}

/** Looks whether an index is what was written. @throws SnapshotError 'damaged' */
export function checkIndex(folder: string, span: number): void {
  const path = indexFile(folder, span);
  const bytes = readFileSync(path);
  try {
    const read: ReadAt = (offset, lengthBytes) => bytes.subarray(offset, offset + lengthBytes);
    readTouching(read, [0, Number.MAX_SAFE_INTEGER]);
    if (readHead(read).end !== bytes.length) throw new Error('it is longer than what was written');
  } catch (cause) {
    throw new SnapshotError(
      'damaged',
      `Cannot read ${path}: ${(cause as Error).message}; remove it, histories only take longer without it`,
      { cause },
    );
  }
}
