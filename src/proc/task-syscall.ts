/** /proc/PID/task/TID/syscall (man proc_pid_syscall). */

/** A thread that does not run. */
export interface SleepingTask {
  /** The system call that it sleeps in, -1 outside of one. */
  readonly number: number;
  /** Six registers of arguments; a call may use fewer of them. None outside of a call. */
  readonly args: readonly bigint[];
  readonly stackPointer: bigint;
  /** Address of the next instruction: the one behind the call. */
  readonly instructionPointer: bigint;
}

const LINE = /^(-?\d+)((?: 0x[0-9a-f]+)*) (0x[0-9a-f]+) (0x[0-9a-f]+)\s*$/;

/** Undefined for a thread that runs, and for what is no such line. */
export function parseTaskSyscall(text: string): SleepingTask | undefined {
  const [, number, args, stackPointer, instructionPointer] = LINE.exec(text) ?? [];
  if (number === undefined) return undefined;
  return {
    number: Number(number),
    args: args!.split(' ').slice(1).map(BigInt),
    stackPointer: BigInt(stackPointer!),
    instructionPointer: BigInt(instructionPointer!),
  };
}
