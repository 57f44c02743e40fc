import { existsSync } from 'node:fs';
import { extname } from 'node:path';
import type { Command } from 'commander';
import { PAGE_SIZE, PagemapError } from '../../abi/index.js';
import {
  isEnded,
  type LivePagemap,
  openPagemap,
  ProcessError,
  requireSmallPages,
} from '../../live/internal.js';
import type { Metrics } from '../../metrics/index.js';
import { OwnerNames } from '../../owners/internal.js';
import {
  RecentWrites,
  Recorder,
  type RecorderTotals,
  RecordingError,
  takeLayout,
  WORKING_SET_WINDOWS_MS,
} from '../../record/internal.js';
import {
  AccessAges,
  giveBack,
  type PageSample,
  type ProcessTracker,
  type Subject,
  type TrackOptions,
  trackActivity,
} from '../../track/internal.js';
import { CliError, EXIT, type ExitCode, exitCodeOf as errorExit } from '../exit.js';
import { Alarm, Ending } from '../interrupt.js';
import { addMetricsOption, type MetricsTarget, metricsOption, startMetrics } from '../metrics.js';
import {
  DEFAULT_BUDGET,
  DEFAULT_SAMPLE,
  optionOr,
  parseBudget,
  parseDuration,
  parseShare,
  parseSize,
} from '../options.js';
import { Output } from '../output.js';
import { StatusLine } from '../status-line.js';
import { anywayAdvice, requireProvider, resolveTarget, TARGET, tellBusy } from '../target.js';
import { humanBytes, humanCount, plural, printable } from '../text.js';
import { version } from '../version.js';
import { requireCost, sampleOf } from '../watch/budget.js';
import { CostMeter } from '../watch/cost.js';
import { exitCodeOf, type WatchEnd, type WatchSink, watchLoop } from '../watch/loop.js';
import type { WatchSummary } from '../watch/summary.js';
import { type Collected, WORDS } from '../watch/tracker.js';
import { conclude, endedTooSoon, openFor, Watched } from './watch.js';

export const RECORD_SCHEMA = 'pagemap-scan/record@1';

export interface RecordCommandOptions {
  readonly output?: string | undefined;
  readonly metrics?: MetricsTarget | true | undefined;
  readonly interval: number;
  readonly duration?: number | undefined;
  readonly layout?: number | undefined;
  readonly layoutOnly?: boolean | undefined;
  readonly accesses?: boolean | undefined;
  readonly sample?: number | undefined;
  readonly exact?: boolean | undefined;
  readonly budget?: number | undefined;
  readonly flush: number;
  readonly rotate: number;
  readonly rotateSize: number;
  readonly host?: string | undefined;
  readonly force?: boolean | undefined;
  readonly anyway?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** How often all pages are looked at, by default: more mappings, less often, so that the rows stay in bounds. */
function layoutEvery(mappings: number): number {
  return 60_000 * Math.max(1, Math.ceil(mappings / 1000));
}

/** The cells of the address map are for a picture, and the most expensive part of a layout to keep. */
const CELLS_EVERY_MS = 600_000;

/** Where what was seen goes. */
interface Outlets {
  readonly names: OwnerNames;
  readonly recorder: Recorder | undefined;
  readonly metrics: Metrics | undefined;
}

/** Looks at all pages now and then. */
class LayoutTaker {
  readonly #pagemap: LivePagemap;
  readonly #outlets: Outlets;
  readonly #every: number | undefined;
  readonly #slackMs: number;
  readonly #ages: AccessAges | undefined;
  #due = 0;
  #cellsDue = 0;
  /** The last one, in elapsed milliseconds, and when that was. */
  #taken = { elapsedMs: -1, at: 0 };

  /** @param slackMs so much before its time it is taken, too: the next end of an interval may be as much behind it */
  constructor(
    pagemap: LivePagemap,
    outlets: Outlets,
    every: number | undefined,
    slackMs: number,
    ages?: AccessAges,
  ) {
    this.#ages = ages;
    this.#pagemap = pagemap;
    this.#outlets = outlets;
    this.#every = every;
    this.#slackMs = Math.min(slackMs, (every ?? layoutEvery(0)) / 2);
  }

  /** When it is time again, in elapsed milliseconds. */
  get dueMs(): number {
    return this.#due;
  }

  /**
   * Takes one while an interval goes on: for a budget, it may last much longer than a layout may wait. It takes none when the
   * interval ends soon, since the end has one of its own and must not be late. Ages of pages are known at ends only.
   */
  async takeBetween(elapsedMs: number, leftMs: number): Promise<void> {
    if (this.#ages === undefined && elapsedMs >= this.#due && leftMs > this.#slackMs)
      await this.take(elapsedMs);
  }

  async take(elapsedMs: number, last = false): Promise<void> {
    if (elapsedMs < this.#due - this.#slackMs && !last) return;
    const taken = this.#taken;
    // Two looks at one time would count twice in sums over that time.
    const time = elapsedMs > taken.elapsedMs ? elapsedMs : taken.elapsedMs + performance.now() - taken.at;
    const withCells = last || elapsedMs >= this.#cellsDue;
    if (withCells) this.#cellsDue = elapsedMs + CELLS_EVERY_MS;
    try {
      const mappings = await takeLayout(this.#pagemap, withCells, this.#ages);
      this.#taken = { elapsedMs: time, at: performance.now() };
      const every = this.#every ?? layoutEvery(mappings.length);
      while (this.#due - this.#slackMs <= elapsedMs) this.#due += every;
      const { metrics, names } = this.#outlets;
      names.look(mappings.map(({ mapping }) => mapping));
      metrics?.layout(mappings.map((one) => ({ ...one, ownerKind: names.of(one.mapping)?.kind })));
      await this.#outlets.recorder?.layout(mappings, time);
    } catch (error) {
      // Of one that has ended, who looks next says so.
      if (!isEnded(error)) throw error;
    }
  }
}

/** What pages are, without their writes: nothing is attached to, and the process not touched. */
async function takeLayouts(
  pagemap: LivePagemap,
  layouts: LayoutTaker,
  durationMs = Number.POSITIVE_INFINITY,
  ending: Ending,
): Promise<{ end: WatchEnd; elapsedMs: number }> {
  const alarm = new Alarm(ending.requested);
  const began = performance.now();
  for (;;) {
    const elapsedMs = performance.now() - began;
    if (ending.received !== undefined) return { end: 'interrupt', elapsedMs };
    if (pagemap.ended) return { end: 'process ended', elapsedMs };
    if (elapsedMs >= durationMs) return { end: 'duration', elapsedMs };
    await layouts.take(elapsedMs);
    await alarm.until(began + Math.min(layouts.dueMs, durationMs), pagemap);
  }
}

class RecordSink implements WatchSink {
  readonly ended = new Promise<never>(() => undefined);
  readonly region: (start: number, end: number) => void;
  /** Windows are of time: intervals may be longer than was asked for. */
  readonly #recent = new RecentWrites(WORKING_SET_WINDOWS_MS, { forgets: false });
  readonly #outlets: Outlets;
  readonly #layouts: LayoutTaker;
  readonly #tracker: ProcessTracker;
  readonly #progress: Progress;
  readonly #ages: AccessAges | undefined;
  /** The last interval's end, in elapsed milliseconds, and when that was. */
  #lastEnd = { elapsedMs: 0, at: performance.now() };

  constructor(
    outlets: Outlets,
    layouts: LayoutTaker,
    tracker: ProcessTracker,
    progress: Progress,
    ages: AccessAges | undefined,
  ) {
    this.#ages = ages;
    this.#outlets = outlets;
    this.#layouts = layouts;
    this.#tracker = tracker;
    this.#progress = progress;
    const { recorder } = outlets;
    this.region = (start, end) => {
      this.#recent.add(start, end);
      recorder?.region(start, end);
      ages?.add(start, end);
    };
  }

  /** As it is in the recording: a sum of all intervals would differ in the last digits. */
  get elapsedMs(): number {
    return this.#lastEnd.elapsedMs;
  }

  async interval(collected: Collected, summary: WatchSummary): Promise<void> {
    const late = summary.isLate;
    const { distinctPages, sampled } = summary;
    const { elapsedMs, intervalMs } = collected;
    this.#lastEnd = { elapsedMs, at: performance.now() };
    const workingSet = this.#recent
      .endColumn(elapsedMs - intervalMs, elapsedMs)
      .map((pages) => Math.round(pages / sampled));
    const targetCostMs = summary.cost?.latestMs;
    this.#ages?.endInterval(collected.elapsedMs);
    const { skipped } = this.#tracker;
    const { recorder, metrics } = this.#outlets;
    metrics?.interval(collected, {
      late,
      distinctPages,
      workingSet: WORKING_SET_WINDOWS_MS.map((windowMs, index) => ({ windowMs, pages: workingSet[index]! })),
      untracked: skipped.length,
      targetCostMs,
    });
    await recorder?.interval(collected, { late, distinctPages, workingSet, skipped, targetCostMs });
    await this.#layouts.take(collected.elapsedMs);
    this.#progress.show(collected, recorder?.totals);
  }

  waiting(leftMs: number): Promise<void> {
    const { elapsedMs, at } = this.#lastEnd;
    return this.#layouts.takeBetween(elapsedMs + performance.now() - at, leftMs);
  }

  [Symbol.dispose](): void {}
}

/** How far a recording is. Rows wait to be written, so their number grows where the size of the file does not. */
export function recordingText(
  what: string,
  done: string,
  { elapsedMs, intervalMs, writtenPages }: Pick<Collected, 'elapsedMs' | 'intervalMs' | 'writtenPages'>,
  totals: Pick<RecorderTotals, 'rows' | 'bytes'> | undefined,
): string {
  const rate = humanBytes((writtenPages * PAGE_SIZE * 1000) / Math.max(intervalMs, 1));
  const kept =
    totals === undefined ? '' : `, ${plural(totals.rows, 'row')}, ${humanBytes(totals.bytes)} in the file`;
  return `recording ${what}: ${(elapsedMs / 1000).toFixed(0)} s, ${done} ${rate}/s${kept}`;
}

/** On a terminal, a line on standard error that says how it goes. */
class Progress implements Disposable {
  readonly #line = new StatusLine();
  readonly #what: string;
  readonly #done: string;

  constructor(what: string, subject: Subject) {
    this.#what = what;
    this.#done = WORDS[subject].done;
  }

  show(collected: Collected, totals: RecorderTotals | undefined): void {
    this.#line.show(recordingText(this.#what, this.#done, collected, totals));
  }

  [Symbol.dispose](): void {
    this.#line[Symbol.dispose]();
  }
}

function describe(pagemap: LivePagemap) {
  const { process: handle, pid } = pagemap;
  return { pid, name: handle.name(), commandLine: handle.commandLine() };
}

/** Tells what became of it: on standard error, or as a document. */
async function tell(
  recorder: Recorder | undefined,
  end: WatchEnd,
  pid: number,
  tracked: { readonly summary: WatchSummary; readonly tracker: ProcessTracker } | undefined,
  json: boolean | undefined,
  subject: Subject = 'writes',
): Promise<void> {
  const words = WORDS[subject];
  const summary = tracked?.summary;
  const totals = recorder?.totals ?? { files: [], rows: 0, bytes: 0 };
  const { files, rows, bytes } = totals;
  if (recorder !== undefined) {
    const where = files.length === 1 ? printable(files[0]!) : `${humanCount(files.length)} files`;
    process.stderr.write(`pmscan: recorded ${plural(rows, 'row')}, ${humanBytes(bytes)}, in ${where}\n`);
  }
  if (!json) return;
  const output = new Output();
  output.line(
    JSON.stringify({
      schema: RECORD_SCHEMA,
      pid,
      recording: recorder?.recording ?? null,
      end,
      intervals: summary?.intervals ?? 0,
      lateIntervals: summary?.lateIntervals ?? 0,
      untrackedMappings: tracked?.tracker.skipped.length ?? null,
      // Without tracking it is not known: a 0 would be an answer.
      [words.pages]: summary?.writtenPages ?? null,
      [words.bytes]: summary === undefined ? null : summary.writtenPages * PAGE_SIZE,
      rows,
      bytes,
      files,
    }),
  );
  await output.flush();
}

function checkUsage(
  target: string | undefined,
  commandLine: readonly string[] | undefined,
  options: RecordCommandOptions,
): void {
  const { output, metrics, layoutOnly, accesses, sample, exact, budget } = options;
  if ((target === undefined) === (commandLine === undefined || commandLine.length === 0)) {
    throw new CliError(
      EXIT.usage,
      'Cannot tell what to record: give a process, `pmscan record 1234 -o FILE`, or a command, `pmscan record -o FILE -- CMD ARGS`',
    );
  }
  if (layoutOnly && accesses) {
    throw new CliError(
      EXIT.usage,
      'Cannot record accesses without tracking them: give --accesses or --layout-only, not both',
    );
  }
  if (layoutOnly && (sample ?? exact ?? budget) !== undefined) {
    throw new CliError(
      EXIT.usage,
      'Cannot limit the cost of tracking without tracking: leave out --sample, --exact and --budget, or --layout-only',
    );
  }
  if (exact && (!accesses || sample !== undefined)) {
    throw new CliError(
      EXIT.usage,
      'Cannot use --exact here: it needs --accesses, and no --sample; writes are exact without --sample',
    );
  }
  if (output === undefined && metrics === undefined) {
    throw new CliError(
      EXIT.usage,
      'Cannot tell where to record to: give a file or folder, `-o FILE.parquet`, or --metrics, or both',
    );
  }
}

/** The work of `pmscan record`. */
export async function recordCommand(
  target: string | undefined,
  commandLine: readonly string[] | undefined,
  options: RecordCommandOptions,
): Promise<ExitCode> {
  checkUsage(target, commandLine, options);
  const subject: Subject = options.accesses ? 'accesses' : 'writes';
  const metricsTarget = metricsOption(options.metrics);
  requireSmallPages('record a process');
  using ending = new Ending();
  await using watched = commandLine === undefined ? undefined : new Watched(commandLine, false);
  const pid = watched === undefined ? resolveTarget(target!) : await watched.started();
  requireProvider();
  const open = <T>(how: () => T | Promise<T>) => openFor(watched, options.interval, how);
  using pagemap = await open(() => openPagemap(pid));
  const about = await open(() => describe(pagemap));
  const sample = chooseSample(options);
  using cost = options.layoutOnly
    ? undefined
    : await open(() => CostMeter.of(pagemap.process, subject, sample !== undefined));
  // What it may cost the process, where that is known: by default, little.
  const budget = options.budget ?? (cost && parseBudget(DEFAULT_BUDGET));
  requireCost({ cost, budget: options.budget });
  const ages = options.accesses ? new AccessAges(sample) : undefined;
  const names = new OwnerNames(pagemap.process, subject === 'accesses');
  let metrics: Metrics | undefined;
  let recorder: Recorder | undefined;
  try {
    if (metricsTarget !== undefined) {
      const metered = { ...about, host: options.host, about: subject };
      metrics = (await startMetrics(metricsTarget)).add(metered, true);
    }
    using tracker = options.layoutOnly
      ? undefined
      : await open(() => track(pid, subject, { anyway: options.anyway, sample }));
    if (tracker !== undefined) tellBusy(tracker.skipped);
    // Only now: of a process that cannot be tracked no empty file is left.
    recorder = await createRecorder(about, options, subject, sample, names);
    const outlets = { recorder, metrics, names };
    const { interval: intervalMs, duration: durationMs } = options;
    const layouts = new LayoutTaker(
      pagemap,
      outlets,
      options.layout,
      tracker === undefined ? 0 : intervalMs / 2,
      ages,
    );
    if (tracker === undefined) {
      const { end, elapsedMs } = await takeLayouts(pagemap, layouts, durationMs, ending);
      await recorder?.flush();
      if (end !== 'process ended') await layouts.take(elapsedMs, true);
      else process.stderr.write(`pmscan: process ${pid} has ended, or replaced its program\n`);
      await recorder?.close(end === 'quit' ? 'interrupt' : end);
      await tell(recorder, end, pid, undefined, options.json);
      return end === 'interrupt' && ending.received === 'SIGINT' ? EXIT.interrupted : EXIT.done;
    }
    const windows = WORKING_SET_WINDOWS_MS.map((window) => Math.max(1, Math.round(window / intervalMs)));
    const sampled = sample?.share;
    const onAdvice = (text: string) => process.stderr.write(`pmscan: ${text}\n`);
    const what = { intervalMs, durationMs, windows, subject, sampled, cost, owners: names, budget, onAdvice };
    let result: Awaited<ReturnType<typeof watchLoop>>;
    let elapsedMs: number;
    {
      using progress = new Progress(`process ${pid}`, subject);
      await layouts.take(0);
      using sink = new RecordSink(outlets, layouts, tracker, progress, ages);
      result = await watchLoop(tracker, sink, what, ending.requested);
      ({ elapsedMs } = sink);
    }
    const { end, summary, error } = result;
    // To look at all pages takes its time: who asked us to end may not wait for it.
    await recorder?.flush();
    if (end !== 'process ended') await layouts.take(elapsedMs, true);
    await recorder?.close(end === 'quit' ? 'interrupt' : end);
    conclude(end, summary, tracker);
    await tell(recorder, end, pid, { summary, tracker }, options.json, subject);
    await giveBack(tracker);
    if (error instanceof ProcessError && summary.intervals === 0) throw endedTooSoon(error, intervalMs);
    // Services are ended by SIGTERM: that is in order.
    return end === 'interrupt' && ending.received !== 'SIGINT' ? EXIT.done : exitCodeOf(end, summary);
  } catch (error) {
    // What was recorded is kept, whatever came then.
    await recorder?.close('failed').catch(() => undefined);
    throw error;
  } finally {
    await recorder?.abandon();
    await metrics?.[Symbol.asyncDispose]();
  }
}

function chooseSample({ accesses, exact, sample }: RecordCommandOptions): PageSample | undefined {
  return accesses && !exact ? sampleOf(sample ?? parseShare(DEFAULT_SAMPLE)) : sampleOf(sample);
}

/** Tracks it, or says what can be had without. */
async function track(pid: number, subject: Subject, options: TrackOptions): Promise<ProcessTracker> {
  try {
    return await trackActivity(pid, subject, options);
  } catch (error) {
    if (!(error instanceof PagemapError) || errorExit(error) === EXIT.noProcess) throw error;
    const why = `${error.message}${anywayAdvice(error)}\n\`--layout-only\` records the kinds of pages, without writes`;
    throw new CliError(errorExit(error), why, { cause: error });
  }
}

type About = ReturnType<typeof describe>;

async function createRecorder(
  about: About,
  options: RecordCommandOptions,
  subject: Subject,
  sample: PageSample | undefined,
  names: OwnerNames,
): Promise<Recorder | undefined> {
  const { output, interval, flush, rotate, rotateSize, host, force, layoutOnly } = options;
  if (output === undefined) return undefined;
  // Such a name may be meant to be a file's.
  const isSurprise =
    !['', '.parquet'].includes(extname(output)) && !output.endsWith('/') && !existsSync(output);
  try {
    const recorder = await Recorder.create(output, about, {
      intervalMs: interval,
      flushMs: flush,
      rotateMs: rotate,
      rotateBytes: rotateSize,
      host,
      force,
      layoutOnly,
      subject,
      sampled: sample?.share,
      toolVersion: version,
      ownerOf: (mapping) => names.of(mapping),
    });
    if (isSurprise) {
      process.stderr.write(
        `pmscan: ${printable(output)} becomes a folder, in which files are rotated; the name of one file ends in .parquet\n`,
      );
    }
    return recorder;
  } catch (error) {
    if (error instanceof RecordingError && error.reason === 'exists') {
      throw new CliError(EXIT.usage, error.message, { cause: error });
    }
    throw error;
  }
}

/** Adds `pmscan record` to the program. `commandLine` is what stood behind `--`. */
export function addRecordCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
  commandLine: readonly string[] | undefined,
): void {
  const command = program
    .command('record')
    .description('record which pages a running process writes, or accesses, and what they are, as Parquet')
    .usage('[options] <pid> -o <path>\n       pmscan record [options] -o <path> -- <command> [args...]')
    .argument('[pid]', TARGET)
    .option('-o, --output <path>', 'a file, FILE.parquet, or a folder, in which files are rotated')
    .addOption(
      optionOr(
        '--interval <time>',
        'how often to look which pages were written, or accessed',
        parseDuration,
        '1s',
      ),
    )
    .option('--duration <time>', 'end after this long', parseDuration)
    .option(
      '--layout <time>',
      'how often to look what all pages are (default: 1m for each 1,000 mappings)',
      parseDuration,
    )
    .option('--layout-only', 'only that, no writes: the process is neither stopped nor tracked')
    .option(
      '--accesses',
      'record which pages it reads, writes or executes, and for how long others lie idle (Linux 7.3)',
    )
    .option(
      '--sample <share>',
      `look at a random share of the pages: numbers are estimates (default with --accesses: ${DEFAULT_SAMPLE})`,
      parseShare,
    )
    .option(
      '--budget <share>',
      `the share of a processor that tracking may cost the process: intervals get longer to keep it (default: ${DEFAULT_BUDGET}; 100% is no bound)`,
      parseBudget,
    )
    .option('--exact', 'with --accesses: look at all pages')
    .addOption(
      optionOr(
        '--flush <time>',
        'write to the file after this long: older rows are safe',
        parseDuration,
        '30s',
      ),
    )
    .addOption(optionOr('--rotate <time>', 'folder: begin a new file after this long', parseDuration, '1h'))
    .addOption(
      optionOr('--rotate-size <size>', 'folder: begin a new file when it is larger', parseSize, '64M'),
    );
  addMetricsOption(command)
    .option('--host <name>', "what to call this machine (default: the system's name for it)")
    .option('--anyway', 'track a process that uses userfaultfd itself: its own registrations fail meanwhile')
    .option('--force', 'replace a file that is there')
    .option('--json', 'say at the end what was recorded, as one JSON document')
    .addHelpText(
      'after',
      `
The file can be read at every moment, by anything that reads Parquet (DuckDB, Spark, pandas): also while it is being written,
and when the recorder was killed. Ends with the process, on Ctrl-C and on SIGTERM.

Times take units: 100ms, 1s, 5m; sizes, too: 64M.

Examples:
  pmscan record redis-server -o redis.parquet --duration 10m
  pmscan record 1234 -o /var/lib/recordings --interval 5s
  pmscan record -o build.parquet -- node server.js
  pmscan record postgres --metrics 0.0.0.0:9464
  pmscan record 1234 -o layout.parquet --layout-only --layout 5m
  pmscan record redis-server -o idle.parquet --accesses --duration 2h
  pmscan record redis-server -o busy.parquet --sample 2%
  duckdb -c "SELECT name, sum(written_pages) FROM 'redis.parquet'
    WHERE record = 'write' GROUP BY ALL ORDER BY 2 DESC LIMIT 10"`,
    )
    .action((target: string | undefined, _options: RecordCommandOptions, command: Command) =>
      run(() => recordCommand(target, commandLine, command.optsWithGlobals() as RecordCommandOptions)),
    );
}
