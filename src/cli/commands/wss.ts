import type { Command } from 'commander';
import picocolors from 'picocolors';
import { PAGE_IS_ACCESSED } from '../../abi/index.js';
import { isEnded, kernelCategories, openPagemap, ProcessHandle, pageSize } from '../../live/internal.js';
import { OwnerNames } from '../../owners/internal.js';
import {
  AccessStatistics,
  type AccessWindow,
  CurrentLookCost,
  clearReferenced,
  type IdlePages,
  type MappingIdleness,
  readReferenced,
  targetCostMs,
  trackProcess,
} from '../../track/internal.js';
import { loadWidths } from '../columns.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Alarm, Ending } from '../interrupt.js';
import { DEFAULT_SAMPLE, optionOr, parseDuration, parseShare } from '../options.js';
import { Output } from '../output.js';
import { StatusLine, StatusLines } from '../status-line.js';
import { adviseAnyway, resolveTarget, TARGET } from '../target.js';
import { humanBytes, outputStyle } from '../text.js';
import { sampleOf } from '../watch/budget.js';
import { humanDuration, type WorkingSetReport, wssJson, wssLines } from '../wss/report.js';

export interface WssCommandOptions {
  readonly duration: number;
  readonly interval: number;
  readonly sample: number;
  readonly exact?: boolean | undefined;
  readonly anyway?: boolean | undefined;
  readonly json?: boolean | undefined;
  readonly color?: boolean | undefined;
}

/** Lengths that people think in, milliseconds; those up to the duration are told. */
const WINDOWS_MS = [1000, 10_000, 60_000, 600_000, 3_600_000];

const REFERENCED_NOTE =
  "by the referenced bits that /proc/PID/smaps counts: coarse, by mapping; what the kernel's reclaim knew of this process is reset (Linux 7.3 tells accesses by page)";

/** The windows of a measurement: the interval, and all of the usual lengths that fit. */
function windowsOf(intervalMs: number, durationMs: number): number[] {
  const longer = WINDOWS_MS.filter((ms) => ms > intervalMs && ms <= durationMs && ms % intervalMs === 0);
  return [intervalMs, ...longer];
}

/** How far it is: a minute without a word is long. */
function progressText(elapsedMs: number, durationMs: number, what: string): string {
  return `${Math.round(elapsedMs / 1000)} s of ${humanDuration(durationMs)}: ${what}; Ctrl-C reports what there is`;
}

/** To look at all pages for the live view may take this share of the time. */
const VIEW_SHARE = 0.05;

/** On a terminal, what is known so far, in its place. */
class LiveView implements Disposable {
  readonly #lines = new StatusLines();
  readonly #style = { ...outputStyle(false, process.stderr), colors: picocolors.createColors(false) };
  #due = 0;
  #known: readonly string[] = [];

  /** @param report is asked when it is time again; without it, what is known already is shown once more */
  show(head: string, report?: () => WorkingSetReport): void {
    if (!this.#lines.isOn) return;
    const begun = performance.now();
    if (report !== undefined && begun >= this.#due) {
      this.#known = ['', ...wssLines(report(), this.#style)];
      const now = performance.now();
      this.#due = now + (now - begun) / VIEW_SHARE;
    }
    this.#lines.show([head, ...this.#known]);
  }

  [Symbol.dispose](): void {
    this.#lines[Symbol.dispose]();
  }
}

/** By the ioctl's ACCESSED. */
async function measureAccesses(
  { pid }: ProcessHandle,
  options: WssCommandOptions,
  alarm: Alarm,
): Promise<WorkingSetReport> {
  const { interval: intervalMs, duration: durationMs } = options;
  const sample = options.exact ? undefined : sampleOf(options.sample);
  using lookCost = CurrentLookCost.open('accesses', sample !== undefined);
  using tracker = await adviseAnyway(() =>
    trackProcess(pid, { accesses: true, anyway: options.anyway, sample }),
  );
  const statistics = new AccessStatistics({
    intervalMs,
    windowsMs: windowsOf(intervalMs, durationMs),
    sample,
  });
  // It reads no memory of the process: that would be an access.
  using pagemap = openPagemap(pid);
  using view = new LiveView();
  const began = performance.now();
  const most = Math.max(1, Math.floor(durationMs / intervalMs));
  let mappings: readonly { start: number; end: number; name: string }[] = [];
  let elapsedMs = 0;
  let costMs = 0;
  const report = (): WorkingSetReport => {
    const found = statistics.report(pagemap, mappings);
    const times = { intervalMs, elapsedMs, targetCostMs: lookCost && costMs };
    const how = { provider: 'ioctl', sampled: sample?.share, ...times } as const;
    return { ...found, pid, ...how };
  };
  let touched = 'the first interval has begun';
  const head = () => progressText(performance.now() - began, durationMs, touched);
  for (let count = 1; count <= most; count++) {
    await alarm.until(began + count * intervalMs, tracker, () => view.show(head()));
    const interval = tracker.collect((start, end) => statistics.add(start, end));
    statistics.endInterval();
    ({ elapsedMs, mappings } = interval);
    lookCost?.refresh();
    if (lookCost !== undefined) costMs += targetCostMs(interval, lookCost);
    if (alarm.isRequested) break;
    touched = `${humanBytes(interval.accessedPages * pageSize())} touched in the last interval`;
    view.show(head(), report);
  }
  const result = report();
  pagemap.checkAlive();
  return result;
}

/** By the referenced bits: cleared once, then counted when each window's time has passed. */
async function measureReferenced(
  handle: ProcessHandle,
  options: WssCommandOptions,
  alarm: Alarm,
): Promise<WorkingSetReport> {
  const { interval: intervalMs, duration: durationMs } = options;
  const { pid } = handle;
  using line = new StatusLine();
  clearReferenced(handle);
  // Only now: where that is not permitted, nothing is reset.
  process.stderr.write(`pmscan: ${REFERENCED_NOTE}\n`);
  const began = performance.now();
  const windows: AccessWindow[] = [];
  let last: { residentPages: number; mappings: readonly MappingIdleness[] } = {
    residentPages: 0,
    mappings: [],
  };
  let idle: IdlePages[] = [];
  const looks = [...new Set([...windowsOf(intervalMs, durationMs), durationMs])].sort((a, b) => a - b);
  for (const ms of looks) {
    await alarm.until(began + ms, {}, () =>
      line.show(progressText(performance.now() - began, durationMs, 'referenced bits are gathered')),
    );
    const found = readReferenced(handle);
    const elapsedMs = alarm.isRequested ? Math.max(1, Math.round(performance.now() - began)) : ms;
    const pages = found.referencedPages;
    // One window of each length: the first one.
    windows.push({ ms: elapsedMs, meanPages: pages, p95Pages: pages, maxPages: pages, errorPages: 0 });
    idle = [{ atLeastMs: elapsedMs, pages: found.residentPages - pages }];
    last = found;
    if (alarm.isRequested) break;
  }
  const { residentPages, mappings } = last;
  const elapsedMs = performance.now() - began;
  return { pid, provider: 'referenced', intervalMs, elapsedMs, residentPages, windows, idle, mappings };
}

/** The work of `pmscan wss`. */
export async function wssCommand(target: string, options: WssCommandOptions): Promise<ExitCode> {
  if (options.duration < options.interval) {
    throw new CliError(
      EXIT.usage,
      `Cannot measure ${humanDuration(options.duration)} in intervals of ${humanDuration(options.interval)}: give a longer --duration, or a shorter --interval`,
    );
  }
  await loadWidths();
  using handle = new ProcessHandle(resolveTarget(target));
  using ending = new Ending();
  const alarm = new Alarm(ending.requested);
  const byPage = (kernelCategories() & PAGE_IS_ACCESSED) !== 0;
  let report: WorkingSetReport;
  try {
    report = await (byPage ? measureAccesses : measureReferenced)(handle, options, alarm);
  } catch (error) {
    if (!isEnded(error)) throw error;
    const why = `Cannot tell the working set of process ${handle.pid}: it ended, or replaced its program, before ${humanDuration(options.duration)} were over; give a shorter --duration`;
    throw new CliError(EXIT.noProcess, why, { cause: error });
  }
  const owners = new OwnerNames(handle);
  owners.look(report.mappings);
  const owned: WorkingSetReport = { ...report, ownerOf: (mapping) => owners.of(mapping) };
  const output = new Output();
  if (options.json) output.line(wssJson(owned));
  else for (const line of wssLines(owned, outputStyle(options.color !== false))) output.line(line);
  await output.flush();
  return ending.received === undefined ? EXIT.done : EXIT.interrupted;
}

/** Adds `pmscan wss` to the program. */
export function addWssCommand(program: Command, run: (work: () => Promise<ExitCode>) => Promise<void>): void {
  program
    .command('wss')
    .description('measure how much memory a process needs, and how much is idle')
    .argument('<pid>', TARGET)
    .addOption(optionOr('--duration <time>', 'for how long', parseDuration, '1m'))
    .addOption(optionOr('--interval <time>', 'how often to look', parseDuration, '1s'))
    .addOption(
      optionOr('--sample <share>', 'look at a random share of the pages', parseShare, DEFAULT_SAMPLE),
    )
    .option('--exact', 'look at all pages; each first access then costs the process a page fault')
    .option(
      '--anyway',
      'measure a process that uses userfaultfd itself: its own registrations fail meanwhile',
    )
    .option('--json', 'one JSON document')
    .addHelpText(
      'after',
      `
On a terminal, it shows what is known so far while it measures.

The working set is what a process touches (reads, writes or executes) within a window of time. For each length of
window it prints the mean, the 95th percentile and the maximum; then how long resident pages were idle, by mapping.

Linux 7.3 and later tell it by page. A random sample of 2 % of the pages is looked at, and numbers are estimates with
their error; --exact looks at all. Older kernels tell it by mapping, from the referenced bits of /proc/PID/smaps. These
are cleared at the start; the kernel's reclaim uses them, too.

Examples:
  pmscan wss redis-server
  pmscan wss 1234 --duration 10m --interval 10s
  pmscan wss 1234 --exact --json | jq '.windows[-1].p95Pages * .pageSize'`,
    )
    .action((target: string, _options: WssCommandOptions, command: Command) =>
      run(() => wssCommand(target, command.optsWithGlobals())),
    );
}
