/** Exit codes of the command, and what becomes of an error. */
import { PagemapError } from '../abi/index.js';
import { ProcessError, type ProcessProblem } from '../live/index.js';
import { WhereError } from '../query/index.js';
import { clearStatus } from './status-line.js';
import { printable } from './text.js';

export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  noProcess: 3,
  notPermitted: 4,
  unsupported: 5,
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** A failure that is reported by its message alone. Lines after the first say more, or what to do. */
export class CliError extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

const PROBLEM_EXIT: Readonly<Record<ProcessProblem, ExitCode>> = {
  'not-found': EXIT.noProcess,
  zombie: EXIT.noProcess,
  ended: EXIT.noProcess,
  'kernel-thread': EXIT.failed,
  'not-permitted': EXIT.notPermitted,
  self: EXIT.failed,
  traced: EXIT.notPermitted,
  architecture: EXIT.unsupported,
  seccomp: EXIT.notPermitted,
  busy: EXIT.failed,
  frozen: EXIT.failed,
  userfaultfd: EXIT.failed,
};

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CliError) return error.exitCode;
  if (error instanceof WhereError) return EXIT.usage;
  if (error instanceof ProcessError) return PROBLEM_EXIT[error.reason];
  if (error instanceof PagemapError) {
    if (error.code === 'EPERM' || error.code === 'EACCES') return EXIT.notPermitted;
    if (error.code === 'ENOTTY' || error.code === 'ENOSYS' || error.code === 'EOPNOTSUPP')
      return EXIT.unsupported;
  }
  return EXIT.failed;
}

/** Reports an error on standard error, each line made harmless, and gives its exit code. */
export function report(error: unknown): ExitCode {
  const message = error instanceof Error ? error.message : String(error);
  const lines = message.split('\n').map(printable);
  // What a snapshot cannot tell has nothing to do with this kernel: no system call was made.
  const isOfKernel = error instanceof PagemapError && error.syscall !== 'scan';
  if (isOfKernel && exitCodeOf(error) === EXIT.unsupported) {
    lines.push('`pmscan doctor` says what this kernel and this user can do');
  }
  if (process.env['PMSCAN_DEBUG'] && error instanceof Error) lines.push(error.stack ?? '');
  clearStatus();
  process.stderr.write(`pmscan: ${lines.join('\n')}\n`);
  return exitCodeOf(error);
}
