/// <reference lib="esnext.disposable" preserve="true" />
/** The core file while it is written: under no name, or a temporary one, until it is whole. Memory holds secrets: mode 0600. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsync,
  ftruncateSync,
  openSync,
  renameSync,
  statfsSync,
  unlinkSync,
  write,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { linkDescriptor, punchHole } from '../live/index.js';

const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

const writeAsync = promisify(write);

export class CoreFile implements Disposable {
  readonly fd: number;
  readonly folder: string;
  readonly #path: string | undefined;
  /** Where it has a name already, because the file system has no files without. */
  #part: string | undefined;
  #open = true;
  readonly #writing = new Set<Promise<void>>();

  /**
   * @param path what it is to be called in the end; undefined for never
   * @param folder where it is written when it gets no name
   */
  constructor(path: string | undefined, folder: string) {
    this.#path = path;
    this.folder = path === undefined ? folder : dirname(path);
    let fd: number;
    try {
      fd = openSync(this.folder, O_TMPFILE | constants.O_RDWR, 0o600);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EOPNOTSUPP' && code !== 'EISDIR' && code !== 'EINVAL') throw error;
      const part = this.#temporaryName();
      fd = openSync(part, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      if (path === undefined) unlinkSync(part);
      else this.#part = part;
    }
    this.fd = fd;
  }

  #temporaryName(): string {
    const name = this.#path === undefined ? 'core' : basename(this.#path);
    return join(this.folder, `.${name.slice(0, 200)}.${randomBytes(6).toString('hex')}.part`);
  }

  /** Bytes that the file system has room for. */
  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  writeSync(bytes: Uint8Array, from: number, length: number, offset: number): void {
    for (let done = 0; done < length; )
      done += writeSync(this.fd, bytes, from + done, length - done, offset + done);
  }

  async write(bytes: Uint8Array, from: number, length: number, offset: number): Promise<void> {
    const work = this.#writeAll(bytes, from, length, offset);
    this.#writing.add(work);
    try {
      await work;
    } finally {
      this.#writing.delete(work);
    }
  }

  async #writeAll(bytes: Uint8Array, from: number, length: number, offset: number): Promise<void> {
    for (let done = 0; done < length; )
      done += (await writeAsync(this.fd, bytes, from + done, length - done, offset + done)).bytesWritten;
  }

  /** Waits until nothing is being written. To be done before it is disposed: the number of its descriptor may be reused. */
  async settle(): Promise<void> {
    while (this.#writing.size > 0) await Promise.allSettled(this.#writing);
  }

  /** Makes a part of it a hole again, which reads as zeros. */
  clear(offset: number, length: number): void {
    if (punchHole(this.fd, offset, length)) return;
    const zeros = new Uint8Array(Math.min(length, 1 << 20));
    for (let done = 0; done < length; done += zeros.length)
      this.writeSync(zeros, 0, Math.min(zeros.length, length - done), offset + done);
  }

  setLength(bytes: number): void {
    ftruncateSync(this.fd, bytes);
  }

  /** Bytes that it takes on the disk: holes take none. */
  get storedBytes(): number {
    return fstatSync(this.fd).blocks * 512;
  }

  /** Gives it its name, once all of it is on the disk. A file of that name is replaced in one step. */
  async publish(): Promise<void> {
    await promisify(fsync)(this.fd);
    if (this.#path === undefined) return;
    if (this.#part === undefined) {
      const part = this.#temporaryName();
      linkDescriptor(this.fd, part);
      this.#part = part;
    }
    renameSync(this.#part, this.#path);
    this.#part = undefined;
  }

  /** Without `publish` before, nothing is left of it. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    if (this.#part !== undefined) unlinkSync(this.#part);
    closeSync(this.fd);
  }
}
