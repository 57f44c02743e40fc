/** Gets a userfaultfd for another process's memory: checks first, then starts the attacher, which does the work. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { errnoName, errnoNumber, PagemapError } from '../abi/index.js';
import { programArgument } from '../parts/index.js';
import { parseStatus } from '../proc/index.js';
import type { TracedArchitecture } from './architecture.js';
import type { AttachReply } from './attacher.js';
import { explainFreezer, freezerOf } from './frozen.js';
import { lastError, libc } from './libc.js';
import { explainRefusal, FILTER_ADVICE, isFiltered } from './permission.js';
import { ProcessError, type ProcessHandle, type ProcessProblem } from './process.js';
import { tracedArchitecture } from './ptrace.js';

/** A userfaultfd for another process's memory. */
export interface Attachment {
  /** This process's descriptor of it; the caller closes it, which ends all that was done with it. */
  readonly fd: number;
  /** The thread that was stopped. */
  readonly tid: number;
  /** For how long it was, milliseconds. */
  readonly stopMs: number;
}

/** Whether a program file's first bytes are those of a program for `arch`; undefined when they are of no ELF file. */
export function isProgramFor(arch: TracedArchitecture, header: Uint8Array): boolean | undefined {
  const [e, l, f] = [0x45, 0x4c, 0x46];
  if (header.length < 20 || header[0] !== 0x7f || header[1] !== e || header[2] !== l || header[3] !== f) {
    return undefined;
  }
  return header[4] === arch.elfClass && (header[18]! | (header[19]! << 8)) === arch.elfMachine;
}

function programHeader(handle: ProcessHandle): Uint8Array {
  try {
    const fd = openSync(handle.path('exe'), constants.O_RDONLY);
    try {
      const header = new Uint8Array(20);
      return header.subarray(0, readSync(fd, header, 0, header.length, 0));
    } finally {
      closeSync(fd);
    }
  } catch {
    // Not for us to read, or a kernel thread: its registers will tell.
    return new Uint8Array();
  }
}

/** Refuses, before anything is touched, processes that cannot be attached to. */
export function checkTarget(handle: ProcessHandle, arch: TracedArchitecture | undefined): void {
  const { pid } = handle;
  const refuse = (reason: ProcessProblem, hint: string): never => {
    throw new ProcessError(reason, pid, hint, `attach to process ${pid}`);
  };
  if (arch === undefined) {
    refuse(
      'architecture',
      `on ${process.arch}, system calls cannot be run in other processes; on x64 and arm64 they can`,
    );
    return;
  }
  if (pid === process.pid) refuse('self', "this process's own memory is tracked by trackMemory");
  const main = parseStatus(handle.read('status'));
  const status = main.tgid === pid ? parseStatus(handle.read(`task/${handle.thread}/status`)) : main;
  if (status.state === 'Z' || status.state === 'X') {
    refuse('zombie', 'it has exited and is a zombie until its parent waits for it');
  }
  if (main.tgid !== pid) refuse('not-found', `${pid} is a thread of process ${status.tgid}`);
  // Throws for kernel threads, and for those that may not be looked into.
  handle.read('maps');
  if (status.tracerPid !== 0) {
    refuse('traced', `process ${status.tracerPid} traces it, a debugger or strace; only one can`);
  }
  if (isProgramFor(arch, programHeader(handle)) === false) {
    refuse('architecture', `its program is not for ${arch.name}`);
  }
}

/**
 * Why a process could not be attached to, as far as that shows without touching it; undefined when nothing speaks
 * against it.
 */
export function attachProblem(handle: ProcessHandle): Error | undefined {
  try {
    checkTarget(handle, tracedArchitecture());
  } catch (error) {
    if (error instanceof ProcessError) return error;
    throw error;
  }
  try {
    // To open it takes the permission to attach, and does nothing.
    closeSync(openSync(handle.path('mem'), constants.O_RDONLY));
    return undefined;
  } catch {
    return problem(handle, { ok: false, failure: 'not-permitted', detail: 'its memory may not be opened' });
  }
}

/** The error for a process that the kernel does not let us trace. */
export function permissionProblem(handle: ProcessHandle): Error {
  const action = `attach to process ${handle.pid}`;
  try {
    const status = parseStatus(handle.read('status'));
    if (status.tracerPid !== 0) {
      const hint = `process ${status.tracerPid} traces it; only one can`;
      return new ProcessError('traced', handle.pid, hint, action);
    }
    return new ProcessError('not-permitted', handle.pid, explainRefusal(status, handle.path('.')), action);
  } catch (error) {
    return handle.problem(error, action);
  }
}

/** What suspending a seccomp filter takes. */
function suspending(): string {
  return isFiltered()
    ? 'Suspending its filter needs root without a filter of its own: run outside of the container'
    : 'Suspending the filter takes CAP_SYS_ADMIN: run as root';
}

/** What is known about a system call of ours that was refused. */
function refusedCall(call: string, reason: string): string {
  return reason === 'EPERM' && isFiltered() ? FILTER_ADVICE(call) : `${call} gave ${reason}`;
}

function problem(handle: ProcessHandle, reply: AttachReply & { ok: false }): Error {
  const make = (reason: ProcessProblem, hint: string) =>
    new ProcessError(reason, handle.pid, hint, `attach to process ${handle.pid}`);
  switch (reply.failure) {
    case 'ended':
      return make('ended', 'the process has ended');
    case 'busy':
      return make('busy', reply.detail);
    case 'frozen':
      return make('frozen', reply.detail);
    case 'architecture':
      return make('architecture', reply.detail);
    case 'seccomp':
      return make(
        'seccomp',
        `${reply.detail}; a system call that is run in it could kill it. ${suspending()}`,
      );
    case 'dispatch':
      return make('seccomp', `${reply.detail}, so none can be run in it`);
    case 'not-permitted':
      return permissionProblem(handle);
    default:
      return new PagemapError(`attach to process ${handle.pid}`, {
        errno: errnoNumber(/gave (E\w+)/.exec(reply.detail)?.[1] ?? 'EIO') ?? errnoNumber('EIO')!,
        syscall: 'ptrace',
        pid: handle.pid,
        hint: reply.detail.replace(/^(pidfd_getfd) gave (E\w+)$/, (_, call, reason) =>
          refusedCall(call, reason),
        ),
      });
  }
}

/** For pidfd_open: of a thread; Linux 6.9. */
const PIDFD_THREAD = 0o200;

/** Milliseconds to wait for the target to stop. */
const DEFAULT_STOP_TIMEOUT_MS = 1000;

/** Milliseconds to look for a moment at which a stop disturbs nobody, before a lesser one is taken. */
const DEFAULT_QUIET_WAIT_MS = 50;

export interface AttachOptions {
  /** How long to wait for the thread to stop, milliseconds; 1,000 by default. */
  readonly stopTimeoutMs?: number | undefined;
  /** How long to look for a moment when the stop disturbs no system call, milliseconds; 50 by default. */
  readonly quietWaitMs?: number | undefined;
  /**
   * Called when the program that attaches is starting, which takes about a tenth of a second. An error thrown here ends
   * the attach.
   */
  readonly onStarting?: ((handle: ProcessHandle) => void) | undefined;
}

/** The program that attaches, started for one process. Most callers need only {@link attachUserfaultfd}. */
export class Attacher implements AsyncDisposable {
  readonly #handle: ProcessHandle;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #answers: AsyncIterator<string>;

  private constructor(handle: ProcessHandle, child: ChildProcess) {
    this.#handle = handle;
    this.#child = child;
    this.#exited = once(child, 'close').catch(() => undefined);
    // It may be gone before it reads: its missing answer tells.
    child.stdin!.on('error', () => {});
    this.#answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  /** Its process number. */
  get pid(): number {
    return this.#child.pid!;
  }

  /**
   * Checks the target and starts the program, which touches nothing yet.
   *
   * @throws ProcessError for a process that cannot, or had better not, be attached to
   */
  static async start(handle: ProcessHandle, options: AttachOptions = {}): Promise<Attacher> {
    const { syscall, numbers } = libc();
    checkTarget(handle, tracedArchitecture());
    const freezer = freezerOf(handle.path('.'));
    if (freezer !== undefined) {
      const action = `attach to process ${handle.pid}`;
      throw new ProcessError('frozen', handle.pid, explainFreezer(freezer), action);
    }
    const folder = openSync(handle.path('.'), constants.O_RDONLY | constants.O_DIRECTORY);
    let pidfd = -1;
    try {
      // A main thread that has ended has no descriptors left to take: those of another one are the same.
      const { thread } = handle;
      pidfd = syscall(numbers.pidfd_open, thread, thread === handle.pid ? 0 : PIDFD_THREAD, 0, 0, 0, 0);
      if (pidfd < 0) {
        const error = lastError(`attach to process ${handle.pid}`, 'pidfd_open', { pid: handle.pid });
        if (error.code !== 'ESRCH') throw error;
        throw new ProcessError(
          'ended',
          handle.pid,
          'the process has ended',
          `attach to process ${handle.pid}`,
        );
      }
      // The folder was opened before the pidfd: if it still answers, both are of the same process.
      handle.read('stat');

      // A debugger's options are for this process, not for that one.
      const { NODE_OPTIONS: _, ...env } = process.env;
      const child = spawn(
        process.execPath,
        [
          programArgument('live/attacher'),
          handle.pid,
          options.stopTimeoutMs ?? DEFAULT_STOP_TIMEOUT_MS,
          process.pid,
          options.quietWaitMs ?? DEFAULT_QUIET_WAIT_MS,
        ].map(String),
        // A session of its own: Ctrl-C in our terminal is not for it.
        { detached: true, env, stdio: ['pipe', 'pipe', 'inherit', pidfd, folder] },
      );
      // It has no streams when it could not be started, for want of a descriptor say.
      if (child.stdin === null || child.stdin === undefined) await once(child, 'spawn');
      const attacher = new Attacher(handle, child);
      await once(child, 'spawn');
      return attacher;
    } finally {
      closeSync(folder);
      if (pidfd >= 0) closeSync(pidfd);
    }
  }

  /** Attaches once. After an error, the program is of no more use. */
  async attach(): Promise<Attachment> {
    this.#child.stdin!.write('a');
    const { value, done } = await this.#answers.next();
    if (done) {
      throw new PagemapError(`attach to process ${this.#handle.pid}`, {
        errno: errnoNumber('EIO')!,
        syscall: 'ptrace',
        pid: this.#handle.pid,
        hint: 'the program that does it ended without an answer',
      });
    }
    const answer = JSON.parse(value) as AttachReply;
    if (!answer.ok) throw problem(this.#handle, answer);
    return { fd: this.#take(answer.fd), tid: answer.tid, stopMs: answer.stopMs };
  }

  /** Its descriptor as one of our own. It is our child and waits for us: its number cannot be another's. */
  #take(fd: number): number {
    const { syscall, numbers, errno } = libc();
    const pidfd = syscall(numbers.pidfd_open, this.pid, 0, 0, 0, 0, 0);
    const taken = pidfd < 0 ? -1 : syscall(numbers.pidfd_getfd, pidfd, fd, 0, 0, 0, 0);
    const reason = errno();
    if (pidfd >= 0) closeSync(pidfd);
    if (taken >= 0) return taken;
    throw new PagemapError(`take over the userfaultfd for process ${this.#handle.pid}`, {
      errno: reason,
      syscall: 'pidfd_getfd',
      pid: this.#handle.pid,
      hint: refusedCall('pidfd_getfd', errnoName(reason)),
    });
  }

  /** Ends the program, and with it all that it still holds. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin!.end();
    await this.#exited;
  }
}

/**
 * Makes a userfaultfd in another process and takes it: it stops one thread for about half a millisecond, and runs two
 * system calls in it. No byte of the process's memory changes, and nothing stays behind in it.
 *
 * @throws ProcessError for a process that cannot, or had better not, be attached to; `reason` and `hint` say why
 */
export async function attachUserfaultfd(
  handle: ProcessHandle,
  options: AttachOptions = {},
): Promise<Attachment> {
  await using attacher = await Attacher.start(handle, options);
  options.onStarting?.(handle);
  return await attacher.attach();
}
