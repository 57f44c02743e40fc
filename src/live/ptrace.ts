/**
 * Running a system call in another process's thread, so that the thread does not notice (man ptrace(2)).
 *
 * All requests must come from the thread that seized, and the tracer must not die in between: the kernel would let the
 * target run on with our registers. Hence a program of its own does it, `attacher.ts`.
 */

import { readFileSync } from 'node:fs';
import type { ArchitectureName } from '../abi/internal.js';
import {
  __WALL,
  errnoName,
  NT_PRSTATUS,
  PTRACE_CONT,
  PTRACE_DETACH,
  PTRACE_GET_RSEQ_CONFIGURATION,
  PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG,
  PTRACE_GETREGSET,
  PTRACE_GETSIGMASK,
  PTRACE_INTERRUPT,
  PTRACE_O_TRACESYSGOOD,
  PTRACE_PEEKTEXT,
  PTRACE_SEIZE,
  PTRACE_SETREGSET,
  PTRACE_SETSIGMASK,
  PTRACE_SYSCALL,
  parseWaitStatus,
  type WaitStatus,
  WNOHANG,
} from '../abi/internal.js';
import { arm64 } from './arch-arm64.js';
import { x64 } from './arch-x64.js';
import type { HiddenCalls, TracedArchitecture } from './architecture.js';
import { type Libc, libc } from './libc.js';
import { architecture } from './machine.js';
import { WaitingCall } from './waiting-call.js';

const ARCHITECTURES: Readonly<Record<ArchitectureName, TracedArchitecture>> = { x64, arm64 };

/** That of this process; undefined where nothing can be run in other processes. */
export function tracedArchitecture(): TracedArchitecture | undefined {
  const name = architecture();
  return name && ARCHITECTURES[name];
}

/** The thread, or its process, ended while it was traced. Nothing is left to restore. */
export class TraceeGone extends Error {
  override readonly name = 'TraceeGone';
}

/** A thread that was told to run on, and did not. */
export class NotResumed extends Error {
  override readonly name = 'NotResumed';
}

/** A ptrace request that failed. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
  readonly request: string;
  readonly code: string;

  constructor(request: string, errno: number) {
    super(`Cannot trace: ${request} gave ${errnoName(errno)}`);
    this.request = request;
    this.code = errnoName(errno);
  }
}

/** As long as a thread takes to run on at the most, milliseconds, on a machine that is busy. */
const MOST_RESUME_MS = 500;

/** So long a thread that runs is waited for to sleep, where its stop could end a call that is not known, milliseconds. */
const MOST_RUNNING_MS = 20;

const ESRCH = 3;
const ECHILD = 10;
const EINTR = 4;

/** All signals blocked; the kernel leaves SIGKILL and SIGSTOP out by itself. */
const ALL_SIGNALS = 0xffffffffffffffffn;

/** `struct ptrace_rseq_configuration`: u64 rseq_abi_pointer, then u32 size, signature, flags, pad. */
const RSEQ_CONFIGURATION_BYTES = 24;
/** In `struct rseq`: u64 rseq_cs, a pointer to a `struct rseq_cs`. */
const RSEQ_CS_OFFSET = 8;

/** Nobody changes it: to wait for that is to sleep. */
const SLEEP_WORD = new Int32Array(new SharedArrayBuffer(4));

/** Blocks this thread for `durationMs`, milliseconds. */
export function sleep(durationMs: number): void {
  Atomics.wait(SLEEP_WORD, 0, 0, durationMs);
}

/**
 * One thread of another process, seized. Its buffers are made beforehand, so that between stop and detach nothing is
 * allocated that could be.
 */
export class TracedThread {
  readonly tid: number;
  readonly #libc: Libc;
  readonly #arch: TracedArchitecture;
  readonly #saved: BigUint64Array;
  readonly #work: BigUint64Array;
  readonly #savedAddress: number;
  readonly #workAddress: number;
  readonly #mask = new BigUint64Array(2);
  readonly #maskAddress: number;
  readonly #iovec = new BigUint64Array(2);
  readonly #iovecAddress: number;
  readonly #status = new Int32Array(2);
  readonly #statusAddress: number;
  readonly #scratch = new BigUint64Array(8);
  readonly #scratchAddress: number;
  readonly #remote = new BigUint64Array(4);
  readonly #remoteAddress: number;
  readonly #vectors: readonly {
    readonly type: number;
    readonly content: Uint8Array<ArrayBuffer>;
    bytes: number;
  }[];
  #waitingCall: WaitingCall | undefined;
  /** In the saved registers it stands before its own call, and nothing is kept of that outside of them. */
  #isSettled = false;

  constructor(tid: number, arch: TracedArchitecture) {
    this.tid = tid;
    this.#libc = libc();
    this.#arch = arch;
    const { address } = this.#libc;
    this.#saved = new BigUint64Array(arch.registersBytes / 8);
    this.#work = new BigUint64Array(arch.registersBytes / 8);
    this.#savedAddress = address(this.#saved.buffer as ArrayBuffer);
    this.#workAddress = address(this.#work.buffer as ArrayBuffer);
    this.#maskAddress = address(this.#mask.buffer as ArrayBuffer);
    this.#iovecAddress = address(this.#iovec.buffer as ArrayBuffer);
    this.#statusAddress = address(this.#status.buffer as ArrayBuffer);
    this.#scratchAddress = address(this.#scratch.buffer as ArrayBuffer);
    this.#remoteAddress = address(this.#remote.buffer as ArrayBuffer);
    this.#mask[1] = ALL_SIGNALS;
    this.#vectors = (arch.hiddenCalls?.vectorSets ?? []).map(({ type, mostBytes }) => ({
      type,
      content: new Uint8Array(mostBytes),
      bytes: 0,
    }));
  }

  #request(name: string, request: number, address: number, data: number): number {
    const { syscall, numbers, errno } = this.#libc;
    const result = syscall(numbers.ptrace, request, this.tid, address, data, 0, 0);
    if (result >= 0) return result;
    // ESRCH from a thread that is stopped: it was killed.
    if (errno() === ESRCH) throw new TraceeGone();
    throw new TraceError(name, errno());
  }

  /** Begins to trace. The thread runs on. */
  seize(options: number): void {
    this.#request('PTRACE_SEIZE', PTRACE_SEIZE, 0, options | PTRACE_O_TRACESYSGOOD);
  }

  #wait(flags: number): WaitStatus | undefined {
    const { syscall, numbers, errno } = this.#libc;
    for (;;) {
      const tid = syscall(numbers.wait4, this.tid, this.#statusAddress, __WALL | flags, 0, 0, 0);
      if (tid === this.tid) {
        const status = parseWaitStatus(this.#status[0]!);
        if (status.kind === 'exited' || status.kind === 'killed') throw new TraceeGone();
        return status;
      }
      if (tid === 0) return undefined;
      if (errno() === ECHILD) throw new TraceeGone();
      if (errno() !== EINTR) throw new TraceError('wait4', errno());
    }
  }

  /**
   * Stops it, in its own time: signals that come first are passed on. False when it did not stop within
   * `timeoutMs` (it waits for a disk, or for its vfork child): then only the end of this process stops tracing it.
   */
  interrupt(timeoutMs: number): boolean {
    if (this.#arch.hiddenCalls !== undefined) this.#noteCall();
    this.#request('PTRACE_INTERRUPT', PTRACE_INTERRUPT, 0, 0);
    const start = performance.now();
    for (;;) {
      const status = this.#wait(WNOHANG);
      if (status?.kind === 'event-stop') return true;
      if (status !== undefined) {
        this.#request('PTRACE_CONT', PTRACE_CONT, 0, status.kind === 'signal-stop' ? status.signal : 0);
        // Any stop takes the place of the one that was asked for: ask again.
        this.#request('PTRACE_INTERRUPT', PTRACE_INTERRUPT, 0, 0);
        continue;
      }
      const elapsed = performance.now() - start;
      if (elapsed > timeoutMs) return false;
      // Most threads stop at once: sleeping would take longer than they do.
      if (elapsed > 0.2) sleep(elapsed > 20 ? 1 : 0.05);
    }
  }

  /** Notes what it waits in; of a thread that runs, it waits a little for it to sleep. */
  #noteCall(): void {
    for (const begin = performance.now(); ; ) {
      this.#waitingCall = new WaitingCall(this.#folder);
      if (this.#waitingCall.isAsleep || performance.now() - begin > MOST_RUNNING_MS) return;
      sleep(0.05);
    }
  }

  /** Lets it run on after a stop. */
  continue(): void {
    this.#request('PTRACE_CONT', PTRACE_CONT, 0, 0);
  }

  /** Ends tracing; the thread must be stopped. */
  detach(): void {
    this.#request('PTRACE_DETACH', PTRACE_DETACH, 0, 0);
  }

  /** A thread that is traced cannot end unnoticed: its number is not another's. */
  get #folder(): string {
    return `/proc/${this.tid}`;
  }

  /** Reads the registers, and keeps them to be restored. False when the thread does not run code of this architecture. */
  save(): boolean {
    const length = this.#regset('PTRACE_GETREGSET', PTRACE_GETREGSET, this.#savedAddress);
    if (length !== this.#arch.registersBytes || !this.#arch.isNative(this.#saved)) return false;
    // What was noted of its call holds for this stop only.
    if (this.#arch.hiddenCalls !== undefined)
      this.#isSettled = this.#arch.restartIfEndedByStop(this.#saved, this.#waitingCall);
    return true;
  }

  #regset(
    name: string,
    request: number,
    address: number,
    type = NT_PRSTATUS,
    bytes = this.#arch.registersBytes,
  ): number {
    this.#iovec[0] = BigInt(address);
    this.#iovec[1] = BigInt(bytes);
    this.#request(name, request, type, this.#iovecAddress);
    return Number(this.#iovec[1]);
  }

  /** Reads the registers that a call changes besides the general ones. */
  #saveVectors(hidden: HiddenCalls): void {
    for (const set of this.#vectors) {
      try {
        const address = this.#libc.address(set.content.buffer);
        const read = this.#regset(
          'PTRACE_GETREGSET',
          PTRACE_GETREGSET,
          address,
          set.type,
          set.content.length,
        );
        set.bytes = hidden.vectorBytes(set.content.subarray(0, read));
      } catch (error) {
        // This processor, or this kernel, does not have them.
        if (!(error instanceof TraceError)) throw error;
        set.bytes = 0;
      }
    }
  }

  #restoreVectors(): void {
    const used = this.#vectors.find(({ bytes }) => bytes > 0);
    if (used === undefined) return;
    const address = this.#libc.address(used.content.buffer);
    this.#regset('PTRACE_SETREGSET', PTRACE_SETREGSET, address, used.type, used.bytes);
  }

  /** Whether the instruction that the thread is at is a system call. */
  #isAtCall(hidden: HiddenCalls): boolean {
    try {
      const at = this.#arch.instructionPointer(this.#saved);
      this.#request('PTRACE_PEEKTEXT', PTRACE_PEEKTEXT, at, this.#scratchAddress);
      return hidden.isSyscallInstruction(Number(this.#scratch[0]! & 0xffffffffn));
    } catch (error) {
      if (error instanceof TraceError) return false;
      throw error;
    }
  }

  /**
   * Makes a stopped thread ready for `run`, once its signals are blocked. Where the kernel remembers outside of the registers how an
   * interrupted call goes on, the thread goes to the entry of that call, and skips it there: what is to be done again is then in the
   * registers that are kept.
   *
   * @throws NotResumed as `run`
   */
  settle(): void {
    const hidden = this.#arch.hiddenCalls;
    if (hidden === undefined) return;
    this.#saveVectors(hidden);
    if (this.#isSettled || !this.#isAtCall(hidden)) return;
    if (!this.#resumeUntil(PTRACE_SYSCALL, 'syscall-stop', MOST_RESUME_MS) && !this.#takeBack())
      throw new NotResumed();
    this.#regset('PTRACE_GETREGSET', PTRACE_GETREGSET, this.#workAddress);
    hidden.takeCall(this.#saved, this.#work);
    const number = new Int32Array(this.#scratch.buffer, 0, 1);
    number[0] = -1;
    this.#regset('PTRACE_SETREGSET', PTRACE_SETREGSET, this.#scratchAddress, hidden.syscallSet, 4);
    this.#request('PTRACE_INTERRUPT', PTRACE_INTERRUPT, 0, 0);
    this.#resumeUntil(PTRACE_CONT, 'event-stop', Number.POSITIVE_INFINITY);
    this.#isSettled = true;
  }

  /** Whether a signal waits for it that a handler of its own will get. */
  #expectsHandler(): boolean {
    const status = readFileSync(`${this.#folder}/status`, 'latin1');
    const setOf = (name: string) =>
      BigInt(`0x${new RegExp(`^${name}:\\s+(\\w+)`, 'm').exec(status)?.[1] ?? 0}`);
    return ((setOf('SigPnd') | setOf('ShdPnd')) & setOf('SigCgt') & ~this.#mask[0]!) !== 0n;
  }

  /** Has it make its own call again, and stops it there: as it was found, for a signal to end. */
  #reenter(): void {
    if (!this.#resumeUntil(PTRACE_SYSCALL, 'syscall-stop', MOST_RESUME_MS) && !this.#takeBack()) return;
    this.#request('PTRACE_INTERRUPT', PTRACE_INTERRUPT, 0, 0);
    this.#resumeUntil(PTRACE_CONT, 'event-stop', Number.POSITIVE_INFINITY);
  }

  /** Reads `words` u64 of its memory at `address` into the scratch words; false where that cannot be read. */
  #peek(address: number, words: number): boolean {
    const { syscall, numbers } = this.#libc;
    this.#remote[0] = BigInt(this.#scratchAddress);
    this.#remote[1] = BigInt(words * 8);
    this.#remote[2] = BigInt(address);
    this.#remote[3] = BigInt(words * 8);
    const at = this.#remoteAddress;
    return syscall(numbers.process_vm_readv, this.tid, at, 1, at + 16, 1, 0) === words * 8;
  }

  /**
   * True when it stands in a restartable sequence (man rseq(2)): the kernel aborts those of a thread that was stopped, but
   * forgets to when it finds the thread elsewhere. It has to leave it first.
   */
  inRestartableSequence(): boolean {
    try {
      const request = PTRACE_GET_RSEQ_CONFIGURATION;
      this.#request('rseq', request, RSEQ_CONFIGURATION_BYTES, this.#scratchAddress);
    } catch (error) {
      // A kernel without it (before 5.13, or built so).
      if (error instanceof TraceError) return false;
      throw error;
    }
    const area = Number(this.#scratch[0]!);
    if (area === 0 || !this.#peek(area + RSEQ_CS_OFFSET, 1)) return false;
    const descriptor = Number(this.#scratch[0]!);
    // struct rseq_cs: u32 version, u32 flags, u64 start_ip, u64 post_commit_offset, u64 abort_ip.
    if (descriptor === 0 || !this.#peek(descriptor, 4)) return false;
    const start = Number(this.#scratch[1]!);
    const length = Number(this.#scratch[2]!);
    const at = this.#arch.instructionPointer(this.#saved);
    return at >= start && at < start + length;
  }

  /** True when it has asked for its own system calls to be reflected as signals: ours would be, too. */
  catchesSyscalls(): boolean {
    try {
      // struct ptrace_sud_config: u64 mode, selector, offset, len.
      this.#request('dispatch', PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, 32, this.#scratchAddress);
    } catch (error) {
      if (error instanceof TraceError) return false;
      throw error;
    }
    return this.#scratch[0] !== 0n;
  }

  /** Keeps the signal mask to be restored, and blocks all signals that can be: no handler runs with our registers. */
  blockSignals(): void {
    this.#request('PTRACE_GETSIGMASK', PTRACE_GETSIGMASK, 8, this.#maskAddress);
    this.#request('PTRACE_SETSIGMASK', PTRACE_SETSIGMASK, 8, this.#maskAddress + 8);
  }

  /**
   * Resumes it by `request` until it comes to a stop of kind `until`.
   *
   * @returns false when that took longer than `timeoutMs`: it runs, or will
   */
  #resumeUntil(request: number, until: WaitStatus['kind'], timeoutMs: number): boolean {
    let signal = 0;
    for (;;) {
      this.#request('resume', request, 0, signal);
      const status = this.#waitFor(timeoutMs);
      if (status === undefined) return false;
      if (status.kind === until) return true;
      // SIGSTOP cannot be blocked: passed on, it stops the process as soon as we are done, and stops it here on the way.
      signal = status.kind === 'signal-stop' ? status.signal : 0;
    }
  }

  #waitFor(timeoutMs: number): WaitStatus | undefined {
    if (timeoutMs === Number.POSITIVE_INFINITY) return this.#wait(0);
    for (const begin = performance.now(); ; ) {
      const status = this.#wait(WNOHANG);
      const elapsed = performance.now() - begin;
      if (status !== undefined || elapsed > timeoutMs) return status;
      if (elapsed > 0.2) sleep(elapsed > 20 ? 1 : 0.05);
    }
  }

  /** Gets a thread to stop that was resumed and came nowhere; true when it has come to the call's entry after all. */
  #takeBack(): boolean {
    this.#request('PTRACE_INTERRUPT', PTRACE_INTERRUPT, 0, 0);
    for (;;) {
      const { kind } = this.#wait(0)!;
      if (kind === 'event-stop') return false;
      if (kind === 'syscall-stop') return true;
      this.#request('resume', PTRACE_SYSCALL, 0, 0);
    }
  }

  /**
   * Runs a system call in the stopped thread; afterwards the thread is stopped again, with other registers than it had:
   * `restore` is due.
   *
   * @param instruction address of a system call instruction in its memory
   * @returns what the call returned; negative errno when it failed
   * @throws NotResumed when it does not run: its control group was frozen meanwhile. It is stopped, and has done nothing
   */
  run(instruction: number, number: number, args: readonly number[]): number {
    this.#work.set(this.#saved);
    this.#arch.prepareSyscall(this.#work, instruction, number, args);
    this.#regset('PTRACE_SETREGSET', PTRACE_SETREGSET, this.#workAddress);
    // Not by single steps: their SIGTRAP is forced upon the thread, and where it ignores or blocks that signal, the kernel
    // resets what it does with it.
    if (!this.#resumeUntil(PTRACE_SYSCALL, 'syscall-stop', MOST_RESUME_MS) && !this.#takeBack())
      throw new NotResumed();
    // At the call's entry. To be stopped when it is done, and not at its exit: a thread that leaves from there does not get
    // the kernel to look whether an interrupted call has to be restarted.
    this.#request('PTRACE_INTERRUPT', PTRACE_INTERRUPT, 0, 0);
    this.#resumeUntil(PTRACE_CONT, 'event-stop', Number.POSITIVE_INFINITY);
    this.#regset('PTRACE_GETREGSET', PTRACE_GETREGSET, this.#workAddress);
    return this.#arch.syscallResult(this.#work);
  }

  /** Gives it back its registers and signal mask. */
  restore(): void {
    if (this.#arch.hiddenCalls === undefined) {
      this.#request('PTRACE_SETSIGMASK', PTRACE_SETSIGMASK, 8, this.#maskAddress);
      this.restartEndedCall();
      this.#regset('PTRACE_SETREGSET', PTRACE_SETREGSET, this.#savedAddress);
      return;
    }
    this.#restoreVectors();
    this.#regset('PTRACE_SETREGSET', PTRACE_SETREGSET, this.#savedAddress);
    // A handler that ran now would find the thread before its call, which would then begin instead of ending with EINTR.
    if (this.#isSettled && this.#expectsHandler()) this.#reenter();
    this.#request('PTRACE_SETSIGMASK', PTRACE_SETSIGMASK, 8, this.#maskAddress);
  }

  /** In the saved registers only: a waiting call that our stop has ended is to be restarted. True if there was one. */
  restartEndedCall(): boolean {
    return this.#isSettled || this.#arch.restartIfEndedByStop(this.#saved);
  }

  /** Writes the saved registers back, for a thread in which nothing was run. */
  writeBack(): void {
    this.#regset('PTRACE_SETREGSET', PTRACE_SETREGSET, this.#savedAddress);
  }
}
