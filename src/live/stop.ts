/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Stops all threads of another process, and lets them go without a trace (man ptrace(2)).
 *
 * It changes no register and no byte of memory, so nothing has to be undone: if this process ends meanwhile, for
 * whatever reason, the kernel lets the other one run on.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as later } from 'node:timers/promises';
import {
  __WALL,
  errnoNumber,
  NT_PRSTATUS,
  PagemapError,
  PTRACE_CONT,
  PTRACE_DETACH,
  PTRACE_GETREGSET,
  PTRACE_GETSIGMASK,
  PTRACE_INTERRUPT,
  PTRACE_O_TRACECLONE,
  PTRACE_O_TRACESYSGOOD,
  PTRACE_SEIZE,
  PTRACE_SETREGSET,
  parseWaitStatus,
  type WaitStatus,
  WNOHANG,
  WSTOPPED,
} from '../abi/internal.js';
import { parseStatus } from '../proc/index.js';
import type { TracedArchitecture } from './architecture.js';
import { checkTarget, permissionProblem } from './attach.js';
import { explainFreezer, explainWaiting, freezerOf } from './frozen.js';
import { type Libc, libc } from './libc.js';
import { ProcessError, type ProcessHandle } from './process.js';
import { sleep, TraceError, TraceeGone, tracedArchitecture } from './ptrace.js';
import { WaitingCall } from './waiting-call.js';

/** Milliseconds to wait for all threads to stop. */
const DEFAULT_STOP_TIMEOUT_MS = 1000;

/** How often, in milliseconds, threads are looked after that could not be stopped in time. */
const LINGER_MS = 5;

/** How often the end of a child that Node takes for ended is looked for, milliseconds. */
const END_LOOK_MS = 500;

/** The longest that is waited for them, milliseconds. */
const MOST_LINGER_MS = 30_000;

const ESRCH = errnoNumber('ESRCH')!;
/** For waitid: the child with that number. */
const P_PID = 1;
/** siginfo_t, and where the number and the status of a child are in it, in words of 32 bits. */
const SIGINFO_BYTES = 128;
const SIGINFO_PID = 4;
const SIGINFO_STATUS = 6;
const ECHILD = errnoNumber('ECHILD')!;
const EINTR = errnoNumber('EINTR')!;

export interface StopOptions {
  /** How long to wait for all threads to stop, milliseconds; 1,000 by default. */
  readonly stopTimeoutMs?: number | undefined;
}

/** The requests, with buffers that are made once: nothing is allocated per thread while threads stand still. */
class Requests {
  readonly #libc: Libc = libc();
  readonly #arch: TracedArchitecture;
  readonly #status = new Int32Array(new ArrayBuffer(8));
  readonly #statusAddress = this.#libc.address(this.#status.buffer);
  readonly #iovec = new BigUint64Array(new ArrayBuffer(16));
  readonly #iovecAddress = this.#libc.address(this.#iovec.buffer);
  readonly #registers: BigUint64Array<ArrayBuffer>;
  readonly #registersAddress: number;
  readonly #info = new Int32Array(new ArrayBuffer(SIGINFO_BYTES));
  readonly #infoAddress = this.#libc.address(this.#info.buffer);
  /** The main thread, if the process is a child of this one. */
  readonly #ownChild: number | undefined;
  /** Whether Node takes that child for ended: it took a stop for its end. */
  #isMistaken = false;
  readonly #waitingCalls = new Map<number, WaitingCall>();
  readonly #word = new BigUint64Array(new ArrayBuffer(8));
  readonly #wordAddress = this.#libc.address(this.#word.buffer);

  constructor(arch: TracedArchitecture, pid: number) {
    this.#arch = arch;
    this.#ownChild = isOwnChild(pid) ? pid : undefined;
    this.#registers = new BigUint64Array(new ArrayBuffer(arch.registersBytes));
    this.#registersAddress = this.#libc.address(this.#registers.buffer);
  }

  /** @throws TraceeGone, TraceError */
  request(name: string, request: number, tid: number, address: number, data: number): void {
    const { syscall, numbers, errno } = this.#libc;
    if (syscall(numbers.ptrace, request, tid, address, data, 0, 0) >= 0) return;
    if (errno() !== ESRCH) throw new TraceError(name, errno());
    // From a thread that is stopped: it was killed.
    this.#takeNote(tid);
    throw new TraceeGone();
  }

  /** What has become of a thread since the last look; undefined for nothing. */
  look(tid: number): WaitStatus | undefined {
    return tid === this.#ownChild ? this.#lookAtChild(tid) : this.#lookAtOther(tid);
  }

  /**
   * The same for a child of this process: its stops alone. Node takes note of its end, and would never hear of one that we had taken note of.
   */
  #lookAtChild(tid: number): WaitStatus | undefined {
    const status = this.#stopOfChild(tid);
    if (status !== undefined) return status;
    try {
      const { state } = parseStatus(readFileSync(`/proc/${tid}/status`));
      if (state === 'Z' || state === 'X') return { kind: 'exited' };
      if (state !== 't') return undefined;
    } catch {
      return { kind: 'exited' };
    }
    // It may have stopped between the two looks. If there is nothing to tell even now, somebody was told: Node asks about its children, too,
    // and takes a stop for an end.
    const late = this.#stopOfChild(tid);
    if (late !== undefined) return late;
    this.#takeNoteForNode(tid);
    return { kind: 'event-stop' };
  }

  /** The stop of a child that nobody was told of yet. */
  #stopOfChild(tid: number): WaitStatus | undefined {
    const { syscall, numbers, errno } = this.#libc;
    for (;;) {
      this.#info.fill(0);
      const flags = WSTOPPED | WNOHANG | __WALL;
      if (syscall(numbers.waitid, P_PID, tid, this.#infoAddress, flags, 0, 0) >= 0) break;
      if (errno() === ECHILD) return { kind: 'exited' };
      if (errno() !== EINTR) throw new TraceError('waitid', errno());
    }
    // As wait4 would have given it.
    const isThere = this.#info[SIGINFO_PID] === tid;
    return isThere ? parseWaitStatus((this.#info[SIGINFO_STATUS]! << 8) | 0x7f) : undefined;
  }

  #lookAtOther(tid: number): WaitStatus | undefined {
    const { syscall, numbers, errno } = this.#libc;
    for (;;) {
      const found = syscall(numbers.wait4, tid, this.#statusAddress, __WALL | WNOHANG, 0, 0, 0);
      if (found === tid) return parseWaitStatus(this.#status[0]!);
      if (found === 0) return undefined;
      if (errno() === ECHILD) return { kind: 'exited' };
      if (errno() !== EINTR) throw new TraceError('wait4', errno());
    }
  }

  /** Reads a register set to an address; its length in bytes. */
  regset(tid: number, type: number, address: number, bytes: number): number {
    this.#iovec[0] = BigInt(address);
    this.#iovec[1] = BigInt(bytes);
    this.request('PTRACE_GETREGSET', PTRACE_GETREGSET, tid, type, this.#iovecAddress);
    return Number(this.#iovec[1]);
  }

  signalMask(tid: number): bigint {
    this.request('PTRACE_GETSIGMASK', PTRACE_GETSIGMASK, tid, 8, this.#wordAddress);
    return this.#word[0]!;
  }

  /** Notes what a thread waits in, before it is stopped, where that cannot be seen any more afterwards. */
  note(tid: number, folder: string): void {
    this.#waitingCalls.set(tid, new WaitingCall(folder));
  }

  /** Lets a stopped thread go. A waiting call that the stop has ended is begun anew. */
  release(tid: number, signal = 0): void {
    try {
      const length = this.regset(tid, NT_PRSTATUS, this.#registersAddress, this.#registers.byteLength);
      const before = this.#waitingCalls.get(tid);
      this.#waitingCalls.delete(tid);
      if (
        length === this.#registers.byteLength &&
        this.#arch.isNative(this.#registers) &&
        this.#arch.restartIfEndedByStop(this.#registers, before)
      ) {
        this.request('PTRACE_SETREGSET', PTRACE_SETREGSET, tid, NT_PRSTATUS, this.#iovecAddress);
      }
      this.request('PTRACE_DETACH', PTRACE_DETACH, tid, 0, signal);
    } catch (error) {
      // Killed meanwhile. Anything else, and the end of this process lets go of it.
      if (!(error instanceof TraceeGone || error instanceof TraceError)) throw error;
    }
  }

  /** Takes note of the end of a child of this process whose stop Node took for it: nobody else will, and it would stay a zombie. */
  #takeNoteForNode(tid: number): void {
    if (this.#isMistaken) return;
    this.#isMistaken = true;
    const timer = setInterval(() => {
      const isThere = isOwnChild(tid);
      if (isThere && !isZombie(tid)) return;
      clearInterval(timer);
      // Behind Node's own look, which comes between timers and this.
      if (isThere) setImmediate(() => isOwnChild(tid) && this.#lookAtOther(tid));
    }, END_LOOK_MS);
    timer.unref();
  }

  /** A thread that was killed while it was traced stays until its tracer has taken note, and its parent hears of it only then. */
  #takeNote(tid: number): void {
    // Of our own child Node takes note, which tells it that it has ended.
    if (tid === this.#ownChild) return;
    const hasEnded = () => {
      const status = this.look(tid);
      return status?.kind === 'exited' || status?.kind === 'killed';
    };
    if (hasEnded()) return;
    const timer = setInterval(() => {
      if (hasEnded()) clearInterval(timer);
    }, LINGER_MS);
    timer.unref();
  }
}

function isZombie(tid: number): boolean {
  try {
    return parseStatus(readFileSync(`/proc/${tid}/status`)).state === 'Z';
  } catch {
    return false;
  }
}

function isOwnChild(tid: number): boolean {
  try {
    const { pid, tgid, ppid } = parseStatus(readFileSync(`/proc/${tid}/status`));
    return pid === tgid && ppid === process.pid;
  } catch {
    return false;
  }
}

/**
 * A process with all threads stopped, until this is disposed. Only the thread that made it may call it (a rule of
 * ptrace).
 *
 * @example
 * ```ts
 * import { spawn } from 'node:child_process';
 * import { once } from 'node:events';
 * import { ProcessHandle, type StoppedProcess, stopProcess } from 'pagemap-scan/live';
 * import { parseStatus } from 'pagemap-scan/proc';
 * const child = spawn('sleep', ['60']);
 * await once(child, 'spawn');
 * {
 *   using handle = new ProcessHandle(child.pid!);
 *   using stopped: StoppedProcess = stopProcess(handle);
 *   console.assert(stopped.tids.join() === String(child.pid) && stopped.elapsedMs >= stopped.stopMs);
 *   console.assert(parseStatus(handle.read('status')).state === 't'); // as under a debugger
 * }
 * child.kill();
 * ```
 */
export class StoppedProcess implements Disposable {
  readonly handle: ProcessHandle;
  /** Its threads in ascending order; the main one is missing where it has ended before the others. */
  readonly tids: readonly number[];
  /** When the first thread was told to stop, as of `performance.now()`. */
  readonly since: number;
  /** From then until the last one stood still, milliseconds. */
  readonly stopMs: number;
  readonly #requests: Requests;
  #open = true;

  /** @internal Use {@link stopProcess} or {@link ProcessStopper}. */
  constructor(
    handle: ProcessHandle,
    requests: Requests,
    tids: readonly number[],
    since: number,
    stopMs: number,
  ) {
    this.handle = handle;
    this.tids = tids;
    this.since = since;
    this.stopMs = stopMs;
    this.#requests = requests;
  }

  get pid(): number {
    return this.handle.pid;
  }

  #check(): void {
    if (this.#open) return;
    throw new PagemapError(`read registers of process ${this.pid}`, {
      errno: errnoNumber('EBADF')!,
      syscall: 'ptrace',
      pid: this.pid,
      hint: 'it was let go',
    });
  }

  /**
   * Reads a register set of a thread (`NT_*`) into `into`.
   *
   * @returns its length, bytes; undefined where this machine or kernel has no such set
   * @throws ProcessError 'ended' when the process was killed
   */
  regset(tid: number, type: number, into: Uint8Array<ArrayBuffer>): number | undefined {
    this.#check();
    const address = libc().address(into.buffer) + into.byteOffset;
    try {
      return this.#requests.regset(tid, type, address, into.byteLength);
    } catch (error) {
      if (error instanceof TraceError && (error.code === 'EINVAL' || error.code === 'ENODEV'))
        return undefined;
      throw this.#ended(error);
    }
  }

  /** The signals that a thread blocks, bit n-1 for signal n. */
  signalMask(tid: number): bigint {
    this.#check();
    try {
      return this.#requests.signalMask(tid);
    } catch (error) {
      throw this.#ended(error);
    }
  }

  #ended(error: unknown): unknown {
    if (!(error instanceof TraceeGone)) return error;
    return new ProcessError(
      'ended',
      this.pid,
      'the process was killed while it was stopped',
      undefined,
      error,
    );
  }

  /** How long it has been stopped so far, milliseconds. */
  get elapsedMs(): number {
    return performance.now() - this.since;
  }

  /** Lets all threads go. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    for (const tid of this.tids) this.#requests.release(tid);
  }
}

/** Stops a process. All preparation is done when this is made. */
export class ProcessStopper {
  readonly #handle: ProcessHandle;
  readonly #stopTimeoutMs: number;
  readonly #requests: Requests;
  readonly #arch: TracedArchitecture;
  /** Threads to be let go as soon as they stop. */
  readonly #lingering = new Set<number>();

  /** @throws ProcessError for a process that cannot be stopped, as far as that shows beforehand */
  constructor(handle: ProcessHandle, options: StopOptions = {}) {
    const arch = tracedArchitecture();
    checkTarget(handle, arch);
    this.#handle = handle;
    this.#stopTimeoutMs = options.stopTimeoutMs ?? DEFAULT_STOP_TIMEOUT_MS;
    this.#arch = arch!;
    this.#requests = new Requests(arch!, handle.pid);
    this.#dryRun();
  }

  /** Dry runs without a thread, so that V8 has compiled the code before the process is stopped. */
  #dryRun(): void {
    for (let times = 0; times < 20; times++) {
      this.#tids();
      this.#requests.look(process.pid);
      this.#requests.release(process.pid);
      if (this.#arch.hiddenCalls !== undefined) this.#requests.note(process.pid, '/proc/self');
    }
  }

  #list(): number[] {
    return readdirSync(this.#handle.path('task')).map(Number);
  }

  /**
   * Stops all threads, those that are made meanwhile included.
   *
   * @throws ProcessError 'busy' when a thread did not stop in time (it waits for a disk, or for its vfork child): all are
   *   let go. 'ended', 'not-permitted', 'traced'
   */
  stop(): StoppedProcess {
    const handle = this.#handle;
    this.#checkFrozen();
    const stopped = new Set<number>();
    const waiting = new Set<number>();
    const since = performance.now();
    let begun = false;
    try {
      // Until a look at the list shows nobody new: when all that are known stand still, nobody is left to make more.
      for (;;) {
        let news = 0;
        for (const tid of this.#tids()) {
          if (stopped.has(tid) || waiting.has(tid)) continue;
          if (!this.#seize(tid, !begun)) continue;
          waiting.add(tid);
          news++;
        }
        if (news === 0) break;
        begun = true;
        for (const tid of waiting) {
          if (!this.#attempt(() => this.#interrupt(tid))) waiting.delete(tid);
        }
        this.#await(waiting, stopped, since);
      }
      if (stopped.size === 0) throw new ProcessError('ended', handle.pid, 'the process has ended');
      const tids = [...stopped].sort((a, b) => a - b);
      return new StoppedProcess(handle, this.#requests, tids, since, performance.now() - since);
    } catch (error) {
      for (const tid of stopped) this.#requests.release(tid);
      this.#linger(waiting);
      throw error;
    }
  }

  /**
   * Waits until each thread has left the system call that it is in now, or waits in one that does nothing meanwhile. To see
   * that, threads that may be at work are stopped and let go at once, each for itself.
   *
   * @param check called while a thread takes longer than that; what it throws ends the waiting
   * @throws ProcessError as `stop`
   */
  async passThrough(check: () => void = () => undefined): Promise<void> {
    try {
      this.#passThrough();
    } catch (error) {
      if (!(error instanceof ProcessError) || error.reason !== 'busy') throw error;
      // It waits for a disk. As soon as it stops it is let go, and that is all that was wanted.
      if (!(await this.letGo(check))) throw error;
    }
  }

  /**
   * Waits until all threads that could not be stopped in time are let go.
   *
   * @returns false when that takes too long
   */
  async letGo(check: () => void = () => undefined): Promise<boolean> {
    for (const begin = performance.now(); this.#lingering.size > 0; ) {
      if (performance.now() - begin > MOST_LINGER_MS) return false;
      await later(LINGER_MS);
      check();
    }
    return true;
  }

  #passThrough(): void {
    const waiting = new Set<number>();
    const stopped = new Set<number>();
    const since = performance.now();
    try {
      for (const tid of this.#tids()) {
        if (this.#onlyWaits(tid) || !this.#seize(tid, true)) continue;
        waiting.add(tid);
        if (!this.#attempt(() => this.#interrupt(tid))) waiting.delete(tid);
      }
      this.#await(waiting, stopped, since, (tid) => {
        this.#requests.release(tid);
        stopped.delete(tid);
      });
    } finally {
      if (waiting.size > 0) this.#linger(waiting);
    }
  }

  /** Whether a thread is in a call that waits for somebody, and moves no data then. */
  #onlyWaits(tid: number): boolean {
    try {
      const text = readFileSync(this.#handle.path(`task/${tid}/syscall`), 'latin1');
      return this.#arch.onlyWaits(Number.parseInt(text, 10));
    } catch {
      return false;
    }
  }

  /** Told at once where a stop cannot come about. */
  #checkFrozen(): void {
    const freezer = freezerOf(this.#handle.path('.'));
    if (freezer?.version !== 1) return;
    const action = `stop process ${this.#handle.pid}`;
    throw new ProcessError('frozen', this.#handle.pid, explainFreezer(freezer), action);
  }

  #tids(): number[] {
    try {
      return this.#list();
    } catch (error) {
      throw this.#handle.problem(error, `stop process ${this.#handle.pid}`);
    }
  }

  /** False when the thread is gone. */
  #attempt(work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      if (error instanceof TraceeGone) return false;
      throw error;
    }
  }

  /** @throws TraceeGone, TraceError */
  #interrupt(tid: number): void {
    if (this.#arch.hiddenCalls !== undefined) this.#requests.note(tid, this.#handle.path(`task/${tid}`));
    this.#requests.request('PTRACE_INTERRUPT', PTRACE_INTERRUPT, tid, 0, 0);
  }

  /** Begins to trace a thread, which runs on. False for one that has ended. */
  #seize(tid: number, first: boolean): boolean {
    try {
      const options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;
      return this.#attempt(() => this.#requests.request('PTRACE_SEIZE', PTRACE_SEIZE, tid, 0, options));
    } catch (error) {
      if (!(error instanceof TraceError)) throw error;
      let status: ReturnType<typeof parseStatus>;
      try {
        status = parseStatus(readFileSync(this.#handle.path(`task/${tid}/status`)));
      } catch {
        return false;
      }
      if (status.state === 'Z' || status.state === 'X') return false;
      // Made by a thread that was traced already: it is, too. Or a stop before this one was given up, and it was not let go of yet. The
      // number is that of the tracer's process.
      const lingers = this.#lingering.delete(tid);
      if ((!first || lingers) && status.tracerPid === process.pid) return true;
      throw permissionProblem(this.#handle);
    }
  }

  /** Waits until all of `waiting` stand still, and are in `stopped`, or have ended. */
  #await(
    waiting: Set<number>,
    stopped: Set<number>,
    since: number,
    standing: (tid: number) => void = () => undefined,
  ): void {
    for (const begin = performance.now(); ; ) {
      for (const tid of waiting) {
        const status = this.#requests.look(tid);
        if (status === undefined) continue;
        if (status.kind === 'event-stop') {
          stopped.add(tid);
          standing(tid);
        } else if (status.kind !== 'exited' && status.kind !== 'killed') {
          // Signals that come first are passed on. Any stop takes the place of the one that was asked for: ask again.
          const signal = status.kind === 'signal-stop' ? status.signal : 0;
          if (
            this.#attempt(() => {
              this.#requests.request('PTRACE_CONT', PTRACE_CONT, tid, 0, signal);
              this.#interrupt(tid);
            })
          )
            continue;
        }
        waiting.delete(tid);
      }
      if (waiting.size === 0) return;
      const now = performance.now();
      if (now - since > this.#stopTimeoutMs) {
        const [tid] = waiting;
        const folder = this.#handle.path('.');
        const freezer = freezerOf(folder);
        throw new ProcessError(
          freezer === undefined ? 'busy' : 'frozen',
          this.#handle.pid,
          freezer === undefined
            ? `thread ${tid} did not stop within ${this.#stopTimeoutMs} ms: ${explainWaiting(folder, tid!)}`
            : explainFreezer(freezer),
          `stop process ${this.#handle.pid}`,
        );
      }
      // Most threads stop at once: sleeping would take longer than they do.
      if (now - begin > 0.2) sleep(now - begin > 20 ? 1 : 0.05);
    }
  }

  /**
   * Lets go of threads as soon as they stop, which only stopped ones can be let go; the end of this process does, too.
   * Those that they have made meanwhile are traced from birth.
   */
  #linger(threads: ReadonlySet<number>): void {
    const waiting = this.#lingering;
    for (const tid of threads) waiting.add(tid);
    const look = () => {
      this.#addTraced(waiting);
      for (const tid of waiting) {
        const status = this.#requests.look(tid);
        if (status === undefined) {
          if (!this.#attempt(() => this.#interrupt(tid))) waiting.delete(tid);
          continue;
        }
        waiting.delete(tid);
        if (status.kind === 'exited' || status.kind === 'killed') continue;
        this.#requests.release(tid, status.kind === 'signal-stop' ? status.signal : 0);
      }
      return waiting.size === 0;
    };
    if (look() && look()) return;
    const timer = setInterval(() => {
      if (look()) clearInterval(timer);
    }, LINGER_MS);
    timer.unref();
  }

  /** Adds the threads that this process traces. */
  #addTraced(tids: Set<number>): void {
    let list: number[];
    try {
      list = this.#list();
    } catch {
      return;
    }
    for (const tid of list) {
      try {
        const status = parseStatus(readFileSync(this.#handle.path(`task/${tid}/status`)));
        if (status.tracerPid === process.pid) tids.add(tid);
      } catch {
        // It has ended.
      }
    }
  }
}

/**
 * Stops all threads of a process until the result is disposed. It needs the permissions of a debugger. If this process
 * ends meanwhile, even by SIGKILL, the other one runs on.
 *
 * @throws ProcessError for a process that cannot be stopped; `reason` and `hint` say why
 * @example
 * ```ts
 * import { spawn } from 'node:child_process';
 * import { once } from 'node:events';
 * import { ProcessHandle, stopProcess } from 'pagemap-scan/live';
 * const child = spawn('sleep', ['60']);
 * await once(child, 'spawn');
 * {
 *   using handle = new ProcessHandle(child.pid!);
 *   using stopped = stopProcess(handle);
 *   console.assert(stopped.tids.length === 1);
 * }
 * child.kill();
 * ```
 */
export function stopProcess(handle: ProcessHandle, options: StopOptions = {}): StoppedProcess {
  return new ProcessStopper(handle, options).stop();
}
