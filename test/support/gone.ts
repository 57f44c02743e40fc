/**
 * Processes that go away between two calls, and kernels that tell of it in one way or the other: over the kernel at hand. Functions of
 * `node:fs` and of the C library are replaced in this process, so that all above these is what users run.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { createInterface } from 'node:readline';
import type { Writable } from 'node:stream';
import { PAGEMAP_SCAN, PM_SCAN_ARG } from '../../src/abi/index.js';
import { PROCMAP_QUERY } from '../../src/abi/procmap.js';
import { type Libc, libc } from '../../src/live/libc.js';

/**
 * What is said of an address space that is gone: ESRCH, as Linux 7.3 does for scans and earlier ones for the text files, or
 * nothing, without an error, as their predecessors did.
 */
export type Answer = 'ESRCH' | 'nothing';

const ESRCH = 3;
const ENOTTY = 25;
const MEMORY_FILE = /\/(maps|smaps|pagemap)$/;

/** What is to happen, and before which call. */
class Kernel {
  answer: Answer = 'ESRCH';
  #at = 0;
  #calls = 0;
  #happens: (() => void) | undefined;

  /** From here on `happens` is called before the call number `at`. */
  arm(at: number, happens: () => void): void {
    this.#at = at;
    this.#calls = 0;
    this.#happens = happens;
  }

  /** Ends that. */
  disarm(): void {
    this.#happens = undefined;
  }

  /** Whether there were so many calls. */
  get hasHappened(): boolean {
    return this.#calls >= this.#at;
  }

  step(): void {
    if (this.#happens !== undefined && ++this.#calls === this.#at) this.#happens();
  }
}

export const kernel = new Kernel();

const real = { ...fs };

function esrch(syscall: string, path: unknown): NodeJS.ErrnoException {
  return Object.assign(new Error(`ESRCH: no such process, ${syscall} '${path}'`), { code: 'ESRCH', syscall });
}

const isMemoryFile = (path: unknown): path is string => typeof path === 'string' && MEMORY_FILE.test(path);
const isGone = (error: unknown) => (error as NodeJS.ErrnoException).code === 'ESRCH';

function replaceFs(): void {
  // Node's own functions call each other by the names that are replaced here.
  let isWithin = false;
  fs.openSync = (path, ...rest) => {
    if (isWithin) return real.openSync(path, ...rest);
    kernel.step();
    if (!isMemoryFile(path)) return real.openSync(path, ...rest);
    try {
      const fd = real.openSync(path, ...rest);
      if (kernel.answer === 'nothing' || real.readSync(fd, new Uint8Array(8), 0, 8, 0) > 0) return fd;
      real.closeSync(fd);
    } catch (error) {
      if (!isGone(error)) throw error;
      // It is opened, and there is nothing in it.
      if (kernel.answer === 'nothing') return real.openSync('/dev/null', 'r');
    }
    throw esrch('open', path);
  };
  const readWhole = (path: fs.PathOrFileDescriptor, rest: never[]) => {
    isWithin = true;
    try {
      return real.readFileSync(path, ...rest);
    } finally {
      isWithin = false;
    }
  };
  fs.readFileSync = ((path: fs.PathOrFileDescriptor, ...rest: never[]) => {
    kernel.step();
    if (!isMemoryFile(path)) return readWhole(path, rest);
    try {
      const bytes = readWhole(path, rest);
      if (kernel.answer === 'nothing' || bytes.length > 0) return bytes;
    } catch (error) {
      if (!isGone(error)) throw error;
      if (kernel.answer === 'nothing') return Buffer.alloc(0);
    }
    throw esrch('read', path);
  }) as typeof fs.readFileSync;
  fs.readSync = ((...args: Parameters<typeof fs.readSync>) => {
    if (!isWithin) kernel.step();
    return real.readSync(...args);
  }) as typeof fs.readSync;
  syncBuiltinESMExports();
}

function replaceLibc(): void {
  // All who call it have the same object.
  const functions = libc() as { -readonly [K in keyof Libc]: Libc[K] };
  const { ioctl, syscall, errno: lastErrno, view } = functions;
  let errno: number | undefined;
  const answer = (result: number, reason: number | undefined): number => {
    errno = reason;
    return result;
  };
  functions.errno = () => errno ?? lastErrno();
  functions.syscall = (...args) => {
    kernel.step();
    return answer(syscall(...args), undefined);
  };
  functions.ioctl = (fd, request, address) => {
    if (request !== PAGEMAP_SCAN && request !== PROCMAP_QUERY)
      return answer(ioctl(fd, request, address), undefined);
    kernel.step();
    const result = ioctl(fd, request, address);
    // That of /dev/null is one that stands for an empty file.
    const isLost =
      result < 0 && (lastErrno() === ESRCH || (request === PROCMAP_QUERY && lastErrno() === ENOTTY));
    if (request === PROCMAP_QUERY) return isLost ? answer(-1, ESRCH) : answer(result, undefined);
    if (kernel.answer === 'nothing' && isLost) {
      const words = new BigUint64Array(view(address, PM_SCAN_ARG.sizeBytes));
      words[PM_SCAN_ARG.offset.walk_end / 8] = words[PM_SCAN_ARG.offset.end / 8]!;
      return answer(0, undefined);
    }
    if (kernel.answer === 'ESRCH' && result === 0 && real.readSync(fd, new Uint8Array(8), 0, 8, 0) === 0)
      return answer(-1, ESRCH);
    return answer(result, undefined);
  };
}

/** From here on this process is on that kernel. There is no way back: a test of it has a process of its own. */
export function replaceKernel(): void {
  replaceFs();
  replaceLibc();
}

/** How a process goes away. */
export type Way = 'zombie' | 'reaped' | 'exec';

/** A process that waits until it is ended; ending it is over when `end` returns. It ends with us, too. */
export interface Doomed extends AsyncDisposable {
  readonly pid: number;
  end(): void;
}

/**
 * Starts one such process after the other, and says their numbers: of a process as large as a test's, every child costs several
 * milliseconds. A line says how one is to go away, the next one that it is over.
 */
const STARTER = `
doomed() { read line <&3 && exec cat <&3; }
while read way; do
  case $way in
    # Its parent takes note at once.
    reaped) { doomed & echo $!; wait; } & read over; wait ;;
    # Its parent takes no note: it is another program then, which reads this line and ends.
    zombie) (doomed & echo $!; exec head -n 1 >/dev/null) ;;
    exec) doomed & echo $!; read over; wait ;;
  esac
  echo over
done`;

class Starter {
  readonly #child = spawn('sh', ['-c', STARTER], { stdio: ['pipe', 'pipe', 'inherit', 'pipe'] });
  readonly #lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();

  async tell(line: string): Promise<string> {
    this.#child.stdin!.write(`${line}\n`);
    return (await this.#lines.next()).value;
  }

  /** For the process that was started last: it goes on. */
  release(): void {
    (this.#child.stdio[3] as Writable).write('\n');
  }

  async end(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.stdin!.end();
    // One that a failed test has left reads from it.
    (this.#child.stdio[3] as Writable).end();
    await exited;
  }
}

let starter: Starter | undefined;

/** Before the first `startDoomed`, and after the last one. */
export const starting = {
  begin(): void {
    starter = new Starter();
  },
  end: () => starter?.end(),
};

function statusOf(pid: number): string | undefined {
  try {
    return real.readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return undefined;
  }
}

const sleeping = new Int32Array(new SharedArrayBuffer(4));

function waitUntil(isSo: () => boolean): void {
  while (!isSo()) Atomics.wait(sleeping, 0, 0, 1);
}

const isGoneFor: Readonly<Record<Way, (status: string | undefined) => boolean>> = {
  zombie: (status) => status === undefined || /^State:\s+[ZX]/m.test(status),
  // Its parent cannot take note while somebody traces it.
  reaped: (status) =>
    status === undefined || (/^State:\s+[ZX]/m.test(status) && !/^TracerPid:\s+0$/m.test(status)),
  exec: (status) => status === undefined || status.startsWith('Name:\tcat\n'),
};

export async function startDoomed(way: Way): Promise<Doomed> {
  const pid = Number(await starter!.tell(way));
  if (way === 'zombie') {
    const parent = Number(/^PPid:\s+(\d+)$/m.exec(statusOf(pid)!)![1]);
    // A shell may take note of it at any time.
    waitUntil(() => statusOf(parent)!.startsWith('Name:\thead\n'));
  }
  let isOurs = true;
  return {
    pid,
    end() {
      if (way === 'exec') starter!.release();
      else process.kill(pid, 'SIGKILL');
      waitUntil(() => isGoneFor[way](statusOf(pid)));
      // The number of one that was reaped may be another's by now.
      isOurs = way !== 'reaped';
    },
    async [Symbol.asyncDispose]() {
      if (isOurs) process.kill(pid, 'SIGKILL');
      await starter!.tell('over');
    },
  };
}
