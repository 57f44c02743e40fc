/// <reference lib="esnext.disposable" preserve="true" />
/** How trackers of one process know of each other, whichever processes, containers or users they are in. */
import { closeSync } from 'node:fs';
import { libc } from './libc.js';
import { bufferAddress } from './memory.js';

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
/** struct flock: type and whence (16 bits each), start and length (64 bits, behind padding), process. All of the file: length 0. */
const FLOCK_BYTES = 32;

/**
 * A mark on a process: it is tracked. It is a lock on the file that a pidfd stands for, which is one for all who open one (Linux 6.9; on
 * earlier kernels it is one for all processes, so that others may seem to be there that are not). It ends with its descriptor.
 */
export class TrackerMark implements Disposable {
  /** -1 where there can be no mark. */
  #pidfd: number;
  readonly #lock = new Int16Array(new ArrayBuffer(FLOCK_BYTES));

  constructor(pid: number) {
    const { syscall, numbers } = libc();
    this.#pidfd = syscall(numbers.pidfd_open, pid, 0, 0, 0, 0, 0);
    if (this.#pidfd >= 0 && this.#fcntl(F_OFD_SETLK, F_RDLCK) === undefined) this[Symbol.dispose]();
  }

  /** Whether no other tracker of this library has the process. False where that cannot be told. */
  get isAlone(): boolean {
    return this.#pidfd >= 0 && this.#fcntl(F_OFD_GETLK, F_WRLCK) === F_UNLCK;
  }

  /** The type of lock that the system answers with: to a question, that of one which is in the way. Undefined when it refuses. */
  #fcntl(command: number, type: number): number | undefined {
    const { syscall, numbers } = libc();
    this.#lock.fill(0);
    this.#lock[0] = type;
    const failed =
      syscall(numbers.fcntl, this.#pidfd, command, bufferAddress(this.#lock.buffer), 0, 0, 0) < 0;
    return failed ? undefined : this.#lock[0];
  }

  [Symbol.dispose](): void {
    if (this.#pidfd < 0) return;
    closeSync(this.#pidfd);
    this.#pidfd = -1;
  }
}
