import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import {
  chooseProvider,
  onlyAncestorsTrace,
  ProcessError,
  ProcessHandle,
  pageSize,
} from '../../live/internal.js';
import { OwnerNames } from '../../owners/internal.js';
import { programArgument } from '../../parts/index.js';
import { parseStatus } from '../../proc/index.js';
import type { PageSample, ProcessTracker, Subject } from '../../track/index.js';
import { giveBack, trackActivity } from '../../track/internal.js';
import { loadWidths } from '../columns.js';
import { isThere } from '../command-path.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Ending } from '../interrupt.js';
import { optionOr, parseBudget, parseDuration, parseShare } from '../options.js';
import { Output } from '../output.js';
import { adviseAnyway, requireProvider, resolveTarget, TARGET, tellBusy } from '../target.js';
import { mappingLabel, outputStyle, plural, printable } from '../text.js';
import { isBound, requireCost, sampledAdvice, sampleOf } from '../watch/budget.js';
import { CostMeter } from '../watch/cost.js';
import {
  exitCodeOf,
  JsonSink,
  LineSink,
  ViewSink,
  type WatchEnd,
  type WatchSink,
  watchLoop,
} from '../watch/loop.js';
import type { WatchSummary } from '../watch/summary.js';
import type { WatchTracker } from '../watch/tracker.js';
import { openWithin } from '../watch/trial.js';

export interface WatchCommandOptions {
  readonly interval: number;
  readonly duration?: number | undefined;
  readonly regions?: boolean | undefined;
  readonly anyway?: boolean | undefined;
  readonly json?: boolean | undefined;
  readonly color?: boolean | undefined;
  readonly accesses?: boolean | undefined;
  readonly sample?: number | undefined;
  readonly budget?: number | undefined;
}

const SOFT_DIRTY_NOTE =
  'by soft-dirty bits, without PAGEMAP_SCAN: the process is stopped at each look, and shared memory is not tracked';

/** The text that a command under watch writes while the view has the screen: its end is shown afterwards. */
const MOST_KEPT = 1 << 16;

/** A command that we end has so long to end by itself. */
const PATIENCE_MS = 5000;

/** Whether a process has no memory any more: it ends. */
function isEnding(pid: number): boolean {
  try {
    return !/^VmSize:/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return true;
  }
}

/** A command that is run to be watched. */
export class Watched implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly #command: string;
  #kept = '';
  #hasBegun = false;

  /** @param keep whether its output must stay off the screen */
  constructor(commandLine: readonly string[], keep: boolean) {
    this.#command = commandLine[0]!;
    const wrapped = onlyAncestorsTrace();
    const [program, ...args] = (
      wrapped ? [process.execPath, programArgument('cli/traceable'), ...commandLine] : commandLine
    ) as [string, ...string[]];
    // Standard output belongs to our own report: what the command writes goes where messages go.
    const output = keep ? 'pipe' : 2;
    this.child = spawn(program, args, {
      stdio: ['inherit', output, output, ...(wrapped ? ['pipe' as const] : [])],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#kept = (this.#kept + text).slice(-MOST_KEPT);
      });
    }
  }

  async started(): Promise<number> {
    try {
      await once(this.child, 'spawn');
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      throw this.#failure(code ?? message, cause);
    }
    const wrapper = this.child.stdio[3] as Readable | undefined;
    if (wrapper !== undefined) {
      const failure = (await wrapper.setEncoding('utf8').toArray()).join('');
      if (failure !== '') throw this.#failure(failure);
    }
    this.#hasBegun = true;
    return this.child.pid!;
  }

  #failure(code: string, cause?: unknown): CliError {
    const isMissing = code === 'ENOENT' || (code === 'EACCES' && !isThere(this.#command));
    const why = isMissing ? 'there is no such command' : code === 'EACCES' ? 'it may not be run' : code;
    return new CliError(EXIT.failed, `Cannot run ${printable(this.#command)}: ${why}`, { cause });
  }

  /** Ends it, if it has not ended by itself, and gives back what it wrote meanwhile. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { child } = this;
    const isThere = () => child.pid !== undefined && child.exitCode === null && child.signalCode === null;
    const gone = isThere() ? once(child, 'exit') : undefined;
    // Its memory goes first, and the more there is, the later we hear of its end.
    if (isThere() && isEnding(child.pid!))
      await Promise.race([gone, sleep(PATIENCE_MS, undefined, { ref: false })]);
    const { exitCode, signalCode } = child;
    if (isThere()) {
      child.kill('SIGTERM');
      const timer = setTimeout(() => {
        process.stderr.write(
          `pmscan: ${printable(this.#command)} did not end within ${PATIENCE_MS / 1000} s of SIGTERM, and is killed\n`,
        );
        child.kill('SIGKILL');
      }, PATIENCE_MS);
      await gone;
      clearTimeout(timer);
    }
    if (this.#kept !== '') process.stderr.write(this.#kept);
    // Our own exit code tells of our work, so that the command's is told here.
    const how =
      signalCode === null ? exitCode && `ended with exit code ${exitCode}` : `was ended by ${signalCode}`;
    if (this.#hasBegun && how) process.stderr.write(`pmscan: ${printable(this.#command)} ${how}\n`);
  }
}

function nameOf(handle: ProcessHandle): string {
  try {
    return handle.name();
  } catch {
    // It has ended: the first collect says so.
    return '';
  }
}

function residentPages(handle: ProcessHandle): number {
  return (parseStatus(handle.read('status')).vmRssBytes ?? 0) / pageSize();
}

function chooseSink(
  options: WatchCommandOptions,
  sample: PageSample | undefined,
  tracker: WatchTracker,
  handle: ProcessHandle,
  output: Output,
  live: boolean,
): WatchSink {
  const untracked = () => tracker.skipped.length;
  const subject = subjectOf(options);
  if (options.json) return new JsonSink(output, options.regions === true, untracked, subject);
  if (!live) {
    // It advises a budget.
    const warn = (text: string) => process.stderr.write(`pmscan: ${text}\n`);
    return new LineSink(output, options.regions === true, isBound(options.budget) ? undefined : warn);
  }
  const about = {
    pid: tracker.pid,
    name: nameOf(handle),
    intervalMs: options.interval,
    untracked,
    subject,
    sampled: sample?.share,
  } as const;
  return new ViewSink(about, outputStyle(options.color !== false));
}

/** Why there is nothing to tell of a process that was there. */
export function endedTooSoon(cause: ProcessError, intervalMs: number): CliError {
  const interval = intervalMs < 1000 ? `${intervalMs} ms` : `${intervalMs / 1000} s`;
  const why = `Cannot tell what it wrote: it ended, or replaced its program, within the first interval, ${interval}; give a shorter interval, for instance --interval 100ms`;
  return new CliError(EXIT.noProcess, why, { cause });
}

/** Opens what is needed of a process. Of a command of ours that is gone before, the error is that it ended too soon. */
export async function openFor<T>(
  watched: Watched | undefined,
  intervalMs: number,
  open: () => T | Promise<T>,
): Promise<T> {
  try {
    return await open();
  } catch (error) {
    const isGone = error instanceof ProcessError && ['ended', 'zombie', 'not-found'].includes(error.reason);
    throw watched !== undefined && isGone ? endedTooSoon(error, intervalMs) : error;
  }
}

/** Tells on standard error how it ended, and what was seen. */
export function conclude(end: WatchEnd, summary: WatchSummary, tracker: ProcessTracker): void {
  const lines = summary.intervals === 0 ? [] : summary.lines();
  if (end === 'process ended') lines.unshift(`process ${tracker.pid} has ended, or replaced its program`);
  if (tracker.provider === 'fallback' && summary.intervals > 0) {
    lines.push(
      `stopped at each look: ${summary.meanStopMs.toFixed(1)} ms on average, ${summary.peakStopMs.toFixed(1)} ms at most`,
    );
  }
  const { skipped } = tracker;
  if (skipped.length > 0) {
    const some = skipped.slice(0, 3).map((mapping) => `${mappingLabel(mapping)} (${mapping.reason})`);
    lines.push(
      `not tracked: ${plural(skipped.length, 'mapping')}: ${some.join(', ')}${skipped.length > 3 ? ', ...' : ''}`,
    );
  }
  process.stderr.write(lines.map((line) => `pmscan: ${line}\n`).join(''));
}

const subjectOf = ({ accesses }: { readonly accesses?: boolean | undefined }): Subject =>
  accesses ? 'accesses' : 'writes';

/** The work of `pmscan watch`. */
export async function watchCommand(
  target: string | undefined,
  commandLine: readonly string[] | undefined,
  options: WatchCommandOptions,
): Promise<ExitCode> {
  if ((target === undefined) === (commandLine === undefined || commandLine.length === 0)) {
    throw new CliError(
      EXIT.usage,
      'Cannot tell what to watch: give a process, `pmscan watch 1234`, or a command, `pmscan watch -- CMD ARGS`',
    );
  }
  await loadWidths();
  using ending = new Ending();
  const live =
    !options.json && process.stdout.isTTY === true && process.env['TERM'] !== 'dumb' && !options.regions;
  await using watched = commandLine === undefined ? undefined : new Watched(commandLine, live);
  const pid = watched === undefined ? resolveTarget(target!) : await watched.started();

  requireProvider();
  const { anyway } = options;
  const subject = subjectOf(options);
  const open = <T>(how: () => T | Promise<T>) => openFor(watched, options.interval, how);
  using handle = await open(() => new ProcessHandle(pid));
  const given = sampleOf(options.sample);
  using cost = CostMeter.of(handle, subject, given !== undefined);
  requireCost({ cost, budget: options.budget });
  const owners = new OwnerNames(handle, subject === 'accesses');
  const track = (sample: PageSample | undefined) =>
    adviseAnyway(() => trackActivity(pid, subject, { anyway, sample }));
  // Whoever asks for a share, or for ranges, gets just that.
  const isFree = options.sample === undefined && !options.regions && chooseProvider() === 'ioctl';
  const limits = { cost, budget: isFree ? options.budget : undefined };
  const { signal } = ending;
  const pause = (ms: number) => sleep(ms, true, { signal }).catch(() => false);
  const { tracker: opened, sample = given } = await open(() =>
    openWithin(
      limits,
      options.interval,
      () => residentPages(handle),
      (some) => track(some ?? given),
      pause,
    ),
  );
  using tracker = opened;
  if (tracker.provider === 'fallback' && !live) process.stderr.write(`pmscan: ${SOFT_DIRTY_NOTE}\n`);
  if (!live) tellBusy(tracker.skipped);
  const output = new Output();
  let result: Awaited<ReturnType<typeof watchLoop>>;
  {
    using sink = chooseSink(options, sample, tracker, handle, output, live);
    const { interval: intervalMs, duration: durationMs, regions, budget } = options;
    const onAdvice = live ? undefined : (text: string) => process.stderr.write(`pmscan: ${text}\n`);
    const sampled = sample?.share;
    if (limits.budget !== undefined && sampled !== undefined)
      onAdvice?.(sampledAdvice(limits.budget, sampled));
    const what = { intervalMs, durationMs, regions, subject, sampled, owners, cost, budget, onAdvice };
    result = await watchLoop(tracker, sink, what, ending.requested);
  }
  const { end, summary, error } = result;
  conclude(end, summary, tracker);
  // A command that was started for it ends with it.
  if (watched === undefined) await giveBack(tracker);
  if (error instanceof ProcessError && summary.intervals === 0) throw endedTooSoon(error, options.interval);
  return exitCodeOf(end, summary);
}

/** Adds `pmscan watch` to the program. `commandLine` is what stood behind `--`. */
export function addWatchCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
  commandLine: readonly string[] | undefined,
): void {
  program
    .command('watch')
    .description('show which pages a running process writes, as it happens')
    .usage('[options] <pid>\n       pmscan watch [options] -- <command> [args...]')
    .argument('[pid]', TARGET)
    .addOption(optionOr('--interval <time>', 'how often to look', parseDuration, '1s'))
    .option('--duration <time>', 'end after this long', parseDuration)
    .option('--accesses', 'show which pages it reads, writes or executes, not only writes (Linux 7.3)')
    .option('--sample <share>', 'look at a random share of the pages: numbers are estimates', parseShare)
    .option(
      '--budget <share>',
      'the share of a processor that the watch may cost the process: intervals get longer to keep it, or it looks at a random share of the pages',
      parseBudget,
    )
    .option('--anyway', 'track a process that uses userfaultfd itself: its own registrations fail meanwhile')
    .option('--regions', 'print the written address ranges, too')
    .option('--json', 'one JSON object a line')
    .addHelpText(
      'after',
      `
On a terminal: a live view; s sorts, / filters, p pauses, ? helps, q ends. Elsewhere, and with --regions: a line an interval.
The process is stopped once, at the start, for about half a millisecond; twice at most with --budget. Nothing in it is changed, and nothing is left
behind, however the watch ends. It ends with a summary on standard error. Before Linux 6.7 it is stopped at each look.

Times take units: 100ms, 1s, 5m; without one they are seconds.

Examples:
  pmscan watch redis-server
  pmscan watch 1234 --interval 100ms --duration 10s
  pmscan watch 1234 --json | jq '.writtenBytes / .intervalMs'
  pmscan watch 1234 --accesses --sample 2%
  pmscan watch redis-server --budget 2%
  pmscan watch redis-server --sample 5%
  pmscan watch -- node server.js`,
    )
    .action((target: string | undefined, _options: WatchCommandOptions, command: Command) =>
      run(() => watchCommand(target, commandLine, command.optsWithGlobals())),
    );
}
