/// <reference lib="esnext.disposable" preserve="true" />
/** The data files of a store, opened as they are read, and what is said of those that cannot be. */
import { closeSync, openSync } from 'node:fs';
import { codeOf } from '../abi/internal.js';
import { placeOf } from './block.js';
import { explainAccess, SnapshotError } from './errors.js';
import { dataFile } from './files.js';

export class OpenFiles implements Disposable {
  readonly #folder: string;
  readonly #most: number;
  /** Descriptors by the files' numbers; those that were used last are at the end. */
  readonly #fds = new Map<number, number>();

  /** @param most so many are open at once */
  constructor(folder: string, most: number) {
    this.#folder = folder;
    this.#most = most;
  }

  /**
   * The descriptor of a data file. It is valid until `most` others are asked for.
   *
   * @throws SnapshotError 'damaged' when it is gone, 'not-permitted'
   */
  open(file: number): number {
    let fd = this.#fds.get(file);
    if (fd !== undefined) this.#fds.delete(file);
    else {
      if (this.#fds.size >= this.#most) {
        const [oldest, itsFd] = this.#fds.entries().next().value!;
        closeSync(itsFd);
        this.#fds.delete(oldest);
      }
      try {
        fd = openSync(dataFile(this.#folder, file), 'r');
      } catch (cause) {
        if (codeOf(cause) !== 'ENOENT') throw explainAccess(cause, `read ${dataFile(this.#folder, file)}`);
        throw new SnapshotError(
          'damaged',
          `Cannot read ${dataFile(this.#folder, file)}: it is gone; its snapshot was dropped meanwhile, or the store is damaged`,
          { cause },
        );
      }
    }
    this.#fds.set(file, fd);
    return fd;
  }

  /** Does something with a block. What it throws as a part of a sentence becomes an error of that block. */
  check<Value>(reference: number, work: () => Value): Value {
    try {
      return work();
    } catch (error) {
      throw this.explain(reference, error);
    }
  }

  /** An error of a block: what is no sentence yet becomes one. */
  explain(reference: number, error: unknown): SnapshotError {
    return error instanceof SnapshotError ? error : this.damaged(reference, (error as Error).message, error);
  }

  damaged(reference: number, why: string, cause?: unknown): SnapshotError {
    const { file, offset } = placeOf(reference);
    return new SnapshotError(
      'damaged',
      `Cannot read the block at byte ${offset} of ${dataFile(this.#folder, file)}: ${why}; the store is damaged, or its snapshot was dropped meanwhile`,
      { cause },
    );
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds.values()) closeSync(fd);
    this.#fds.clear();
  }
}
