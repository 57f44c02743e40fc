/** What keeps this process from looking into others, as far as the system tells. */
import { readFileSync, statSync } from 'node:fs';
import { type ProcessStatus, parseStatus } from '../proc/index.js';
import { lastError, libc } from './libc.js';

const CAP_DAC_OVERRIDE = 1n;
const CAP_DAC_READ_SEARCH = 2n;
const CAP_SYS_PTRACE = 19n;

/** The contents of a /proc or /sys file; undefined when it cannot be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

export function ownStatus(): ProcessStatus {
  return parseStatus(readFileSync('/proc/self/status'));
}

export const mayTraceAll = ({ capEff }: ProcessStatus = ownStatus()) =>
  (capEff & (1n << CAP_SYS_PTRACE)) !== 0n;

/** Files of a process but maps are for its owner alone to open: tracing is another permission. */
export const mayReadAll = ({ capEff }: ProcessStatus = ownStatus()) =>
  (capEff & ((1n << CAP_DAC_READ_SEARCH) | (1n << CAP_DAC_OVERRIDE))) !== 0n;

/** What a process takes that looks into those of other users, or into one that hides its memory. */
const GRANT_ALL = 'give node CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH';
const NAMESPACE_ROOT =
  'this process is root in a user namespace (a container) only, and the other one belongs to an outer one or has more capabilities there; run as root outside of it';

/** The setting of Yama, a security module; undefined without it. 1 is what several distributions come with. */
export function ptraceScope(): string | undefined {
  return readText('/proc/sys/kernel/yama/ptrace_scope');
}

/** What to do about a system call that the container's filter forbids. */
export const FILTER_ADVICE = (call: string) =>
  `this process runs under a seccomp filter, as in a container, that forbids ${call}: allow it there (a seccomp profile with ${call}, for docker run by --security-opt seccomp=FILE), or run outside of it`;

export function isFiltered(status: ProcessStatus = ownStatus()): boolean {
  return status.seccomp !== undefined && status.seccomp !== 0;
}

/** True where this process's root is not the system's. */
export function inUserNamespace(): boolean {
  const map = readText('/proc/self/uid_map')?.split(/\s+/).map(Number);
  return map !== undefined && !(map[0] === 0 && map[1] === 0 && map[2] === 0xffffffff);
}

/** How /proc hides processes from this one ("hidepid=2"); undefined when it shows them all. */
export function hiddenProcesses(): string | undefined {
  // The mount that came last is the one that is seen.
  const mount = readText('/proc/self/mountinfo')
    ?.split('\n')
    .filter((line) => line.split(' ')[4] === '/proc')
    .at(-1);
  const option = /[ ,](hidepid=(?!0|off)\w+)/.exec(mount ?? '')?.[1];
  // It shows everything to those who may trace everything.
  return option === undefined || mayTraceAll() ? undefined : option;
}

/** Why a process that may be there cannot be seen; undefined when there is no such reason. */
export function hiddenHint(): string | undefined {
  const option = hiddenProcesses();
  return option === undefined
    ? undefined
    : `/proc is mounted with ${option}, which hides other users' processes: it may be there all the same; run as its user, or as root`;
}

/** Why ptrace is not permitted, as far as it shows, and how it would be. */
export function explainPermission(
  status: ProcessStatus,
  own: ProcessStatus,
  folderUid: number,
  scope: string | undefined,
  inNamespace = false,
): string {
  const grant = 'run as root, or give node CAP_SYS_PTRACE';
  if (scope === '3') {
    return 'kernel.yama.ptrace_scope is 3, which forbids it to everybody; nothing helps until the next boot';
  }
  if (mayTraceAll(own)) {
    if (inNamespace) return NAMESPACE_ROOT;
    if (isFiltered(own)) return FILTER_ADVICE('ptrace');
    return 'this process has CAP_SYS_PTRACE, yet the kernel refuses: a security module (SELinux, AppArmor), whose log says more';
  }
  const [real, effective, saved] = status.uids;
  const ownUid = own.uids[0];
  if (real !== ownUid || effective !== ownUid || saved !== ownUid) {
    return `it runs as uid ${effective}, this process as ${ownUid}; run as its user, as root, or ${GRANT_ALL}`;
  }
  // The files of a process that is not dumpable belong to root.
  if (folderUid !== effective)
    return `it has made itself non-dumpable (man prctl, PR_SET_DUMPABLE); run as root, or ${GRANT_ALL}`;
  if (scope === '1') {
    return `kernel.yama.ptrace_scope is 1, which permits own descendants only; ${grant}, or set it to 0 (sysctl kernel.yama.ptrace_scope=0), or start it by \`pmscan watch -- CMD\``;
  }
  if (scope === '2') return `kernel.yama.ptrace_scope is 2, which takes CAP_SYS_PTRACE; ${grant}`;
  if (isFiltered(own)) return `${FILTER_ADVICE('ptrace')}; or it has more capabilities than this process`;
  return `it has more capabilities than this process; ${grant}`;
}

/** The same for a process of which `folder`, a path, is the /proc folder. */
export function explainRefusal(status: ProcessStatus, folder: string): string {
  return explainPermission(status, ownStatus(), statSync(folder).uid, ptraceScope(), inUserNamespace());
}

/** Why a file of a process may not be opened, as far as the system tells, and how it may. */
export function explainClosedFile(): string {
  const own = ownStatus();
  if (mayTraceAll(own) && !mayReadAll(own)) {
    return "this process has CAP_SYS_PTRACE; it also needs CAP_DAC_READ_SEARCH to open the files of other users' processes";
  }
  if (process.geteuid?.() !== 0) {
    return `it is another user's, or hides its memory; run as its user or as root, or ${GRANT_ALL}`;
  }
  return inUserNamespace()
    ? NAMESPACE_ROOT
    : 'even root may not look into it here, without CAP_SYS_PTRACE: it has more capabilities (in a container: docker run --cap-add SYS_PTRACE), or a security module forbids it';
}

/** True where only a process's ancestors may trace it (Yama), unless it lets others. */
export function onlyAncestorsTrace(): boolean {
  return ptraceScope() === '1' && !mayTraceAll();
}

const PR_SET_PTRACER = 0x59616d61;
const PR_SET_PTRACER_ANY = -1;

/**
 * Lets all processes of this user trace this one, which Yama would otherwise leave to its ancestors; holds across exec.
 * Where there is no Yama, that is so anyway.
 */
export function allowTracing(): void {
  const { syscall, numbers } = libc();
  if (syscall(numbers.prctl, PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0, 0) === 0) return;
  const error = lastError('allow others to trace this process', 'prctl');
  if (error.code !== 'EINVAL') throw error;
}

const FIOCLEX = 0x5451;

/**
 * Replaces this program by another, looked up as a shell does. Returns only when that fails.
 *
 * @param until a descriptor that the new program does not get: its other end learns by that when it has begun
 * @throws PagemapError ENOENT, EACCES and what else man execve(2) has
 */
export function replaceProgram(commandLine: readonly [string, ...string[]], until: number): never {
  libc().ioctl(until, FIOCLEX, 0);
  libc().resetSignals();
  libc().execvp(commandLine[0], [...commandLine, null]);
  throw lastError('run the command', 'execve');
}
