// Reads core files, and looks whether test/native/torn.c's memory in them is torn. Shared by tests, soak programs and the
// benchmark, on the built package.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** A core file's segments, by what its headers say. */
export class CoreReader {
  constructor(path) {
    this.fd = openSync(path, 'r');
    const header = this.bytes(0, 64);
    if (header.readUInt32BE(0) !== 0x7f454c46) throw new Error(`${path} is no ELF file`);
    const table = Number(header.readBigUInt64LE(32));
    let count = header.readUInt16LE(56);
    if (count === 0xffff) count = this.bytes(Number(header.readBigUInt64LE(40)), 64).readUInt32LE(44);
    const headers = this.bytes(table, count * 56);
    this.segments = [];
    for (let index = 0; index < count; index++) {
      const at = index * 56;
      const u64 = (offset) => Number(headers.readBigUInt64LE(at + offset));
      this.segments.push({
        type: headers.readUInt32LE(at),
        flags: headers.readUInt32LE(at + 4),
        offset: u64(8),
        address: u64(16),
        fileBytes: u64(32),
        memoryBytes: u64(40),
      });
    }
    this.loads = this.segments.filter(({ type }) => type === 1);
  }

  get length() {
    return fstatSync(this.fd).size;
  }

  bytes(offset, length) {
    const bytes = Buffer.allocUnsafeSlow(length);
    let done = 0;
    while (done < length) {
      const got = readSync(this.fd, bytes, done, length - done, offset + done);
      if (got === 0) throw new Error(`The file ends before byte ${offset + length}`);
      done += got;
    }
    return bytes;
  }

  /** Memory as it is in the file; undefined where it is not. */
  memory(address, length) {
    const parts = [];
    for (let at = address; at < address + length; ) {
      const load = this.loads.find((one) => one.address <= at && at < one.address + one.fileBytes);
      if (load === undefined) return undefined;
      const bytes = Math.min(address + length, load.address + load.fileBytes) - at;
      parts.push(this.bytes(load.offset + (at - load.address), bytes));
      at += bytes;
    }
    return parts.length === 1 ? parts[0] : Buffer.concat(parts);
  }

  /** Names and contents of the notes. */
  notes() {
    const found = [];
    for (const { type, offset, fileBytes } of this.segments) {
      if (type !== 4) continue;
      const bytes = this.bytes(offset, fileBytes);
      for (let at = 0; at < bytes.length; ) {
        const [name, content, kind] = [0, 4, 8].map((field) => bytes.readUInt32LE(at + field));
        const contentAt = at + 12 + Math.ceil(name / 4) * 4;
        found.push({
          owner: bytes.toString('latin1', at + 12, at + 12 + name - 1),
          type: kind,
          content: bytes.subarray(contentAt, contentAt + content),
        });
        at = contentAt + Math.ceil(content / 4) * 4;
      }
    }
    return found;
  }

  close() {
    closeSync(this.fd);
  }
}

/** Starts torn.c. */
export async function startTorn(program, mebibytes, writers, pagesPerSecond, kinds = '') {
  const child = spawn(program, [mebibytes, writers, pagesPerSecond, kinds].map(String), {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const [start, end, share] = (await lines.next()).value.split(' ');
  const target = {
    pid: child.pid,
    child,
    start: Number.parseInt(start, 16),
    end: Number.parseInt(end, 16),
    writers,
    share: Number(share),
    /** The heartbeat's longest gap since the last call, milliseconds. */
    async gap() {
      child.stdin.write('\n');
      return Number((await lines.next()).value) / 1000;
    },
    async stop() {
      child.stdin.end();
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
  return target;
}

/** What is wrong with the memory of a target in a core file, as a sentence; undefined when nothing is. */
export function findTear(core, { start, end, writers, share }) {
  const numbers = [];
  const step = 1 << 20;
  for (let at = start; at < end; at += step) {
    const bytes = core.memory(at, Math.min(step, end - at));
    if (bytes === undefined) return `0x${at.toString(16)} is missing`;
    for (let page = 0; page < bytes.length; page += 4096) {
      if (bytes.readUInt32LE(page + 4092) === 0) return `0x${(at + page).toString(16)} is empty`;
      numbers.push(Number(bytes.readBigUInt64LE(page)));
    }
  }
  let highest = 0;
  for (let writer = 0; writer < writers; writer++) {
    const base = writer * share;
    const pairs = Math.floor((share - 1) / 2);
    const own = numbers[base];
    highest = Math.max(highest, own);
    let seen = own === 0;
    for (let pair = base + 1; pair <= base + pairs; pair++) {
      const [first, second] = [numbers[pair], numbers[pair + pairs]];
      const where = `writer ${writer}, pair ${pair - base}: ${first} and ${second}, own ${own}`;
      if (first > own + 1 || second > own + 1) return `written after the last one, ${where}`;
      // Of the step that was under way, the first page, or both, may have been written.
      if (first !== second && first !== own + 1) return `torn, ${where}`;
      if (first === own && second === own) seen = true;
      // The step that was under way may have been to the same pair as the one before.
      if (first === own + 1 && (second === own || second === own + 1)) seen = true;
    }
    // Overwritten by the step under way, it cannot be seen any more; then that step is.
    if (!seen && !numbers.slice(base + 1, base + 1 + pairs).includes(own + 1))
      return `writer ${writer}: nowhere is ${own}`;
  }
  return highest === 0 ? 'nothing was written' : undefined;
}
