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
   */
  restartIfEndedByStop(registers: BigUint64Array): boolean;
  /** How much a stop disturbs a thread that waits in this call: 0 not at all, 1 its timeout begins anew, 2 it may end early. */
  stopRank(syscallNumber: number): 0 | 1 | 2;
  /** Whether a thread that sleeps in this call only waits for somebody: nothing is read or written for it then. */
  onlyWaits(syscallNumber: number): boolean;
}
