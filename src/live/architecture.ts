import type { NotedCall } from './calls.js';

/** What differs between the architectures of threads that are traced. */
export interface TracedArchitecture {
  readonly name: string;
  /** In the header of its programs: 2 is 64-bit. */
  readonly elfClass: number;
  readonly elfMachine: number;
  readonly registersBytes: number;
  /** Offset of the first system call instruction in `code`, -1 when there is none. */
  findSyscallInstruction(code: Uint8Array): number;
  /** Whether these are the registers of a thread that runs code of this architecture. */
  isNative(registers: BigUint64Array): boolean;
  instructionPointer(registers: BigUint64Array): number;
  /** Changes registers so that the thread runs a system call next, and that nothing is restarted. */
  prepareSyscall(
    registers: BigUint64Array,
    instruction: number,
    number: number,
    args: readonly number[],
  ): void;
  syscallResult(registers: BigUint64Array): number;
  /**
   * Where the stop has ended a waiting call with EINTR, changes registers so that it is restarted instead (unless a
   * signal handler runs, which ends it with EINTR as it would have). True if it did.
   *
   * @param before what the thread slept in right before it was stopped, where the registers do not tell (`hiddenCalls`)
   */
  restartIfEndedByStop(registers: BigUint64Array, before?: NotedCall): boolean;
  /** How much a stop disturbs a thread that waits in this call: 0 not at all, 1 its timeout begins anew, 2 it may end early. */
  stopRank(syscallNumber: number): 0 | 1 | 2;
  /** The same of a thread that runs: between 1 and 2 where it is not known what its stop will end. */
  readonly runningRank: 0 | 1.5;
  /** Whether a thread that sleeps in this call only waits for somebody: nothing is read or written for it then. */
  onlyWaits(syscallNumber: number): boolean;
  /** Of an architecture whose registers do not show, at a stop, what call the stop has interrupted, and how it goes on. */
  readonly hiddenCalls: HiddenCalls | undefined;
}

/** A register set that a system call changes, and PTRACE_GETREGSET gives. */
export interface VectorSet {
  /** `NT_*` */
  readonly type: number;
  readonly mostBytes: number;
}

/**
 * What it takes to run a call in a thread whose own call's restart is hidden: the kernel remembers it outside of the registers, and
 * forgets it when another call is run. So the thread goes to the entry of its own call first, where the registers show what that is
 * by now, and skips it there.
 */
export interface HiddenCalls {
  /** Whether these four bytes are a system call instruction. */
  isSyscallInstruction(word: number): boolean;
  /** The register set with the number of the call that the thread is at the entry of, an i32; -1 skips it. */
  readonly syscallSet: number;
  /** Changes registers of a thread that stands before its call so that it makes the call that it was found at the entry of. */
  takeCall(registers: BigUint64Array, atEntry: BigUint64Array): void;
  /**
   * Register sets that a call changes, besides the general ones. Of those that have content, the first is the one that the thread uses:
   * to write it makes it so again.
   */
  readonly vectorSets: readonly VectorSet[];
  /** How many bytes of a vector set, as it was read, are to be written back; 0 for one that is not in use. */
  vectorBytes(content: Uint8Array): number;
}
