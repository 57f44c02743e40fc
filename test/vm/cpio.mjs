// Archives in the "newc" format, which is what the kernel unpacks as its first file system (man cpio(5)).
import { closeSync, lstatSync, openSync, readdirSync, readFileSync, readlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const DIRECTORY = 0o040000;
const FILE = 0o100000;
const LINK = 0o120000;
const TRAILER = 'TRAILER!!!';

/** Writes one archive to a file; paths are absolute, and parents are made as they are needed. */
export class CpioWriter {
  #fd;
  #paths = new Set(['/']);
  #inode = 1;
  #offset = 0;

  constructor(path) {
    this.#fd = openSync(path, 'w');
  }

  /** True when the archive has this path already. */
  has(path) {
    return this.#paths.has(path);
  }

  directory(path, mode = 0o755) {
    if (this.#paths.has(path)) return;
    this.#parents(path);
    this.#entry(path, DIRECTORY | mode, Buffer.alloc(0), 0);
  }

  link(path, target) {
    this.#parents(path);
    this.#entry(path, LINK | 0o777, Buffer.from(target), 0);
  }

  /** @param content text or bytes */
  file(path, content, mode = 0o644, mtimeMs = 0) {
    this.#parents(path);
    this.#entry(path, FILE | mode, Buffer.from(content), mtimeMs);
  }

  /** A file, link or folder of this machine, with all that is in it that `keep` does not refuse. */
  copy(source, path, keep = () => true) {
    const stat = lstatSync(source);
    if (stat.isDirectory()) {
      this.directory(path, stat.mode & 0o7777);
      for (const name of readdirSync(source).sort()) {
        if (keep(join(source, name))) this.copy(join(source, name), join(path, name), keep);
      }
    } else if (stat.isSymbolicLink()) this.link(path, readlinkSync(source));
    else if (stat.isFile()) this.file(path, readFileSync(source), stat.mode & 0o7777, stat.mtimeMs);
  }

  #parents(path) {
    const parent = path.slice(0, path.lastIndexOf('/'));
    if (parent !== '') this.directory(parent);
  }

  #entry(path, mode, content, mtimeMs) {
    if (this.#paths.has(path)) throw new Error(`${path} is in the archive already`);
    this.#paths.add(path);
    this.#write(path.slice(1), mode, content, Math.floor(mtimeMs / 1000));
  }

  #write(name, mode, content, mtime) {
    const isLast = name === TRAILER;
    // inode, mode, uid, gid, links, mtime, size, device (2), device of the file (2), length of the name, checksum
    const numbers = [isLast ? 0 : this.#inode++, mode, 0, 0, 1, mtime, content.length, 0, 0, 0, 0];
    const bytes = Buffer.byteLength(name) + 1;
    const header = [...numbers, bytes, 0].map((number) => number.toString(16).padStart(8, '0')).join('');
    this.#put(Buffer.from(`070701${header}${name}\0`));
    this.#put(content);
  }

  /** Each part is filled up to a multiple of four bytes. */
  #put(bytes) {
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    this.#offset += bytes.length;
    const padding = (4 - (this.#offset % 4)) % 4;
    if (padding > 0) writeSync(this.#fd, Buffer.alloc(padding));
    this.#offset += padding;
  }

  end() {
    this.#write(TRAILER, 0, Buffer.alloc(0), 0);
    closeSync(this.#fd);
  }
}
