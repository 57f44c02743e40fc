/** ptrace(2) requests, options and events (linux/ptrace.h), and what waitpid(2) reports. */
export const PTRACE_PEEKTEXT = 1;
export const PTRACE_CONT = 7;
export const PTRACE_SYSCALL = 24;
export const PTRACE_GETREGSET = 0x4204;
export const PTRACE_SETREGSET = 0x4205;
export const PTRACE_GETSIGMASK = 0x420a;
export const PTRACE_SETSIGMASK = 0x420b;
/** Where the thread's restartable-sequence area is. Linux 5.13. */
export const PTRACE_GET_RSEQ_CONFIGURATION = 0x420f;
/** Whether the thread catches its own system calls (as Wine does). Linux 6.4. */
export const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG = 0x4211;

/** Marks system call stops, so that they cannot be taken for a SIGTRAP. */
export const PTRACE_O_TRACESYSGOOD = 1;
/** Threads that a traced one makes are traced, too. */
export const PTRACE_O_TRACECLONE = 1 << 3;
/** Seccomp filters do not run while traced; takes CAP_SYS_ADMIN. */
export const PTRACE_O_SUSPEND_SECCOMP = 1 << 21;

/** The stop that PTRACE_INTERRUPT, or a group stop, ends in. */
export const PTRACE_EVENT_STOP = 128;

/** The register set of general registers. */
export const NT_PRSTATUS = 1;
/** Of arm64: the number of the system call, vectors, vectors in streaming mode. */
export const NT_ARM_SYSTEM_CALL = 0x404;
export const NT_ARM_SVE = 0x405;
export const NT_ARM_SSVE = 0x40b;

export const WNOHANG = 1;
export const WSTOPPED = 2;
/** Waits for children of every kind, traced threads included. */
// biome-ignore lint/style/useNamingConvention: the kernel spells it so
export const __WALL = 0x40000000;

export const SIGTRAP = 5;

/** A status of waitpid(2), taken apart. */
export type WaitStatus =
  | { readonly kind: 'exited' | 'killed' }
  /** A stop by PTRACE_INTERRUPT or by a stop signal. */
  | { readonly kind: 'event-stop' }
  | { readonly kind: 'syscall-stop' }
  /** On its way to get `signal`: the tracer passes it on, or it is lost. */
  | { readonly kind: 'signal-stop'; readonly signal: number }
  | { readonly kind: 'other-event' };

/**
 * What a waitpid status means for a thread that was seized with TRACESYSGOOD.
 *
 *      31       24 23        16 15          8 7       0
 *     +-----------+------------+-------------+---------+
 *     |     0     |   event    |  signal     |  0x7f   |   stopped
 *     +-----------+------------+-------------+---------+
 */
export function parseWaitStatus(status: number): WaitStatus {
  if ((status & 0x7f) === 0) return { kind: 'exited' };
  if ((status & 0xff) !== 0x7f) return { kind: 'killed' };
  const signal = (status >> 8) & 0xff;
  const event = (status >> 16) & 0xff;
  if (event === PTRACE_EVENT_STOP) return { kind: 'event-stop' };
  if (event !== 0) return { kind: 'other-event' };
  if (signal === (SIGTRAP | 0x80)) return { kind: 'syscall-stop' };
  return { kind: 'signal-stop', signal };
}
