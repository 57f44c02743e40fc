/**
 * A growing file that is complete at every moment: anybody can read it at any time, also when its writer was killed.
 */

import { constants } from 'node:fs';
import { copyFile, type FileHandle, link, open, rename, rm, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf } from '../abi/internal.js';
import { cannotSync } from '../live/internal.js';

const COPY_BYTES = 1 << 20;

/** File systems that know no hard links answer so. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/**
 * The file's content is a head, to which is only ever added, and a tail, which each append replaces: row groups and a
 * footer. Parquet cannot be read without its footer, so a file that is written in place is unreadable while that happens,
 * and for good if the writer dies then.
 *
 * So there are two copies, of which `path` is a hard link to one. An append goes to the other; then `path` is made a link to
 * that, in one step (rename), and the roles are swapped. The cost is that each byte is written twice and takes its place
 * twice until the end.
 */
export class CompleteFile {
  readonly path: string;
  readonly #copies: readonly Copy[];
  readonly #fresh: string;
  /** The copy that `path` is a link to. */
  #current: Copy | undefined;
  #headBytes = 0;
  /** Of head and tail, as of the last append. */
  bytes = 0;

  private constructor(path: string, folder: string, copies: readonly Copy[]) {
    this.path = path;
    this.#copies = copies;
    this.#fresh = join(folder, 'fresh');
  }

  /**
   * Creates the copies. The first append makes `path`, and replaces what is there.
   *
   * @param folder on the same file system, for the copies; nobody else uses it
   */
  static async create(path: string, folder: string): Promise<CompleteFile> {
    const copies: Copy[] = [];
    try {
      for (const name of ['a', 'b']) {
        const copy = join(folder, name);
        copies.push({ path: copy, file: await open(copy, 'wx+'), headBytes: 0 });
      }
    } catch (error) {
      for (const { file, path } of copies) {
        await file.close();
        await unlink(path);
      }
      throw error;
    }
    return new CompleteFile(path, folder, copies);
  }

  /** Where the next append's head begins. */
  get headBytes(): number {
    return this.#headBytes;
  }

  /** Adds to the head and replaces the tail. What was there before stays readable until all of it is in place. */
  async append(head: Uint8Array, tail: Uint8Array): Promise<void> {
    const current = this.#current;
    const other = this.#copies.find((copy) => copy !== current)!;
    if (current !== undefined) await this.#catchUp(current, other);
    await writeAll(other.file, head, this.#headBytes);
    const headBytes = this.#headBytes + head.length;
    await writeAll(other.file, tail, headBytes);
    await other.file.truncate(headBytes + tail.length);
    await other.file.datasync();
    await this.#publish(other);
    other.headBytes = headBytes;
    this.#headBytes = headBytes;
    this.#current = other;
    this.bytes = headBytes + tail.length;
  }

  /** Brings over what the last append has added to the head of the other copy. */
  async #catchUp(from: Copy, to: Copy): Promise<void> {
    const buffer = new Uint8Array(Math.min(COPY_BYTES, this.#headBytes - to.headBytes));
    for (let at = to.headBytes; at < this.#headBytes; ) {
      const { bytesRead } = await from.file.read(
        buffer,
        0,
        Math.min(buffer.length, this.#headBytes - at),
        at,
      );
      if (bytesRead === 0) throw new Error(`Cannot go on writing ${this.path}: it was cut short by somebody`);
      await writeAll(to.file, buffer.subarray(0, bytesRead), at);
      at += bytesRead;
    }
    to.headBytes = this.#headBytes;
  }

  async #publish(copy: Copy): Promise<void> {
    await rm(this.#fresh, { force: true });
    try {
      await link(copy.path, this.#fresh);
    } catch (error) {
      if (!NO_LINKS.has(codeOf(error) ?? '')) throw error;
      await copyFile(copy.path, this.#fresh, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
      const fresh = await open(this.#fresh, 'r+');
      try {
        await fresh.datasync();
      } finally {
        await fresh.close();
      }
    }
    await rename(this.#fresh, this.path);
    // The next append writes to what `path` was until now: by then the disk must know that it is no longer that.
    const folder = await open(dirname(this.path), 'r');
    try {
      await folder.sync();
    } catch (error) {
      if (!cannotSync(error)) throw error;
    } finally {
      await folder.close();
    }
  }

  /** Lets go of the copies; what `path` has stays. */
  async close(): Promise<void> {
    for (const { file, path } of this.#copies) {
      await file.close();
      await rm(path, { force: true });
    }
    await rm(this.#fresh, { force: true });
  }
}

interface Copy {
  readonly path: string;
  readonly file: FileHandle;
  /** How much of the head it has. */
  headBytes: number;
}
