/** `pmscan snap PID`: takes snapshots, one after the other. */
import { isEnded } from '../../live/internal.js';
import {
  type SnapshotCompression,
  type SnapshotInfo,
  type Snapshotter,
  type SnapshotterOptions,
  startSnapshots,
} from '../../snapshot/index.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Alarm, Ending } from '../interrupt.js';
import { Output } from '../output.js';
import { StatusLine } from '../status-line.js';
import { requireIoctl, resolveTarget } from '../target.js';
import { humanBytes, plural, printable } from '../text.js';
import { asJson, describeLine, LIST_HEADER } from './describe.js';
import { reporting } from './where.js';

export const SNAP_SCHEMA = 'pagemap-scan/snap@1';

export interface SnapCommandOptions
  extends Pick<SnapshotterOptions, 'filter' | 'only' | 'without' | 'zero' | 'overPause' | 'shared' | 'keep'> {
  readonly output?: string | undefined;
  readonly every: number;
  readonly for?: number | undefined;
  readonly count?: number | undefined;
  readonly keepSize?: number | undefined;
  readonly maxPause?: number | undefined;
  readonly compress?: SnapshotCompression | undefined;
  readonly json?: boolean | undefined;
}

/** How often to look for new neighbours of memory that is tracked, and for a signal, milliseconds. */
const NEIGHBOURS_MS = 100;

/** SIGUSR1 asks for one more snapshot. Node would start its debugger. */
class MoreSignal implements Disposable {
  #asked = false;
  readonly #handler = () => {
    this.#asked = true;
  };

  constructor() {
    process.on('SIGUSR1', this.#handler);
  }

  /** Whether it came since the last call. */
  take(): boolean {
    const asked = this.#asked;
    this.#asked = false;
    return asked;
  }

  get isAsked(): boolean {
    return this.#asked;
  }

  [Symbol.dispose](): void {
    process.off('SIGUSR1', this.#handler);
  }
}

/** What came of it. */
interface Taken {
  readonly snapshots: number;
  readonly longestStopMs: number;
  readonly end: 'duration' | 'count' | 'interrupt' | 'process ended';
}

async function takeAll(
  snapshotter: Snapshotter,
  more: MoreSignal,
  ending: Ending,
  { every, for: durationMs = Number.POSITIVE_INFINITY, count = Number.POSITIVE_INFINITY }: SnapCommandOptions,
  tell: (info: SnapshotInfo) => Promise<void>,
): Promise<Taken> {
  const alarm = new Alarm(ending.requested);
  const began = performance.now();
  const { pagemap } = snapshotter;
  let snapshots = 0;
  let longestStopMs = 0;
  const taken = (end: Taken['end']): Taken => ({ snapshots, longestStopMs, end });
  for (let due = began; ; ) {
    try {
      const info = await snapshotter.take();
      snapshots++;
      longestStopMs = Math.max(longestStopMs, info.pauseMs);
      await tell(info);
    } catch (error) {
      if (ending.signal.aborted) return taken('interrupt');
      if (!isEnded(error) || snapshots === 0) throw error;
      return taken('process ended');
    }
    if (snapshots >= count) return taken('count');
    // Those that were missed are left out.
    while (due <= performance.now()) due += every;
    const until = Math.min(due, began + durationMs);
    while (performance.now() < until && !more.isAsked) {
      if (ending.signal.aborted) return taken('interrupt');
      if (pagemap.ended) return taken('process ended');
      await alarm.until(Math.min(until, performance.now() + NEIGHBOURS_MS), pagemap);
      if (!ending.signal.aborted && !lookForNeighbours(snapshotter)) return taken('process ended');
    }
    if (!more.take() && performance.now() >= began + durationMs) return taken('duration');
    if (ending.signal.aborted) return taken('interrupt');
  }
}

/** False when the process has ended. */
function lookForNeighbours(snapshotter: Snapshotter): boolean {
  try {
    snapshotter.lookForNeighbours();
    return true;
  } catch (error) {
    if (isEnded(error)) return false;
    throw error;
  }
}

/** The work of `pmscan snap PID`. */
export function snapCommand(target: string | undefined, options: SnapCommandOptions): Promise<ExitCode> {
  return reporting(() => snap(target, options));
}

async function snap(target: string | undefined, options: SnapCommandOptions): Promise<ExitCode> {
  const { output: folder } = options;
  if (target === undefined || folder === undefined)
    throw new CliError(
      EXIT.usage,
      target === undefined
        ? 'Cannot tell what to take snapshots of: give a process, `pmscan snap 1234 -o DIR`'
        : 'Cannot tell where to keep the snapshots: give a folder, `-o DIR`',
    );
  using ending = new Ending();
  using more = new MoreSignal();
  const pid = resolveTarget(target);
  requireIoctl();
  const output = new Output();
  const { filter, only, without, zero, overPause, shared, keep, keepSize, maxPause, compress, json } =
    options;
  let result: Taken;
  let kept: Snapshotter['kept'];
  let storedBytes: number;
  {
    using status = new StatusLine();
    let isFirst = true;
    using snapshotter = await start(pid, folder, ending, {
      // The first one copies all memory.
      onProgress: ({ copiedBytes, totalBytes }) => {
        if (isFirst) status.show(`first snapshot: ${humanBytes(copiedBytes)} of ${humanBytes(totalBytes)}`);
      },
      filter,
      only,
      without,
      zero,
      overPause,
      shared,
      keep,
      keepBytes: keepSize,
      maxPauseMs: maxPause,
      compression: compress,
      signal: ending.signal,
    });
    result = await takeAll(snapshotter, more, ending, options, async (info) => {
      status[Symbol.dispose]();
      // Off a terminal, lines are for programs, which need no heads.
      if (isFirst && json !== true && process.stdout.isTTY === true) output.line(LIST_HEADER);
      isFirst = false;
      output.line(json ? JSON.stringify({ schema: SNAP_SCHEMA, pid, ...asJson(info) }) : describeLine(info));
      await output.flush();
    });
    ({ kept, storedBytes } = snapshotter);
  }
  const { snapshots, longestStopMs, end } = result;
  if (end === 'process ended')
    process.stderr.write(`pmscan: process ${pid} has ended, or replaced its program\n`);
  const range = kept.newest === 0 ? '' : ` (${kept.oldest} to ${kept.newest})`;
  process.stderr.write(
    `pmscan: took ${plural(snapshots, 'snapshot')}; ${printable(folder)}${range}: ${humanBytes(storedBytes)}; stopped for ${longestStopMs.toFixed(1)} ms at the longest\n`,
  );
  if (end === 'interrupt' && (ending.received === 'SIGINT' || snapshots === 0)) return EXIT.interrupted;
  return EXIT.done;
}

async function start(
  pid: number,
  folder: string,
  ending: Ending,
  options: SnapshotterOptions,
): Promise<Snapshotter> {
  try {
    return await startSnapshots(pid, folder, options);
  } catch (error) {
    if (!ending.signal.aborted) throw error;
    throw new CliError(EXIT.interrupted, 'interrupted; no snapshot was taken');
  }
}
