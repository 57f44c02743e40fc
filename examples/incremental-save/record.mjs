// One file of a store: some pages of a memory, in one piece or not at all. All numbers are little-endian:
//
//    0       8         12     16         24             28           32       64
//   +-------+---------+------+----------+--------------+------------+--------+--------------+-------+---------+
//   | magic | version | kind | sequence | memory pages | page count | parent | page numbers | pages | SHA-256 |
//   +-------+---------+------+----------+--------------+------------+--------+--------------+-------+---------+
//     8       u32       u32    u64        u32            u32          32       u32 each       4096    of all before
//
// An increment's parent is the id of the state that it builds on, and its SHA-256 is its own state's id. A base builds
// on nothing: its parent is the id of the state that it holds.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { PAGE_SIZE } from 'pagemap-scan';

const MAGIC = 'PMSSTORE';
const VERSION = 1;
const BASE = 0;
const INCREMENT = 1;
const HEADER_BYTES = 64;
const CHECKSUM_BYTES = 32;
const CHUNK_PAGES = 256;
const RECORD_NAME = /^(\d{12})\.(base|increment)$/;

/** @typedef {{ isBase: boolean, sequence: number, path: string }} RecordFile */

/** The file is not what was written. */
export class DamagedError extends Error {
  /** @param {string} path @param {string} why */
  constructor(path, why) {
    super(`Cannot use ${path}: ${why}`);
    this.why = why;
  }
}

/** A rename is durable once its folder is synced. @param {string} folder */
export function syncFolder(folder) {
  const fd = fs.openSync(folder, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** @param {string} folder @param {boolean} isBase @param {number} sequence @returns {RecordFile} */
export function recordFile(folder, isBase, sequence) {
  const name = `${String(sequence).padStart(12, '0')}.${isBase ? 'base' : 'increment'}`;
  return { isBase, sequence, path: join(folder, name) };
}

/** All records in the folder, the oldest first. @param {string} folder */
export function listRecords(folder) {
  return fs
    .readdirSync(folder)
    .map((name) => RECORD_NAME.exec(name))
    .filter((match) => match !== null)
    .map(([, sequence, kind]) => recordFile(folder, kind === 'base', Number(sequence)))
    .sort((a, b) => a.sequence - b.sequence || Number(b.isBase) - Number(a.isBase));
}

/**
 * Reads a record from its first byte to its last and checks all of it; the pages go into `image` when there is one.
 * @param {RecordFile} file @param {Uint8Array} [image] not to be used when this throws
 */
export function readRecord({ isBase, sequence, path }, image) {
  const fd = fs.openSync(path, 'r');
  try {
    const { size } = fs.fstatSync(fd);
    const hash = createHash('sha256');
    /** @param {Uint8Array} target */
    const read = (target) => {
      for (let at = 0; at < target.length; ) {
        const count = fs.readSync(fd, target, at, target.length - at, null);
        if (count === 0) throw new DamagedError(path, 'it ends early');
        at += count;
      }
      return target;
    };
    const header = Buffer.alloc(HEADER_BYTES);
    hash.update(read(header));
    const pageCount = header.readUInt32LE(28);
    // Before anything is allocated for what the header says.
    if (size !== HEADER_BYTES + pageCount * (4 + PAGE_SIZE) + CHECKSUM_BYTES)
      throw new DamagedError(path, 'its size is wrong');
    const numbers = new Uint32Array(pageCount);
    hash.update(read(new Uint8Array(numbers.buffer)));
    const memoryPages = header.readUInt32LE(24);
    if (numbers.some((number) => number >= memoryPages))
      throw new DamagedError(path, 'a page number is wrong');
    const chunk = Buffer.allocUnsafe(CHUNK_PAGES * PAGE_SIZE);
    for (let first = 0; first < pageCount; first += CHUNK_PAGES) {
      const count = Math.min(CHUNK_PAGES, pageCount - first);
      hash.update(read(chunk.subarray(0, count * PAGE_SIZE)));
      for (let page = 0; image !== undefined && page < count; page++)
        image.set(
          chunk.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE),
          numbers[first + page] * PAGE_SIZE,
        );
    }
    const checksum = hash.digest();
    if (!checksum.equals(read(Buffer.alloc(CHECKSUM_BYTES))))
      throw new DamagedError(path, 'its checksum is wrong');
    if (header.toString('latin1', 0, 8) !== MAGIC || header.readUInt32LE(8) !== VERSION)
      throw new Error(`Cannot read ${path}: it is whole, but of another format or version`);
    if (header.readUInt32LE(12) !== (isBase ? BASE : INCREMENT) || header.readUIntLE(16, 6) !== sequence)
      throw new DamagedError(path, 'its name is another one');
    const parent = header.subarray(32, 64);
    return { isBase, sequence, path, parent, id: isBase ? parent : checksum, memoryPages };
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Writes a record. Its name appears once all of it is on the disk, and this returns once the name is, too.
 * @param {RecordFile} file @param {Buffer} parent @param {Uint32Array} numbers which pages
 * @param {Uint8Array} memory all of it
 */
export function writeRecord(file, parent, numbers, memory) {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, 'latin1');
  header.writeUInt32LE(VERSION, 8);
  header.writeUInt32LE(file.isBase ? BASE : INCREMENT, 12);
  header.writeUIntLE(file.sequence, 16, 6);
  header.writeUInt32LE(memory.length / PAGE_SIZE, 24);
  header.writeUInt32LE(numbers.length, 28);
  header.set(parent, 32);
  const temporary = `${file.path}.tmp`;
  const hash = createHash('sha256');
  try {
    const fd = fs.openSync(temporary, 'w');
    try {
      /** @param {Uint8Array} bytes */
      const write = (bytes) => {
        hash.update(bytes);
        fs.writeFileSync(fd, bytes);
      };
      write(header);
      write(new Uint8Array(numbers.buffer));
      // By way of a copy: what is hashed is what is written, whatever other threads do meanwhile.
      const chunk = Buffer.allocUnsafe(CHUNK_PAGES * PAGE_SIZE);
      for (let first = 0; first < numbers.length; first += CHUNK_PAGES) {
        const some = numbers.subarray(first, first + CHUNK_PAGES);
        some.forEach((number, at) => {
          chunk.set(memory.subarray(number * PAGE_SIZE, (number + 1) * PAGE_SIZE), at * PAGE_SIZE);
        });
        write(chunk.subarray(0, some.length * PAGE_SIZE));
      }
      fs.writeFileSync(fd, hash.copy().digest());
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temporary, file.path);
    syncFolder(dirname(file.path));
  } catch (error) {
    for (const path of [temporary, file.path]) {
      try {
        fs.rmSync(path, { force: true });
      } catch {
        // Opening the store removes what is temporary; a whole record may stay, and is replaced by the next one.
      }
    }
    throw error;
  }
  const bytes = HEADER_BYTES + numbers.length * (4 + PAGE_SIZE) + CHECKSUM_BYTES;
  return { ...file, id: file.isBase ? parent : hash.digest(), bytes };
}
