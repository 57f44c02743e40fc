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
import { codeOf, PAGE_SIZE } from '../abi/internal.js';
import { linkDescriptor, punchHole } from '../live/internal.js';

/** What file systems answer that have no files without a name; the first two are one number with two names. */
const WITHOUT_NAMELESS: ReadonlySet<string> = new Set(['EOPNOTSUPP', 'ENOTSUP', 'EISDIR', 'EINVAL']);
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

const writeAsync = promisify(write);

/** What O_DIRECT asks for of places, lengths and buffers: a page's size satisfies all disks that are known. */
const isAligned = (value: number): boolean => value % PAGE_SIZE === 0;

export class CoreFile implements Disposable {
  readonly fd: number;
  readonly folder: string;
  readonly #path: string | undefined;
  /** Where it has a name already, because the file system has no files without. */
  #part: string | undefined;
  #open = true;
  /** Past the page cache; -1 where the file system does not do that. */
  readonly #directFd: number = -1;
  #useDirect = false;
  readonly #writing = new Set<Promise<void>>();
  #flushing: Promise<void> | undefined;

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
      const code = codeOf(error);
      if (!WITHOUT_NAMELESS.has(code ?? '')) throw error;
      const part = this.#temporaryName();
      fd = openSync(part, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      if (path === undefined) unlinkSync(part);
      else this.#part = part;
    }
    this.fd = fd;
    // What is going to be read again at once has to come by the page cache.
    if (path === undefined) return;
    try {
      this.#directFd = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_DIRECT);
      this.#useDirect = true;
    } catch {
      // Then as all others write.
    }
  }

  #temporaryName(): string {
    const name = this.#path === undefined ? 'core' : basename(this.#path);
    return join(this.folder, `.${name.slice(0, 200)}.${randomBytes(6).toString('hex')}.part`);
  }

  /** Bytes that the file system has room for; infinite for one that does not say, as those in memory without a limit. */
  get freeBytes(): number {
    const { bavail, blocks, bsize } = statfsSync(this.folder);
    return blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize;
  }

  writeSync(bytes: Uint8Array, from: number, length: number, offset: number): void {
    for (let done = 0; done < length; )
      done += writeSync(this.fd, bytes, from + done, length - done, offset + done);
  }

  /**
   * Writes while other things go on. Whole pages from a buffer that begins at one go straight to the disk: the page cache,
   * which is the other processes', keeps what it has, there is nothing left to wait for in the end, and nobody competes with
   * the writing back when the process is stopped.
   */
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
    for (let done = 0; done < length; ) {
      const direct =
        this.#useDirect && isAligned(from + done) && isAligned(length) && isAligned(offset + done);
      const fd = direct ? this.#directFd : this.fd;
      try {
        done += (await writeAsync(fd, bytes, from + done, length - done, offset + done)).bytesWritten;
      } catch (error) {
        if (!direct || codeOf(error) !== 'EINVAL') throw error;
        // A buffer that is not aligned, or a disk with larger blocks.
        this.#useDirect = false;
      }
    }
  }

  /** Waits until nothing is being written. To be done before it is disposed: the number of its descriptor may be reused. */
  async settle(): Promise<void> {
    while (this.#writing.size > 0) await Promise.allSettled(this.#writing);
    await Promise.allSettled([this.#flushing]);
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

  /**
   * Begins to bring to the disk what was written so far, so that there is less to wait for in `publish`: also what went past the
   * page cache may still be on its way. A file without a name needs none of it.
   */
  flush(): void {
    if (this.#path === undefined || this.#flushing !== undefined) return;
    this.#flushing = promisify(fsync)(this.fd);
    // It is for `publish` to report: the kernel tells of an error once.
    this.#flushing.catch(() => undefined);
  }

  /** Gives it its name, once all of it is on the disk. A file of that name is replaced in one step. */
  async publish(): Promise<void> {
    await this.#flushing;
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
    try {
      if (this.#part !== undefined) unlinkSync(this.#part);
    } finally {
      closeSync(this.fd);
      if (this.#directFd >= 0) closeSync(this.#directFd);
    }
  }
}
