/**
 * A program, started by `attachUserfaultfd` for one attach: makes a userfaultfd in the target and keeps a descriptor of it
 * until its starter has taken it.
 *
 * It is a process of its own, in a session of its own, so that nothing that ends the starter (SIGKILL, Ctrl-C, a crash)
 * ends it halfway: between changing and restoring the target's registers, the kernel would let the target run on with
 * ours. When it ends, all it holds is closed.
 *
 * Descriptors: 0 orders (one byte each; their end is the end), 1 the answers as lines of JSON, 3 the target's pidfd, 4 the target's
 * /proc folder. Both stand for that very process, whatever becomes of its number. Arguments: the process number, the
 * patience in milliseconds, the starter's process number, how long to wait for a good moment in milliseconds.
 */
import { closeSync, constants, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs';
import { setPriority } from 'node:os';
import { codeOf, errnoName, PTRACE_O_SUSPEND_SECCOMP, uffd } from '../abi/internal.js';
import { parseMaps, parseStatStartTime, parseStatus } from '../proc/index.js';
import type { TracedArchitecture } from './architecture.js';
import { explainFreezer, explainWaiting, freezerOf } from './frozen.js';
import { libc } from './libc.js';
import { NotResumed, TracedThread, TraceError, TraceeGone, tracedArchitecture } from './ptrace.js';

const PIDFD = 3;
const FOLDER = '/proc/self/fd/4';

/** Why it did not work; `attach.ts` makes sentences of it. */
export type AttachFailure =
  | 'ended'
  | 'busy'
  | 'frozen'
  | 'architecture'
  | 'seccomp'
  | 'dispatch'
  | 'not-permitted'
  | 'no-instruction'
  | 'failed';

export type AttachReply =
  | {
      readonly ok: true;
      /** The userfaultfd's number in this process. */
      readonly fd: number;
      readonly tid: number;
      /** From its stop to the detach. */
      readonly stopMs: number;
    }
  | { readonly ok: false; readonly failure: AttachFailure; readonly detail: string };

class Failure extends Error {
  readonly failure: AttachFailure;

  constructor(failure: AttachFailure, detail: string) {
    super(detail);
    this.failure = failure;
  }
}

function text(path: string): string | undefined {
  try {
    return readFileSync(`${FOLDER}/${path}`, 'utf8');
  } catch {
    return undefined;
  }
}

/** The folder of a thread that is alive: one that has ended shows no memory. */
function livingFolder(): string {
  const isAlive = (tid: string) => !/^State:\s+[ZX]/m.test(text(`task/${tid}/status`) ?? 'State: X');
  const tid = readdirSync(`${FOLDER}/task`).find(isAlive);
  if (tid === undefined) throw new TraceeGone();
  return `${FOLDER}/task/${tid}`;
}

/** The address of a system call instruction: in the vDSO, else in any code that is mapped from a file. */
function findInstruction(arch: TracedArchitecture): number {
  const folder = livingFolder();
  const mappings = parseMaps(readFileSync(`${folder}/maps`));
  const code = mappings.filter(
    ({ perms, name }) => perms.includes('x') && (name === '[vdso]' || name[0] === '/'),
  );
  code.sort((a, b) => Number(b.name === '[vdso]') - Number(a.name === '[vdso]'));
  const memory = openSync(`${folder}/mem`, constants.O_RDONLY);
  try {
    for (const { start, end } of code) {
      try {
        const bytes = new Uint8Array(Math.min(4 << 20, end - start));
        const count = readSync(memory, bytes, 0, bytes.length, start);
        const offset = arch.findSyscallInstruction(bytes.subarray(0, count));
        if (offset >= 0) return start + offset;
      } catch {
        // Unmapped meanwhile, or pages of a file that cannot be read.
      }
    }
  } finally {
    closeSync(memory);
  }
  throw new Failure('no-instruction', 'no system call instruction was found in its code');
}

interface Candidate {
  readonly tid: number;
  readonly rank: number;
  readonly seccomp: number;
}

/** Among the flags of /proc/PID/stat. */
const PF_IO_WORKER = 0x10;

/** Whether it is a thread that the kernel made for io_uring: it never runs the program's code, nor a system call for us. */
function isKernelMade(tid: number): boolean {
  try {
    const { flags } = parseStatStartTime(readFileSync(`${FOLDER}/task/${tid}/stat`));
    return (flags & PF_IO_WORKER) !== 0;
  } catch {
    // It has ended since.
    return false;
  }
}

/** How much a stop disturbs a thread that is in that call: NaN when it runs, negative when it sleeps outside of one. */
function rankOf(arch: TracedArchitecture, number: number): number {
  if (Number.isNaN(number)) return arch.runningRank;
  return number < 0 ? 0 : arch.stopRank(number);
}

/** The thread that a stop disturbs least, the main one among equals. */
function chooseThread(arch: TracedArchitecture, pid: number): Candidate {
  let best: Candidate | undefined;
  const tids = readdirSync(`${FOLDER}/task`).map(Number);
  // Two hundred threads are looked at in some 10 ms; more are not worth it.
  const some = [pid, ...tids.filter((tid) => tid !== pid)].slice(0, 256);
  for (const tid of some) {
    const status = text(`task/${tid}/status`);
    if (status === undefined) continue;
    const { state, seccomp } = parseStatus(new TextEncoder().encode(status));
    if (state === 'Z' || state === 'X') continue;
    // "NUMBER ARGUMENTS…", or "running", or "-1 …" when it is stopped outside of a call.
    const number = Number.parseInt(text(`task/${tid}/syscall`) ?? '', 10);
    // What waits without being interruptible would keep us waiting.
    const rank = state === 'D' ? 3 : rankOf(arch, number);
    if ((best === undefined || rank < best.rank) && !isKernelMade(tid))
      best = { tid, rank, seccomp: seccomp ?? 0 };
    if (best?.rank === 0) break;
  }
  if (best === undefined) throw new TraceeGone();
  return best;
}

/** Waits for a moment at which a stop disturbs nobody, then takes a lesser one. */
function chooseMoment(arch: TracedArchitecture, pid: number, stopTimeoutMs: number): Candidate {
  const word = new Int32Array(new SharedArrayBuffer(4));
  for (const start = performance.now(); ; ) {
    const candidate = chooseThread(arch, pid);
    const elapsed = performance.now() - start;
    // One that runs may be stopped in any call, where that matters: it is the last choice but for those that would wait.
    const isRisky = arch.runningRank > 0 && candidate.rank === arch.runningRank;
    if (candidate.rank === 0 || elapsed >= (isRisky ? 2 : 1) * stopTimeoutMs) return candidate;
    Atomics.wait(word, 0, 0, 1);
  }
}

/**
 * Goes through the motions with a thread that is not traced, so that all code is compiled before the target is stopped:
 * done cold, they take three times as long.
 */
function dryRun(arch: TracedArchitecture): void {
  const thread = new TracedThread(process.pid, arch);
  const motions = [
    () => thread.interrupt(0),
    () => thread.save(),
    () => thread.inRestartableSequence(),
    () => thread.catchesSyscalls(),
    () => thread.blockSignals(),
    () => thread.settle(),
    () => thread.run(0, 0, [0]),
    () => thread.restore(),
    () => thread.detach(),
  ];
  for (const motion of motions) {
    for (let times = 0; times < 3; times++) {
      try {
        motion();
      } catch {
        // As it must: this process does not trace itself.
      }
    }
  }
}

/** Why a thread does not do what it is told to. */
function stuck(tid: number, what: string): Failure {
  const freezer = freezerOf(FOLDER);
  return freezer === undefined
    ? new Failure('busy', `${what}: ${explainWaiting(FOLDER, tid)}`)
    : new Failure('frozen', explainFreezer(freezer));
}

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * Whether the kernel ends this process with its starter, whatever it waits for then. Not while the target has our registers:
 * it would run on with them.
 */
function dieWithStarter(die: boolean): void {
  const { syscall, numbers } = libc();
  syscall(numbers.prctl, PR_SET_PDEATHSIG, die ? SIGKILL : 0, 0, 0, 0, 0);
  if (die && process.ppid !== Number(process.argv[4])) process.exit(0);
}

function attach(pid: number, stopTimeoutMs: number, arch: TracedArchitecture): AttachReply {
  const { syscall, numbers, errno } = libc();
  const instruction = findInstruction(arch);
  dryRun(arch);
  const { tid, seccomp } = chooseMoment(arch, pid, Math.min(stopTimeoutMs, Number(process.argv[5])));
  const thread = new TracedThread(tid, arch);
  const flags = constants.O_NONBLOCK | 0o2000000 /* O_CLOEXEC */ | uffd.UFFD_USER_MODE_ONLY;

  try {
    thread.seize(seccomp === 0 ? 0 : PTRACE_O_SUSPEND_SECCOMP);
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    if (seccomp !== 0)
      throw new Failure('seccomp', `it has a seccomp filter, which cannot be suspended: ${error.message}`);
    throw new Failure('not-permitted', error.message);
  }
  // A thread's number may have been given to another one until it was seized; the folder knows who is who.
  const status = text(`task/${tid}/status`);
  if (status === undefined) throw new TraceeGone();
  if (isKernelMade(tid))
    throw new Failure('busy', `thread ${tid} has ended, and a thread of the kernel has its number`);

  let stopped = performance.now();
  for (const start = stopped; ; ) {
    if (!thread.interrupt(stopTimeoutMs)) {
      throw stuck(tid, `thread ${tid} did not stop within ${stopTimeoutMs} ms`);
    }
    stopped = performance.now();
    if (!thread.save()) {
      thread.detach();
      throw new Failure('architecture', `thread ${tid} runs code of another architecture than ${arch.name}`);
    }
    if (!thread.inRestartableSequence()) break;
    thread.continue();
    if (performance.now() - start > stopTimeoutMs) {
      throw new Failure('busy', `thread ${tid} does not leave its restartable sequences`);
    }
  }
  if (thread.catchesSyscalls()) {
    if (thread.restartEndedCall()) thread.writeBack();
    thread.detach();
    throw new Failure('dispatch', 'it catches its own system calls (as Wine does)');
  }

  // Thawed threads only: a frozen one would stand still with our registers, until it is thawed.
  const freezer = freezerOf(FOLDER);
  if (freezer !== undefined) {
    if (thread.restartEndedCall()) thread.writeBack();
    thread.detach();
    throw new Failure('frozen', explainFreezer(freezer));
  }

  dieWithStarter(false);
  thread.blockSignals();
  let theirs = -1;
  let fd = -1;
  let takeErrno = 0;
  try {
    thread.settle();
    theirs = thread.run(instruction, numbers.userfaultfd, [flags]);
    if (theirs >= 0) {
      fd = syscall(numbers.pidfd_getfd, PIDFD, theirs, 0, 0, 0, 0);
      if (fd < 0) takeErrno = errno();
      thread.run(instruction, numbers.close, [theirs]);
    }
  } catch (error) {
    if (!(error instanceof NotResumed)) throw error;
    if (fd >= 0) closeSync(fd);
    const left =
      theirs < 0 ? '' : `; descriptor ${theirs}, a userfaultfd that is used for nothing, stays open in it`;
    const failure = stuck(tid, `thread ${tid} did not run on`);
    throw new Failure(failure.failure, `${failure.message}${left}`);
  } finally {
    // Whatever went wrong: it must not run on with our registers.
    thread.restore();
    thread.detach();
    dieWithStarter(true);
  }
  const stopMs = performance.now() - stopped;
  if (theirs < 0) throw new Failure('failed', `userfaultfd gave ${errnoName(-theirs)} in it`);
  if (fd < 0) throw new Failure('failed', `pidfd_getfd gave ${errnoName(takeErrno)}`);
  return { ok: true, fd, tid, stopMs };
}

/** Threads come and go: so many may end after they were chosen. */
const MOST_CHOICES = 100;

/** Whether a thread, or a file of its folder, was gone when it was looked at. */
function isGone(error: unknown): boolean {
  return error instanceof TraceeGone || ['ENOENT', 'ESRCH'].includes(codeOf(error) ?? '');
}

/** Attaches to a thread that lives for as long as it takes. */
function attachToSome(pid: number, stopTimeoutMs: number, arch: TracedArchitecture): AttachReply {
  for (let choices = 1; ; choices++) {
    try {
      return attach(pid, stopTimeoutMs, arch);
    } catch (error) {
      if (!isGone(error) || choices >= MOST_CHOICES) throw error;
      // The chosen thread has ended. If no other lives, so has the process.
      livingFolder();
    }
  }
}

function reply(pid: number, stopTimeoutMs: number): AttachReply {
  try {
    const arch = tracedArchitecture();
    if (arch === undefined) {
      throw new Failure('architecture', `nothing can be run in processes of ${process.arch}`);
    }
    return attachToSome(pid, stopTimeoutMs, arch);
  } catch (error) {
    if (error instanceof Failure) return { ok: false, failure: error.failure, detail: error.message };
    if (error instanceof TraceeGone) return { ok: false, failure: 'ended', detail: 'the process has ended' };
    const code = codeOf(error);
    // Reading its memory takes the same permission as tracing it does, and comes first.
    const failure: AttachFailure =
      code === 'ENOENT' || code === 'ESRCH'
        ? 'ended'
        : code === 'EACCES' || code === 'EPERM'
          ? 'not-permitted'
          : 'failed';
    return { ok: false, failure, detail: String(error) };
  }
}

let held = -1;

/** Waits for an order; false at the end of them: nobody is there any more. */
function order(): boolean {
  try {
    const more = readSync(0, new Uint8Array(1)) > 0;
    if (held >= 0) closeSync(held);
    held = -1;
    return more;
  } catch {
    return false;
  }
}

// A handler, even one that never gets to run, keeps these from ending us halfway.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGPIPE'] as const)
  process.on(signal, () => {});

// The target waits for us while it is stopped: we go first, if we may.
try {
  setPriority(-20);
} catch {
  // It takes CAP_SYS_NICE.
}

dieWithStarter(true);
while (order()) {
  // Its starter has died since: nobody wants this any more.
  if (process.ppid !== Number(process.argv[4])) break;
  const answer = reply(Number(process.argv[2]), Number(process.argv[3]));
  try {
    writeSync(1, `${JSON.stringify(answer)}\n`);
  } catch {
    // The starter is gone.
    break;
  }
  // A thread that could not be stopped is let go of by the end of this process.
  if (!answer.ok) break;
  // The userfaultfd stays open until it has been taken: until the next order, or the end of orders.
  held = answer.fd;
}
process.exit(0);
