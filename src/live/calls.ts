/** System calls that block, and what a stop does to them. Architectures number them differently; the kernel treats them alike. */
import { parseTaskSyscall, type SleepingTask } from '../proc/internal.js';

/**
 * Calls that end with EINTR when their thread is stopped and goes on, even without a signal (man signal(7), and
 * measured). All others that can block are restarted by the kernel.
 */
const ENDED_BY_STOP = [
  'accept',
  'sendto',
  'recvfrom',
  'sendmsg',
  'recvmsg',
  'connect',
  'semop',
  'rt_sigtimedwait',
  'io_getevents',
  'semtimedop',
  'epoll_wait',
  'epoll_pwait',
  'accept4',
  'recvmmsg',
  'sendmmsg',
  'io_pgetevents',
  'io_uring_enter',
  'epoll_pwait2',
] as const;

/** Calls that give a short count when they are stopped halfway. */
const MAY_BE_CUT_SHORT = [
  'write',
  'pwrite64',
  'writev',
  'sendfile',
  'sendto',
  'sendmsg',
  'splice',
  'tee',
  'vmsplice',
  'pwritev',
  'copy_file_range',
  'pwritev2',
] as const;

/** Calls in which a thread waits for others, for time to pass or for a descriptor to be ready. */
const ONLY_WAITS = [
  'poll',
  'select',
  'pause',
  'nanosleep',
  'wait4',
  'rt_sigtimedwait',
  'rt_sigsuspend',
  'futex',
  'clock_nanosleep',
  'epoll_wait',
  'waitid',
  'pselect6',
  'ppoll',
  'epoll_pwait',
  'epoll_pwait2',
  'futex_waitv',
  'futex_wait',
] as const;

type BlockingCall =
  | (typeof ENDED_BY_STOP)[number]
  | (typeof MAY_BE_CUT_SHORT)[number]
  | (typeof ONLY_WAITS)[number];

/** The numbers of an architecture; undefined for a call that it does not have. */
export type BlockingCallNumbers = Readonly<Record<BlockingCall, number | undefined>>;

/** The same calls as sets of an architecture's numbers. */
export interface BlockingCalls {
  readonly endedByStop: ReadonlySet<number>;
  readonly mayBeCutShort: ReadonlySet<number>;
  readonly onlyWaits: ReadonlySet<number>;
}

export function blockingCalls(numbers: BlockingCallNumbers): BlockingCalls {
  const setOf = (calls: readonly BlockingCall[]) =>
    new Set(calls.map((call) => numbers[call]).filter((number) => number !== undefined));
  return {
    endedByStop: setOf(ENDED_BY_STOP),
    mayBeCutShort: setOf(MAY_BE_CUT_SHORT),
    onlyWaits: setOf(ONLY_WAITS),
  };
}

/** How much a stop disturbs a thread that is in the call: 0 not at all, 1 its timeout begins anew, 2 it may end early. */
export function stopRankOf({ endedByStop, mayBeCutShort }: BlockingCalls, number: number): 0 | 1 | 2 {
  if (mayBeCutShort.has(number)) return 2;
  return endedByStop.has(number) ? 1 : 0;
}

/** A call that was noted before its thread was stopped. */
export interface NotedCall {
  /** To be asked once the thread is stopped: the call that it slept in; undefined when it was another one by then, as far as that shows. */
  readonly confirmed: SleepingTask | undefined;
}

/** The call that a thread sleeps in, by its /proc/TID/syscall; undefined for one that runs, or sleeps outside of a call. */
export function parseCall(text: string): SleepingTask | undefined {
  const task = parseTaskSyscall(text);
  return task !== undefined && task.number >= 0 ? task : undefined;
}
