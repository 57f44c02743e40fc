import { resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { PagemapError } from '../../abi/index.js';
import {
  type CoreOptions,
  type CoreProgress,
  type CoreResult,
  checkCompression,
  compileWhen,
  dumpCore,
  hasEnded,
  type WhenCondition,
  type WhenMet,
  waitUntil,
} from '../../core/internal.js';
import {
  freezerOf,
  openPagemap,
  ProcessError,
  ProcessHandle,
  requireSmallPages,
} from '../../live/internal.js';
import { CliError, EXIT, type ExitCode, exitCodeOf } from '../exit.js';
import { Ending } from '../interrupt.js';
import { addMappingChoice, addPauseOptions } from '../mapping-choice.js';
import { parseCount, parseDuration } from '../options.js';
import { Output } from '../output.js';
import { checkOutput } from '../output-file.js';
import { StatusLine } from '../status-line.js';
import { requireIoctl, requireProvider, resolveTarget, TARGET } from '../target.js';
import { humanBytes, outputStyle, plural, printable } from '../text.js';
import { asJson, describeValues } from '../when.js';

/** Those of the library, under the names that commander gives them, and the command's own. */
export interface CoreCommandOptions
  extends Pick<
    CoreOptions,
    | 'filter'
    | 'only'
    | 'without'
    | 'zero'
    | 'stacks'
    | 'maxRounds'
    | 'overPause'
    | 'shared'
    | 'compress'
    | 'stop'
  > {
  readonly output?: string | undefined;
  readonly maxPause?: number | undefined;
  readonly when?: string | undefined;
  readonly hold?: number | undefined;
  readonly count?: number | undefined;
  readonly cooldown?: number | undefined;
  readonly interval?: number | undefined;
  readonly json?: boolean | undefined;
  readonly color?: boolean | undefined;
}

function compile(text: string): WhenCondition {
  try {
    return compileWhen(text);
  } catch (cause) {
    throw new CliError(EXIT.usage, (cause as Error).message, { cause });
  }
}

/** Between two dumps, milliseconds. */
const DEFAULT_COOLDOWN_MS = 60_000;

/** How often progress is shown, milliseconds. */
const PROGRESS_MS = 100;
const BAR_COLUMNS = 24;

/** A line of progress on a terminal. */
class ProgressLine implements Disposable {
  readonly #style = outputStyle(true, process.stderr);
  readonly #line = new StatusLine();
  #shown = 0;
  #round: CoreProgress['round'] = 0;
  #begin = 0;

  show({ round, copiedBytes, totalBytes, elapsedMs }: CoreProgress): void {
    if (!this.#line.isOn) return;
    if (round !== this.#round) [this.#round, this.#begin] = [round, elapsedMs];
    else if (elapsedMs - this.#shown < PROGRESS_MS) return;
    this.#shown = elapsedMs;
    const share = totalBytes === 0 ? 1 : Math.min(1, copiedBytes / totalBytes);
    const filled = Math.round(share * BAR_COLUMNS);
    const [full, empty] = this.#style.unicode ? ['█', '░'] : ['#', '.'];
    const rate = copiedBytes / Math.max(1, elapsedMs - this.#begin);
    const rest = rate > 0 ? Math.ceil((totalBytes - copiedBytes) / rate / 1000) : 0;
    const parts = [
      round === 'stop' ? 'stopped' : `round ${round}`,
      full!.repeat(filled) + empty!.repeat(BAR_COLUMNS - filled),
      `${humanBytes(copiedBytes)} of ${humanBytes(totalBytes)}`,
      `${humanBytes(rate * 1000)}/s`,
      `${rest} s left`,
    ];
    this.#line.show(parts.join('  '));
  }

  [Symbol.dispose](): void {
    this.#line[Symbol.dispose]();
  }
}

/** Codes of errors that come of tracking, or of making a userfaultfd in the process: it has no descriptor free, say. */
const STOP_HELPS: ReadonlySet<string> = new Set(
  'ENOTTY ENOSYS EINVAL EBUSY EMFILE ENFILE ENOMEM EIO'.split(' '),
);

/** Where writes cannot be tracked, there is another way; it has its price. */
function withAlternative(error: unknown, pid: number): unknown {
  const problem = error instanceof ProcessError ? error.reason : undefined;
  // A stop needs what attaching needs, but for what is run in the process.
  const helps =
    problem === undefined
      ? error instanceof PagemapError && STOP_HELPS.has(error.code)
      : problem === 'seccomp' ||
        problem === 'userfaultfd' ||
        (problem === 'frozen' && freezerOf(`/proc/${pid}`)?.version === 2);
  if (!helps) return error;
  const { code, message } = error as PagemapError;
  const exitCode = code === 'EINVAL' ? EXIT.unsupported : exitCodeOf(error);
  const hint =
    '--stop dumps it without tracking its writes: the process is stopped while everything is copied, about a second a GiB';
  return new CliError(exitCode, `${message}\n${hint}`, { cause: error });
}

function describe(result: CoreResult, options: CoreCommandOptions): string[] {
  const { file, bytes, storedBytes, pauseMs, totalMs, rounds, threads, stoppedPages, unreadablePages } =
    result;
  const where = file === undefined ? 'standard output' : printable(file);
  const lines = [
    `${where}: ${humanBytes(bytes)}${file === undefined ? '' : `, ${humanBytes(storedBytes)} on the disk`}, ${plural(threads, 'thread')}`,
    `stopped for ${pauseMs.toFixed(1)} ms of ${(totalMs / 1000).toFixed(2)} s, in which ${plural(stoppedPages, 'page')} were copied`,
  ];
  if (rounds.length > 0)
    lines.push(`copied while it ran: ${rounds.map(({ pages }) => plural(pages, 'page')).join(', then ')}`);
  if (unreadablePages > 0)
    lines.push(`${plural(unreadablePages, 'page')} could not be read, and are zero in the file`);
  if (result.mayBeTorn)
    lines.push(
      `it may be torn: ${result.doubts!.join(', and ')}; writes of devices cannot be tracked, so memory that a device wrote while the rest was copied may be older than the rest. --stop copies everything at once`,
    );
  if (options.maxPause !== undefined && pauseMs > options.maxPause)
    lines.push(`that is longer than the ${options.maxPause} ms of --max-pause`);
  return lines;
}

/** Refuses what makes no sense together. */
function checkOptions(options: CoreCommandOptions): void {
  const fail = (why: string) => new CliError(EXIT.usage, why);
  const toStdout = options.output === '-';
  if (toStdout && process.stdout.isTTY === true)
    throw fail('Cannot write a core file to a terminal; redirect it, or name a file');
  if (toStdout && options.json)
    throw fail('Cannot write the core file and JSON to standard output; name a file');
  if (toStdout && (options.count ?? 1) > 1)
    throw fail('Cannot write several core files to standard output; name a file');
  if (options.stacks && (options.only ?? options.without) !== undefined)
    throw fail('Cannot choose mappings by name with --stacks: leave out --only and --without, or --stacks');
  if (options.output === '')
    throw fail('Cannot write a file without a name; name one, or leave out -o for core.PID');
  if (options.when !== undefined) return;
  for (const name of ['hold', 'count', 'cooldown', 'interval'] as const)
    if (options[name] !== undefined)
      throw fail(`Cannot use --${name} without --when: it sets how to wait for a condition`);
}

/** Where the dump of this number goes, from 1; several have their number at the end of their name. */
function outputOf(pid: number, options: CoreCommandOptions, number: number): string | Writable {
  if (options.output === '-') return process.stdout;
  const suffix = options.compress === undefined ? '' : options.compress === 'gzip' ? '.gz' : '.zst';
  const name = options.output ?? `core.${pid}`;
  const numbered = (options.count ?? 1) > 1 ? `${name}.${number}` : name;
  return resolve(options.output === undefined ? `${numbered}${suffix}` : numbered);
}

async function dumpOnce(
  pid: number,
  file: string | Writable,
  options: CoreCommandOptions,
  signal: AbortSignal,
): Promise<CoreResult> {
  try {
    using progress = new ProgressLine();
    return await dumpCore(pid, {
      file,
      compress: options.compress,
      filter: options.filter,
      only: options.only,
      without: options.without,
      zero: options.zero,
      stacks: options.stacks,
      maxRounds: options.maxRounds,
      maxPauseMs: options.maxPause,
      overPause: options.overPause,
      stop: options.stop,
      shared: options.shared,
      signal,
      onProgress: (state) => progress.show(state),
    });
  } catch (error) {
    if (signal.aborted)
      throw new CliError(EXIT.interrupted, 'interrupted; the process runs on, and no core file was written');
    throw options.stop || options.stacks ? error : withAlternative(error, pid);
  }
}

/** Tells what became of a dump, and of the condition before it. */
async function tell(
  result: CoreResult,
  options: CoreCommandOptions,
  met: WhenMet | undefined,
): Promise<void> {
  if (options.json) {
    const { stoppedPages, unreadablePages, storedBytes, ...rest } = result;
    const output = new Output();
    output.line(
      JSON.stringify({
        schema: 'pagemap-scan/core@1',
        ...rest,
        storedBytes,
        stoppedPages,
        unreadablePages,
        ...(met !== undefined && { when: { condition: options.when, ...asJson(met) } }),
      }),
    );
    await output.flush();
    return;
  }
  const lines = describe(result, options).map((line) => `pmscan: ${line}\n`);
  process.stderr.write(lines.join(''));
}

/** The work of `pmscan core`. */
export async function coreCommand(target: string, options: CoreCommandOptions): Promise<ExitCode> {
  checkOptions(options);
  const condition = options.when === undefined ? undefined : compile(options.when);
  const pid = resolveTarget(target);
  const first = outputOf(pid, options, 1);
  if (typeof first === 'string') checkOutput(first);
  try {
    if (options.compress !== undefined) checkCompression(options.compress);
  } catch (cause) {
    throw new CliError(EXIT.failed, (cause as Error).message, { cause });
  }

  requireSmallPages(`dump process ${pid}`);
  using ending = new Ending();
  try {
    if (options.stop || options.stacks) requireProvider();
    else requireIoctl();
  } catch (error) {
    throw options.stop || options.stacks ? error : withAlternative(error, pid);
  }
  if (condition !== undefined) return await dumpWhen(pid, condition, options, ending.signal);
  await tell(await dumpOnce(pid, first, options, ending.signal), options, undefined);
  return EXIT.done;
}

/** Dumps each time that the condition is met, as often as was asked for. */
async function dumpWhen(
  pid: number,
  condition: WhenCondition,
  options: CoreCommandOptions,
  signal: AbortSignal,
): Promise<ExitCode> {
  const { count = 1, cooldown = DEFAULT_COOLDOWN_MS } = options;
  // What is not permitted is to be known now, and not when it happens.
  openPagemap(pid)[Symbol.dispose]();
  using handle = new ProcessHandle(pid);
  for (let number = 1; number <= count; number++) {
    let met: WhenMet;
    try {
      if (number > 1) await sleep(cooldown, undefined, { signal });
      const waiting = waitUntil(pid, condition, {
        holdMs: options.hold,
        intervalMs: options.interval,
        signal,
      });
      process.stderr.write(`pmscan: waiting for ${printable(condition.text)}\n`);
      met = await waiting;
      // Another one has its number by now.
      if (hasEnded(handle)) throw new ProcessError('ended', pid, 'it has ended', `wait for process ${pid}`);
    } catch (error) {
      if (signal.aborted) throw new CliError(EXIT.interrupted, interruptedAfter(number - 1));
      if (number === 1 || !hasEnded(handle)) throw error;
      process.stderr.write(`pmscan: the process has ended; ${plural(number - 1, 'core file')} of it\n`);
      return EXIT.done;
    }
    process.stderr.write(`pmscan: the condition is met: ${describeValues(met.values)}\n`);
    const file = outputOf(pid, options, number);
    await tell(await dumpOnce(pid, file, options, signal), options, met);
  }
  return EXIT.done;
}

function interruptedAfter(dumps: number): string {
  const done = dumps === 0 ? 'no core file was written' : `${plural(dumps, 'core file')} before`;
  return `interrupted while waiting for the condition; ${done}`;
}

/** Adds `pmscan core` to the program. */
export function addCoreCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
): void {
  const command = program
    .command('core')
    .description('write a core file of a running process, which is stopped for milliseconds only')
    .argument('<pid>', TARGET)
    .option('-o, --output <file>', 'where to write it; - is standard output (default: core.PID)');
  addMappingChoice(command)
    .option('--stacks', 'only what backtraces need: registers and stacks, some hundred KiB')
    .option('--max-rounds <n>', 'most rounds of copying while it runs (default: 30)', parseCount);
  addPauseOptions(command)
    .addOption(new Option('--compress <kind>', 'compress it').choices(['gzip', 'zstd']))
    .option('--stop', 'stop it while everything is copied: where writes cannot be tracked')
    .option('--when <condition>', 'wait for a condition: rss > 2G & cpu > 90% (see below)')
    .option('--hold <time>', 'how long it must be met (default: one look)', parseDuration)
    .option('--count <n>', 'how many dumps, each time that it is met (default: 1)', parseCount)
    .option('--cooldown <time>', 'the least time between two dumps (default: 1m)', parseDuration)
    .option('--interval <time>', 'how often to look (default: 200ms)', parseDuration)
    .option('--json', 'one JSON document, for each dump')
    .addHelpText(
      'after',
      `
pmscan copies memory while the process runs, then again what it wrote meanwhile, until little is left. It stops the
process only to copy that. The file shows it as it was at that moment, for gdb, lldb and other debuggers. It holds all
that the process had in memory, passwords and keys included: only its owner may read it.

A condition compares with >, >=, < or <=, and joins with &, |, ! and parentheses:
  rss, swapped        sizes: 500M, 2G
  cpu                 share of one processor: 90%, 250%
  threads             a number
  written             bytes of pages written to: 200M/s (its writes are tracked)
  cgroup.memory       of its control group: 95% of the limit, or a size
  signal USR1, USR2   sent to pmscan

Examples:
  pmscan core 1234                              core.1234
  pmscan core redis-server -o /var/tmp/core     gdb /usr/bin/redis-server /var/tmp/core
  pmscan core 1234 --max-pause 20ms --json
  pmscan core 1234 --when 'rss > 2G' --hold 10s
  pmscan core 1234 --when 'cgroup.memory > 90%' --stop   before the OOM killer comes
  pmscan core 1234 --stacks                     gdb -batch -ex 'thread apply all bt' PROGRAM core.1234
  pmscan core 1234 --without /dev/shm --zero '[anon:keys]'
  pmscan core 1234 -o - | zstd > core.zst`,
    )
    .action((target: string, _options: CoreCommandOptions, command: Command) =>
      run(() => coreCommand(target, command.optsWithGlobals())),
    );
}
