import { statSync } from 'node:fs';
import type { Command } from 'commander';
import type { PageModel } from '../../web/index.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Ending, Interrupt } from '../interrupt.js';
import { optionOr, parseDuration } from '../options.js';
import { checkTextFile, writeTextFile } from '../output-file.js';
import { holdsSnapshots } from '../snap/folder.js';
import { ownersOfSnapshot } from '../snap/owners.js';
import { asCliError, chooseSnapshot, type SnapshotName, snapshotNamed } from '../snap/where.js';
import { StatusLine } from '../status-line.js';
import { resolveTarget, tellBusy } from '../target.js';
import { humanBytes, plural, printable } from '../text.js';

export interface ReportOptions {
  readonly output?: string | undefined;
  readonly duration: number;
  readonly interval: number;
  readonly accesses?: boolean | undefined;
  readonly recording?: string | undefined;
  readonly force?: boolean | undefined;
}

/** Longer samples are joined, two intervals to one, as often as it takes. */
const HEAT = { columns: 600, numbers: 600_000, full: 'join' } as const;

/** Looks at a process for a while; ended early, the report shows what there is. */
async function sample(pid: number, options: ReportOptions): Promise<PageModel> {
  const { Session, sampleNotes } = await import('../../web/index.js');
  using ending = new Ending();
  const session = new Session(pid, {
    intervalMs: options.interval,
    heat: HEAT,
    durationMs: options.duration,
    // It is short, and meant.
    budget: 1,
    subject: options.accesses ? 'accesses' : 'writes',
  });
  using status = new StatusLine();
  const began = performance.now();
  const timer = setInterval(() => {
    const seconds = Math.floor((performance.now() - began) / 1000);
    status.show(`looking at process ${pid}: ${seconds} of ${Math.round(options.duration / 1000)} s`);
  }, 1000);
  try {
    await Promise.race([session.done, ending.requested]);
    const model = session.model(true);
    if (model.tracking.state === 'off') {
      process.stderr.write(
        `pmscan: ${options.accesses ? 'accesses' : 'writes'} cannot be tracked: ${printable(model.tracking.why ?? '')}\n`,
      );
    }
    tellBusy(model.tracking.skipped ?? []);
    return { ...model, about: { ...model.about, source: 'sample' }, notes: sampleNotes(model) };
  } finally {
    clearInterval(timer);
    await session.close();
  }
}

async function recorded(path: string, recording: string | undefined): Promise<PageModel> {
  const { aggregateRecording, openRecording } = await import('../../record/internal.js');
  const progress = process.stderr.isTTY
    ? (done: number, all: number) =>
        void process.stderr.write(`\rpmscan: reading ${Math.floor((done / Math.max(all, 1)) * 100)} %`)
    : undefined;
  try {
    return await aggregateRecording(await openRecording(path, recording), progress ? { progress } : {});
  } finally {
    if (progress) process.stderr.write('\r\x1b[K');
  }
}

/** Snapshots in a folder: all of them, or the one that the name says. */
async function snapshotsOf({ folder, which }: SnapshotName, isOne: boolean): Promise<PageModel> {
  const { snapshotsModel } = await import('../../web/index.js');
  const { openSnapshots, SnapshotError } = await import('../../snapshot/index.js');
  using interrupt = new Interrupt();
  try {
    using snapshots = openSnapshots(folder);
    return await snapshotsModel(snapshots, {
      which: isOne ? String(chooseSnapshot(snapshots, which)) : undefined,
      ownersOf: (snapshot) => ownersOfSnapshot(snapshots.process.pid, snapshot),
      onStep: async () => {
        if (await interrupt.check())
          throw new CliError(EXIT.interrupted, 'interrupted; no report is written');
      },
    });
  } catch (error) {
    throw error instanceof SnapshotError ? asCliError(error) : error;
  }
}

/** The folder of snapshots that a target names, `DIR` or `DIR@N`; undefined when it is something else. */
function snapshotsNamed(target: string): [name: SnapshotName, isOne: boolean] | undefined {
  // A number is a process.
  if (/^\d+$/.test(target)) return undefined;
  if (holdsSnapshots(target)) return [{ folder: target, which: 'latest' }, false];
  const at = target.lastIndexOf('@');
  if (at <= 0 || target.includes('/', at) || !holdsSnapshots(target.slice(0, at))) return undefined;
  return [snapshotNamed(target), true];
}

/** Whether it is a recording that is meant: a file or folder of that name, unless it is a plain number. */
function isPath(target: string): boolean {
  if (/^\d+$/.test(target)) return false;
  return target.includes('/') || statSync(target, { throwIfNoEntry: false }) !== undefined;
}

/** The work of `pmscan report`. */
export async function reportCommand(target: string, options: ReportOptions): Promise<ExitCode> {
  const { output } = options;
  if (output === undefined)
    throw new CliError(EXIT.usage, 'Cannot tell where to write the report: give a file, `-o report.html`');
  const writing = { replace: options.force === true, advice: '--force replaces it' };
  checkTextFile(output, writing);
  const named = snapshotsNamed(target);
  const model =
    named !== undefined
      ? await snapshotsOf(...named)
      : isPath(target)
        ? await recorded(target, options.recording)
        : await sample(resolveTarget(target), options);
  const { reportHtml } = await import('../../web/index.js');
  const html = reportHtml(model);
  writeTextFile(output, html, writing);
  const { columns } = model.heat ?? { columns: [] };
  const { moments } = model;
  const times =
    moments === undefined
      ? `${plural(columns.length, 'column')} of time`
      : plural(moments.length, 'snapshot');
  const size = humanBytes(Buffer.byteLength(html));
  process.stderr.write(
    `pmscan: wrote ${printable(output)}: ${size}, ${times}, ${plural(model.layout?.mappings.length ?? 0, 'mapping')}\n`,
  );
  return EXIT.done;
}

/** Adds `pmscan report` to the program. */
export function addReportCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
): void {
  program
    .command('report')
    .description('show a recording, snapshots, or some seconds of a process, as one HTML file')
    .argument(
      '<file|pid>',
      'what `pmscan record` wrote, a file or folder; what `pmscan snap` wrote, DIR or DIR@N; or a process, number or name',
    )
    .option('-o, --output <file>', 'the HTML file to write')
    .addOption(optionOr('--duration <time>', 'for a process: how long to look', parseDuration, '10s'))
    .addOption(optionOr('--interval <time>', 'for a process: how often to look', parseDuration, '500ms'))
    .option(
      '--accesses',
      'for a process: show accesses (reads, writes, executions) instead of writes (Linux 7.3)',
    )
    .option('--recording <digits>', 'for a folder with several recordings: which one')
    .option('--force', 'replace a file that is there')
    .addHelpText(
      'after',
      `
Of a folder of snapshots, the page has a slider that moves through them, and the address map shows what changed from each to the next.
The file is complete in itself and loads nothing. It has a few megabytes at most, however long the recording is, and
says how it was made smaller.

Examples:
  pmscan report recording.parquet -o report.html
  pmscan report redis-server -o redis.html --duration 1m
  pmscan report snapshots -o snapshots.html
  pmscan report redis-server -o idle.html --duration 2m --accesses`,
    )
    .action((target: string, _options: ReportOptions, command: Command) =>
      run(() => reportCommand(target, command.optsWithGlobals())),
    );
}
