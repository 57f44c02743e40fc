/// <reference lib="esnext.disposable" preserve="true" />
/** Finding and holding a process by its /proc folder. */
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { errnoNumber, PagemapError } from '../abi/index.js';
import { type Mapping, PF_KTHREAD, parseMaps, parseStatStartTime, parseStatus } from '../proc/index.js';
import { hiddenHint, inUserNamespace } from './permission.js';

/** Why a process cannot be looked at. */
export type ProcessProblem =
  /** There is none with this number. */
  | 'not-found'
  /** It has exited and waits for its parent: it has no memory any more. */
  | 'zombie'
  /** It belongs to the kernel and has no user memory. */
  | 'kernel-thread'
  /** It is another user's, or has made itself undumpable. */
  | 'not-permitted'
  /** It went away, or replaced its program, while it was being looked at. */
  | 'ended'
  /** It is this very process: its own memory is tracked without being stopped (`trackMemory`). */
  | 'self'
  /** Another program traces it already; only one can. */
  | 'traced'
  /** Its code is for another architecture than this program's. */
  | 'architecture'
  /** It would be killed, or told, for a system call that is run in it. */
  | 'seccomp'
  /** It did not come to a point where it could be stopped. */
  | 'busy';

const PROBLEM_ERRNO: Readonly<Record<ProcessProblem, string>> = {
  'not-found': 'ESRCH',
  zombie: 'ESRCH',
  'kernel-thread': 'ESRCH',
  'not-permitted': 'EACCES',
  ended: 'ESRCH',
  self: 'EINVAL',
  traced: 'EBUSY',
  architecture: 'ENOEXEC',
  seccomp: 'EACCES',
  busy: 'ETIMEDOUT',
};

/** A process that cannot be looked at: `reason` says why, `hint` what to do. */
export class ProcessError extends PagemapError {
  override readonly name: string = 'ProcessError';
  readonly reason: ProcessProblem;

  constructor(
    reason: ProcessProblem,
    pid: number,
    hint: string,
    action = `open process ${pid}`,
    cause?: unknown,
  ) {
    super(action, {
      errno: errnoNumber(PROBLEM_ERRNO[reason])!,
      syscall: 'open',
      pid,
      hint,
      cause,
    });
    this.reason = reason;
  }
}

/** Behind the last address of five-level page tables; `[vsyscall]` lies far above. */
const HIGHEST_ADDRESS = 2 ** 56;

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

/**
 * A process, held by a descriptor of its /proc folder: when the process ends, reads fail, even if its number has
 * been given to another process since.
 */
export class ProcessHandle implements Disposable {
  readonly pid: number;
  readonly #folder: number;
  #open = true;

  /** @throws ProcessError 'not-found' */
  constructor(pid: number) {
    if (!Number.isSafeInteger(pid) || pid < 1) {
      throw new ProcessError('not-found', pid, 'a process number is an integer from 1');
    }
    this.pid = pid;
    try {
      this.#folder = openSync(`/proc/${pid}`, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch (cause) {
      if (codeOf(cause) !== 'ENOENT' && codeOf(cause) !== 'ESRCH') throw cause;
      throw new ProcessError('not-found', pid, hiddenHint() ?? 'there is no such process', undefined, cause);
    }
  }

  /** Path of a file in the process's /proc folder, valid while this handle is open. */
  path(file: string): string {
    // A closed descriptor's number may be anybody's by now.
    if (!this.#open) {
      throw new PagemapError(`read /proc/${this.pid}/${file}`, {
        errno: errnoNumber('EBADF')!,
        syscall: 'open',
        pid: this.pid,
        hint: 'this handle was disposed',
      });
    }
    return `/proc/self/fd/${this.#folder}/${file}`;
  }

  /**
   * The bytes of one of its /proc files.
   * @throws ProcessError with the reason, found by looking at what the process has become
   */
  read(file: string): Uint8Array {
    const path = this.path(file);
    try {
      return readFileSync(path);
    } catch (error) {
      throw this.problem(error, `read /proc/${this.pid}/${file}`);
    }
  }

  /** Opens one of its /proc files for reading; the caller closes the descriptor. */
  open(file: string): number {
    const path = this.path(file);
    try {
      return openSync(path, constants.O_RDONLY);
    } catch (error) {
      throw this.problem(error, `open /proc/${this.pid}/${file}`);
    }
  }

  /** The mappings in user space, in address order: the kernel's `[vsyscall]` page is not one of them. */
  mappings(): Mapping[] {
    return parseMaps(this.read('maps')).filter((mapping) => mapping.start < HIGHEST_ADDRESS);
  }

  /** Its name, as in /proc/PID/comm: up to 15 bytes, chosen by the process itself. */
  name(): string {
    return parseStatus(this.read('status')).name;
  }

  /** Its command line with spaces between the arguments; written by the process, so not to be trusted. */
  commandLine(): string {
    return new TextDecoder().decode(this.read('cmdline')).replace(/\0+$/, '').replaceAll('\0', ' ');
  }

  /** What is wrong with this process, given the error that an access to its /proc folder had. */
  problem(error: unknown, action: string): Error {
    if (error instanceof ProcessError) return error;
    const code = codeOf(error);
    if (code === 'EMFILE' || code === 'ENFILE' || code === 'ENOMEM') return error as Error;
    const make = (reason: ProcessProblem, hint: string) =>
      new ProcessError(reason, this.pid, hint, action, error);
    try {
      const { flags } = parseStatStartTime(readFileSync(this.path('stat')));
      if (flags & PF_KTHREAD)
        return make('kernel-thread', 'it is a kernel thread, which has no memory of its own');
      const { state } = parseStatus(readFileSync(this.path('status')));
      if (state === 'Z' || state === 'X') {
        return make('zombie', 'it has exited and only waits for its parent to take note');
      }
    } catch {
      return make('ended', 'the process has ended');
    }
    if (code === 'EACCES' || code === 'EPERM') {
      return make(
        'not-permitted',
        process.geteuid?.() === 0
          ? inUserNamespace()
            ? 'this process is root in a user namespace (a container) only, and the other one belongs to an outer one or has more capabilities there; run as root outside of it'
            : 'even root may not look into it here, without CAP_SYS_PTRACE: it has more capabilities (in a container: docker run --cap-add SYS_PTRACE), or a security module forbids it'
          : "it is another user's, or hides its memory; run as its user or as root, or give node CAP_SYS_PTRACE",
      );
    }
    if (code === 'ESRCH' || code === 'ENOENT') return make('ended', 'the process has ended');
    return error as Error;
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#folder);
  }
}

/** @throws ProcessError 'ended' for a process whose address space was found to be gone */
export function checkAddressSpace(handle: ProcessHandle): never {
  let hint = 'the process has ended';
  try {
    handle.read('stat');
    if (handle.mappings().length > 0) hint = 'the process has replaced its program (exec)';
  } catch {
    // Gone for good: the first hint holds.
  }
  throw new ProcessError('ended', handle.pid, hint, `scan process ${handle.pid} to the end`);
}

/** A process as a search result. */
export interface ProcessMatch {
  readonly pid: number;
  /** Its name as in /proc/PID/comm. */
  readonly name: string;
  /** Its command line with spaces between the arguments; written by the process, so not to be trusted. */
  readonly commandLine: string;
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/**
 * The processes whose name, program file, or file name that they were started by is `name`; not the caller, no kernel
 * threads, no zombies. In order of their numbers.
 *
 * @example
 * ```ts
 * import { findProcesses } from 'pagemap-scan';
 * console.assert(findProcesses('no such program').length === 0);
 * ```
 */
export function findProcesses(name: string): ProcessMatch[] {
  const found: ProcessMatch[] = [];
  if (name === '') return found;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const pid = Number(entry);
    if (pid === process.pid) continue;
    try {
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      // Kernel threads and zombies have no command line.
      if (commandLine.length < 2) continue;
      const comm = readFileSync(`/proc/${pid}/comm`, 'utf8').replace(/\n$/, '');
      let program: string | undefined;
      try {
        program = baseName(readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, ''));
      } catch {
        // Another user's process: its program file is not ours to see, its name is.
      }
      if (comm !== name && program !== name && baseName(commandLine[0]!) !== name) continue;
      found.push({ pid, name: comm, commandLine: commandLine.slice(0, -1).join(' ') });
    } catch {
      // Ended between readdir and here, or hidden from us.
    }
  }
  return found.sort((a, b) => a.pid - b.pid);
}
