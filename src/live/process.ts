/// <reference lib="esnext.disposable" preserve="true" />
/** Finding and holding a process by its /proc folder. */
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { codeOf, errnoNumber, PagemapError } from '../abi/internal.js';
import {
  baseName,
  type Mapping,
  PF_KTHREAD,
  parseMaps,
  parseStatStartTime,
  parseStatus,
  statNumbers,
  TICKS_PER_SECOND,
} from '../proc/internal.js';
import { pageSize } from './libc.js';
import { explainClosedFile, hiddenHint } from './permission.js';

/** Why a process cannot be looked at. */
export type ProcessProblem =
  /** No process has this number. */
  | 'not-found'
  /** It has exited and waits for its parent: it has no memory any more. */
  | 'zombie'
  /** It belongs to the kernel and has no user memory. */
  | 'kernel-thread'
  /** It is another user's, or has made itself undumpable. */
  | 'not-permitted'
  /** It ended, or called exec, while it was being looked at. */
  | 'ended'
  /** It is this very process: its own memory is tracked without being stopped (`trackMemory`). */
  | 'self'
  /** Another program traces it already; only one can. */
  | 'traced'
  /** Its code is for another architecture than this program's. */
  | 'architecture'
  /** Its seccomp filter would kill it for a system call that is run in it, or report that call. */
  | 'seccomp'
  /** It did not come to a point where it could be stopped. */
  | 'busy'
  /** Its control group is frozen. */
  | 'frozen'
  /** It uses userfaultfd itself, and a mapping can have one only. */
  | 'userfaultfd';

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
  frozen: 'EBUSY',
  userfaultfd: 'EBUSY',
};

/**
 * A process that cannot be looked at: `reason` says why, `hint` what to do.
 *
 * @example
 * ```ts
 * import { openPagemap, ProcessError } from 'pagemap-scan';
 * try {
 *   using pagemap = openPagemap(2 ** 22 + 1); // more than the highest number that Linux gives
 * } catch (error) {
 *   console.assert(error instanceof ProcessError && error.reason === 'not-found' && error.code === 'ESRCH');
 * }
 * ```
 */
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

/** Files that tell of memory: those of a thread that has ended tell nothing, though other threads may still use it. */
const MEMORY_FILES: ReadonlySet<string> = new Set(
  'auxv clear_refs cmdline environ exe maps mem numa_maps pagemap smaps smaps_rollup'.split(' '),
);
/** What every process with memory has something in. */
const NEVER_EMPTY: ReadonlySet<string> = new Set(['maps', 'smaps']);
/** As if the kernel had said so. */
const NO_MEMORY = { code: 'ESRCH' };
/** So often in a row no process replaces its program. */
const MOST_ATTEMPTS = 10;

/**
 * A process, held by a descriptor of its /proc folder. When the process ends, reads fail, even if another process has
 * got its number since.
 *
 * @example
 * ```ts
 * import { ProcessHandle } from 'pagemap-scan/live';
 * import { parseStatus } from 'pagemap-scan/proc';
 * using handle = new ProcessHandle('self');
 * console.assert(parseStatus(handle.read('status')).pid === handle.pid);
 * console.assert(handle.mappings().some(({ name }) => name === '[stack]'));
 * ```
 */
export class ProcessHandle implements Disposable {
  readonly pid: number;
  readonly #folder: number;
  /** The thread by which its memory is reached, once the main one has ended. */
  #thread: number | undefined;
  /** It had memory when it was looked at: from here on it is not a zombie that we came upon, but a process that has ended. */
  #hadMemory = false;
  #open = true;

  /**
   * @param target a process number, or 'self'
   * @throws ProcessError 'not-found'
   */
  constructor(target: number | 'self') {
    const pid = target === 'self' ? process.pid : target;
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

  /** A thread whose /proc files show its memory: the main one, or another once that has ended. */
  get thread(): number {
    this.changeThread();
    return this.#thread ?? this.pid;
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
    const thread = this.#thread === undefined || !MEMORY_FILES.has(file) ? '' : `task/${this.#thread}/`;
    return `/proc/self/fd/${this.#folder}/${thread}${file}`;
  }

  /**
   * The bytes of one of its /proc files. @throws ProcessError with the reason, after a look at the process
   */
  read(file: string): Uint8Array {
    const action = `read /proc/${this.pid}/${file}`;
    const path = this.path(file);
    let bytes: Uint8Array;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      if (this.#isElsewhere(file)) return this.read(file);
      throw this.problem(error, action);
    }
    if (bytes.length > 0) return bytes;
    if (this.#isElsewhere(file)) return this.read(file);
    // Kernels tell of missing memory by an error or by nothing, each file in its own way.
    if (NEVER_EMPTY.has(file)) throw this.problem(NO_MEMORY, action);
    return bytes;
  }

  /** Opens one of its /proc files for reading; the caller closes the descriptor. */
  open(file: string): number {
    const path = this.path(file);
    try {
      return openSync(path, constants.O_RDONLY);
    } catch (error) {
      if (this.#isElsewhere(file)) return this.open(file);
      throw this.problem(error, `open /proc/${this.pid}/${file}`);
    }
  }

  /**
   * Opens /proc/PID/pagemap for reading; the caller closes the descriptor.
   *
   * @throws ProcessError as `open`, and where the kernel opens the file of a process without an address space
   */
  openPagemap(): number {
    for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt++) {
      const fd = this.open('pagemap');
      if (hasAddressSpace(fd)) {
        this.#hadMemory = true;
        return fd;
      }
      closeSync(fd);
      // Throws where there is none. Else it has been replaced (exec) just now, or is reached by another thread.
      this.read('maps');
    }
    throw this.#notShown(`open /proc/${this.pid}/pagemap`);
  }

  /** Runs `work`, which takes over this handle, and gives its result. Disposes the handle when `work` fails. */
  takenOver<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #isElsewhere(file: string): boolean {
    return MEMORY_FILES.has(file) && this.changeThread();
  }

  /**
   * Looks for another thread when the current one (at first the main one) has ended.
   *
   * @returns false when there is no other, or the current one has not ended: `path`, `read` and `open` stay as before
   */
  changeThread(): boolean {
    if (!this.#open || this.#isRunning(this.#thread ?? this.pid)) return false;
    const thread = this.#threads().find((tid) => this.#isRunning(tid));
    if (thread === undefined) return false;
    this.#thread = thread;
    return true;
  }

  #threads(): number[] {
    try {
      return readdirSync(this.path('task')).map(Number);
    } catch {
      return [];
    }
  }

  #isRunning(tid: number): boolean {
    try {
      const { state } = parseStatus(readFileSync(this.path(`task/${tid}/status`)));
      return state !== 'Z' && state !== 'X';
    } catch {
      return false;
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

  /** CPU time of all its threads, milliseconds, in steps of 10. @throws ProcessError 'ended' */
  runMs(): number {
    const number = statNumbers(this.read('stat'));
    // In user and in system mode.
    return ((number(14) + number(15)) * 1000) / TICKS_PER_SECOND;
  }

  /** Finds out what is wrong with this process, after an error of an access to its /proc folder. */
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
      const isDead = state === 'Z' || state === 'X';
      if (isDead && !this.#threads().some((tid) => this.#isRunning(tid))) {
        return this.#hadMemory
          ? make('ended', 'the process has ended')
          : make('zombie', 'it has exited and is a zombie until its parent waits for it');
      }
    } catch {
      return make('ended', 'the process has ended');
    }
    if (code === 'EACCES' || code === 'EPERM') return make('not-permitted', explainClosedFile());
    if (code === 'ESRCH') return make('ended', 'the process has ended');
    return code === 'ENOENT' ? this.#notShown(action, error) : (error as Error);
  }

  #notShown(action: string, cause?: unknown): PagemapError {
    return new PagemapError(action, {
      errno: errnoNumber('EOPNOTSUPP')!,
      syscall: 'open',
      pid: this.pid,
      hint: 'the process exists, but this file is missing or empty: this kernel, or this sandbox, does not show it',
      cause,
    });
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#folder);
  }
}

/**
 * Reads words of /proc/PID/pagemap, one u64 a page, from `start` (bytes) on.
 *
 * @returns how many bytes: 0 where the address space is gone, whether the kernel says so by an error or finds nothing
 */
export function readPagemap(fd: number, words: Uint32Array, start: number): number {
  try {
    return readSync(fd, words, 0, words.byteLength, (start / pageSize()) * 8);
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return 0;
    throw error;
  }
}

/** Whether there is an address space behind a descriptor of /proc/PID/pagemap. */
export function hasAddressSpace(fd: number): boolean {
  // Reading the word of page 0 works in every address space, mapped or not, and gives nothing without one.
  return readPagemap(fd, new Uint32Array(2), 0) > 0;
}

/** The error for a process whose address space was found to be gone, however that was found. */
export function endedError(handle: ProcessHandle, cause?: unknown): ProcessError {
  let hint = 'the process has ended';
  try {
    if (handle.mappings().length > 0) hint = 'the process has replaced its program (exec)';
  } catch {
    // Gone for good: the first hint holds.
  }
  return new ProcessError('ended', handle.pid, hint, `scan process ${handle.pid} to the end`, cause);
}

/** Whether an error says that the process has ended, or has replaced its program, while it was looked at. */
export function isEnded(error: unknown): error is ProcessError {
  return error instanceof ProcessError && error.reason === 'ended';
}

/** A process as a search result. */
export interface ProcessMatch {
  readonly pid: number;
  /** Its name as in /proc/PID/comm. */
  readonly name: string;
  /** Its command line with spaces between the arguments; written by the process, so not to be trusted. */
  readonly commandLine: string;
}

/** A process with the names that it goes by. */
export interface NamedProcess extends ProcessMatch {
  /** Its name as `ps` shows it, the file name of its program, and the one that it was started by; equal ones may be repeated. */
  readonly names: readonly string[];
}

/** In /proc/PID/stat. */
const [FLAGS_FIELD, ADDRESS_SPACE_FIELD] = [9, 23];

/**
 * The arguments of a process. It may have overwritten them, with a text that tells what it does at the moment: such a text need not end
 * with a zero, or is empty.
 */
function argumentsOf(folder: string): string[] {
  return readFileSync(`${folder}/cmdline`, 'utf8').replace(/\0+$/, '').split('\0');
}

/**
 * The folder in /proc that tells of a process's memory; undefined of kernel threads and zombies, which have none. Where the main thread has
 * ended and others are at work, it is the folder of one of these.
 */
function memoryFolder(pid: number): string | undefined {
  const folder = `/proc/${pid}`;
  const number = statNumbers(readFileSync(`${folder}/stat`));
  if ((number(FLAGS_FIELD) & PF_KTHREAD) !== 0) return undefined;
  if (number(ADDRESS_SPACE_FIELD) > 0) return folder;
  using handle = new ProcessHandle(pid);
  return handle.thread === pid ? undefined : `${folder}/task/${handle.thread}`;
}

/** A process that is not the caller, no kernel thread and no zombie; undefined for any other. Throws when it ends meanwhile. */
function namedProcess(pid: number): NamedProcess | undefined {
  let folder: string | undefined = `/proc/${pid}`;
  let commandLine = argumentsOf(folder);
  if (commandLine[0] === '') {
    folder = memoryFolder(pid);
    if (folder === undefined) return undefined;
    commandLine = argumentsOf(folder);
  }
  const name = readFileSync(`/proc/${pid}/comm`, 'utf8').replace(/\n$/, '');
  const names = [name, baseName(commandLine[0]!)];
  try {
    names.push(baseName(readlinkSync(`${folder}/exe`).replace(/ \(deleted\)$/, '')));
  } catch {
    // Another user's process: its program file is not ours to see, its name is.
  }
  return { pid, name, names: names.filter((one) => one !== ''), commandLine: commandLine.join(' ') };
}

/** All processes that `findProcesses` can find, in order of their numbers. */
export function namedProcesses(): NamedProcess[] {
  const found: NamedProcess[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    try {
      const named = namedProcess(Number(entry));
      if (named !== undefined) found.push(named);
    } catch {
      // Ended between readdir and here, or hidden from us.
    }
  }
  return found.sort((a, b) => a.pid - b.pid);
}

/**
 * The processes with this name, this program file, or this file name on their command line, in order of their numbers.
 * Never the caller, kernel threads or zombies.
 *
 * @example
 * ```ts
 * import { findProcesses } from 'pagemap-scan';
 * console.assert(findProcesses('no such program').length === 0);
 * ```
 */
export function findProcesses(name: string): ProcessMatch[] {
  return namedProcesses()
    .filter(({ names }) => name !== '' && names.includes(name))
    .map(({ pid, name, commandLine }) => ({ pid, name, commandLine }));
}
