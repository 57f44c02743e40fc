/** The process that a command is about: a number, a name that matches one process, or a container's id. */
import { ALL_CATEGORIES, categoryNames, errnoNumber, NotSupportedError } from '../abi/index.js';
import {
  chooseProvider,
  findContainerProcesses,
  hiddenHint,
  isContainerId,
  kernelCategories,
  type LivePagemap,
  openPagemap,
  PROVIDER_VARIABLE,
  ProcessError,
  type ProcessMatch,
} from '../live/internal.js';
import { CliError, EXIT, exitCodeOf } from './exit.js';
import { otherProcesses } from './others.js';
import { plural, printable } from './text.js';

/** How help texts call what `resolveTarget` takes. */
export const TARGET = "process number, the name of one process, or a container's id";

const MOST_LISTED = 10;
const MOST_CHARACTERS = 80;

function cut(text: string): string {
  const characters = [...text];
  return characters.length <= MOST_CHARACTERS
    ? text
    : `${characters.slice(0, MOST_CHARACTERS - 1).join('')}…`;
}

/** The kernel gives no process a higher number (man proc_sys_kernel, pid_max). */
const HIGHEST_PID = 2 ** 22;

/** Whether a target is a number. One of a container's id may have no letters, but it is too high for a process. */
function isProcessNumber(target: string): boolean {
  return /^\d{1,15}$/.test(target) && (Number(target) <= HIGHEST_PID || !isContainerId(target));
}

/**
 * The number of the process that `target` stands for: a number, a name, or the id of a container, of which the first process is meant.
 *
 * @throws CliError for what matches none or several
 */
export function resolveTarget(target: string): number {
  if (target.trim() === '')
    throw new CliError(EXIT.usage, 'Cannot look for a process without a name; give its number or name');
  if (isProcessNumber(target)) return Number(target);
  const named = otherProcesses().filter(({ names }) => names.includes(target));
  const found = named.length === 0 && isContainerId(target) ? findContainerProcesses(target) : named;
  if (found.length === 1) return found[0]!.pid;
  if (found.length === 0) throw noSuchProcess(target);
  const what =
    named.length > 0 ? `named ${printable(target)}` : `of containers whose id begins with ${target}`;
  throw new CliError(
    EXIT.usage,
    `Cannot choose among ${found.length} processes ${what}; give the number of one:\n${list(found)}`,
  );
}

function list(processes: readonly ProcessMatch[]): string {
  const lines = processes
    .slice(0, MOST_LISTED)
    .map(({ pid, commandLine }) => `  ${String(pid).padStart(8)}  ${cut(printable(commandLine))}`);
  if (processes.length > MOST_LISTED) lines.push(`  … and ${processes.length - MOST_LISTED} more`);
  return lines.join('\n');
}

/** The error for a name that no process has, with the processes that have it in part, or in their command lines: a script of Node's, say. */
function noSuchProcess(target: string): CliError {
  const part = target.toLowerCase();
  const isIn = (text: string) => text.toLowerCase().includes(part);
  const processes = otherProcesses();
  const similar = processes.filter(({ names }) => names.some(isIn));
  const started = similar.length > 0 ? [] : processes.filter(({ commandLine }) => isIn(commandLine));
  const hints = [
    ...(similar.length > 0 ? [`These have it as a part of their names:\n${list(similar)}`] : []),
    ...(started.length > 0 ? [`These have it in their command lines:\n${list(started)}`] : []),
    hiddenHint() ?? [],
  ].flat();
  return new CliError(
    EXIT.noProcess,
    [
      `Cannot find a process${isContainerId(target) ? ' or a container' : ''} named ${printable(target)}; give its number, or its exact name`,
      ...hints,
    ].join('\n'),
  );
}

/**
 * Opens the target's address space; the caller disposes it.
 *
 * @throws CliError for a name that matches none or several
 * @throws ProcessError as `openPagemap`; PagemapError ENOTTY when only PAGEMAP_SCAN will do and this kernel has none
 */
export function openTarget(target: string): LivePagemap {
  const pid = resolveTarget(target);
  requireProvider();
  return openPagemap(pid);
}

/** @throws PagemapError ENOTTY when only PAGEMAP_SCAN will do, and this kernel has none */
export function requireProvider(): void {
  if (chooseProvider() === 'fallback' || kernelCategories() !== 0) return;
  throw new NotSupportedError('scan pages', {
    errno: errnoNumber('ENOTTY')!,
    syscall: 'ioctl(PAGEMAP_SCAN)',
    needs: 'Linux 6.7',
    hint: `this kernel has no PAGEMAP_SCAN (Linux 6.7 brought it), and ${PROVIDER_VARIABLE} forbids the fallback`,
  });
}

/** @throws PagemapError ENOTTY when PAGEMAP_SCAN is not there, or not to be used: for what no fallback can do */
export function requireIoctl(): void {
  const provider = chooseProvider();
  if (provider === 'ioctl' && kernelCategories() !== 0) return;
  throw new NotSupportedError('track writes while the process runs', {
    errno: errnoNumber('ENOTTY')!,
    syscall: 'ioctl(PAGEMAP_SCAN)',
    needs: 'Linux 6.7',
    hint:
      kernelCategories() !== 0
        ? `${PROVIDER_VARIABLE}=${process.env[PROVIDER_VARIABLE]} forbids PAGEMAP_SCAN`
        : 'this kernel has no PAGEMAP_SCAN; Linux 6.7 brought it',
  });
}

/** For people, on standard error, that it is not the kernel's ioctl that answers. */
export function tellProvider(categories: number): void {
  const unknown = categoryNames(ALL_CATEGORIES & ~categories);
  process.stderr.write(
    `pmscan: told from pagemap and smaps, without PAGEMAP_SCAN; not known: ${unknown.join(', ')}\n`,
  );
}

/** Tells at once of memory that somebody else tracks: whoever looks at the figures later would take them for all there is. */
export function tellBusy(skipped: readonly { readonly reason: string }[]): void {
  const busy = skipped.filter(({ reason }) => reason === 'busy').length;
  if (busy === 0) return;
  process.stderr.write(
    `pmscan: ${plural(busy, 'writable mapping')} cannot be tracked, and writes to them are missing: another tool (another pmscan, for instance) tracks the process, or it uses userfaultfd itself\n`,
  );
}

/** What to add to the message of an error for commands that have `--anyway`: a line, or nothing. */
export function anywayAdvice(error: unknown): string {
  const helps = error instanceof ProcessError && error.reason === 'userfaultfd';
  return helps ? '\n`--anyway` tracks it all the same' : '';
}

/** Begins to track a process, for a command that has `--anyway`; its errors say when that helps. */
export async function adviseAnyway<T>(begin: () => Promise<T>): Promise<T> {
  try {
    return await begin();
  } catch (error) {
    const advice = anywayAdvice(error);
    if (advice === '') throw error;
    throw new CliError(exitCodeOf(error), `${(error as Error).message}${advice}`, { cause: error });
  }
}
