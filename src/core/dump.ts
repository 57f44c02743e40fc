/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A core dump of a running process that stops it only for what it wrote last.
 *
 * Rounds: what is there is copied while the process runs and its writes are tracked, then what was written meanwhile, until
 * little is left (`follow.ts`). Then all threads are stopped, what was written since the last round is copied to a buffer, with
 * the registers and the list of mappings (`stop.ts`), and the threads go on. All of it together is the state of the process at
 * the stop (`state.ts`), which a sink keeps (`sink.ts`). Each page of it is thus as it was at the stop:
 *
 * - a page that is tracked was copied after its last write, or it is found written at the stop;
 * - one that was discarded shows as written, too, and is looked at again: it becomes a hole;
 * - what cannot be tracked, or can be written by others, is copied at the stop.
 */
import { freemem, tmpdir } from 'node:os';
import { dirname } from 'node:path';
import { codeOf, MOST_USER_SPACE_END, PAGE_SIZE, PagemapError } from '../abi/internal.js';
import {
  atPriority,
  holesAreWritten,
  MOST_URGENT,
  openPagemap,
  ProcessError,
  type ProcessHandle,
  requireSmallPages,
  type StoppedProcess,
} from '../live/internal.js';
import { parseSmaps } from '../proc/index.js';
import { trackByProtection, type WriteProtectTracker } from '../track/internal.js';
import { Choice, checkPatterns } from './choice.js';
import { ElfSink } from './elf-sink.js';
import { CoreFile } from './file.js';
import { traitsOf } from './filter.js';
import { FollowingCopy } from './follow.js';
import { failure, LEAST_KEPT_BYTES, MOST_KEPT_BYTES } from './limits.js';
import type { CoreOptions, CoreResult, StateOptions, StateResult } from './options.js';
import { reserveAll } from './order.js';
import { hasDumpedPages, isPrivateFile, isShared, type Planned, readFilter, readPlan } from './plan.js';
import { visitRest } from './selection.js';
import { checkCompression, sendCore, sendTo } from './send.js';
import type { StateSink, Stored } from './sink.js';
import { makeState, type PageSource } from './state.js';
import { Stop, type Taken } from './stop.js';
import { StreamSink } from './stream-sink.js';
import { coreArchitecture, describeThreads, takeFacts } from './threads.js';
import { type Beginning, DumpTools } from './tools.js';

const DEFAULT_ROUNDS = 30;
/** The process is let go so often when there is more to copy at the stop than expected: a burst of writes. */
const MOST_RETREATS = 3;
/** Dry runs before the stop, so that V8 has compiled the code. */
const DRY_RUNS = 4;
/**
 * No more dry runs after this time, milliseconds: with page tables so large, walking them takes all the time, and each
 * dry run is another walk.
 */
const MOST_DRY_MS = 40;
/** So many rounds in a row may fail to help: a busy moment is not yet a busy process. */
const MOST_VAIN_ROUNDS = 3;

/** What tests hook into a dump. */
export interface DumpHooks {
  /** Called right before the process is stopped. */
  readonly beforeStop?: (() => void) | undefined;
  /** Called when everything was copied and the process is still stopped. */
  readonly whileStopped?: ((stopped: StoppedProcess) => void) | undefined;
}

/** Whether the process is stopped while everything is copied, so that its writes need not be tracked. */
function isStoppedThroughout({ stop, stacks }: StateOptions): boolean {
  return stop === true || stacks === true;
}

function begin(handle: ProcessHandle, options: StateOptions): Beginning {
  const choice = new Choice(options.filter ?? readFilter(handle), options, options.stacks);
  // So that it is known when it is asked for.
  if (!isStoppedThroughout(options)) holesAreWritten();
  const plan = readPlan(handle, choice);
  const mappings = plan.map(({ mapping }) => mapping);
  checkPatterns(options, mappings, handle.pid);
  return { facts: takeFacts(handle), choice, plan };
}

/** The result of a stop; nothing is taken when the process was let go early. */
interface Paused {
  readonly taken: Taken | undefined;
  readonly pauseMs: number;
  /** From a sink that takes everything at the stop. */
  readonly stored: Stored | undefined;
}

/** Takes the state of a process, or one state after the other while it follows the process. */
export class Dump {
  readonly #tools: DumpTools;
  readonly #follow: FollowingCopy | undefined;
  readonly #stop: Stop;
  readonly #hooks: DumpHooks;
  readonly #mostRounds: number;
  readonly #stays: boolean;
  #isFirst = true;
  #room: Uint8Array<ArrayBuffer> | undefined;

  /** @param stays more states will be taken: writes after a stop count for the next one */
  constructor(tools: DumpTools, follow: FollowingCopy | undefined, hooks: DumpHooks, stays = false) {
    this.#tools = tools;
    this.#follow = follow;
    this.#stop = new Stop(tools, follow);
    this.#hooks = hooks;
    this.#stays = stays;
    this.#mostRounds = tools.options.maxRounds ?? DEFAULT_ROUNDS;
  }

  /** @param release called after the last stop: the process's writes do not matter any more */
  async run(release?: () => void): Promise<StateResult> {
    const { copier, options, pid, plan, progress, record, settling, sink } = this.#tools;
    options.signal?.throwIfAborted();
    if (!this.#isFirst) {
      this.#tools.renew();
      this.#follow?.beginAgain();
    } else if (this.#follow === undefined) plan.refresh();
    else this.#follow.checkTracked();
    const { taken, pauseMs, stored: before } = await this.#takeAll();
    if (release !== undefined) {
      // Both take their time.
      sink.flush?.();
      release();
    }
    plan.keep(taken.plan);
    await copier.drain();
    const stored = before ?? (await this.#finish(taken));
    this.#isFirst = false;
    record.written.clear();
    if (this.#stays) this.#forgetUnmapped(taken.plan);
    const { doubts } = settling;
    return {
      pid,
      ...stored,
      pauseMs: Math.max(pauseMs, settling.stopMs),
      totalMs: progress.elapsedMs,
      rounds: this.#follow?.rounds ?? [],
      stoppedPages: taken.pages,
      threads: taken.threads.length,
      unreadablePages: record.countUnreadable(taken.plan),
      ...(doubts.length > 0 && { mayBeTorn: true, doubts }),
    };
  }

  /** Stops the process until everything is taken. Gives the longest of the stops. */
  async #takeAll(): Promise<Paused & { taken: Taken }> {
    const { progress } = this.#tools;
    let room = await this.#approach(this.#room);
    let longestMs = 0;
    for (let retreats = 0; ; ) {
      progress.begin('stop');
      const rounds = this.#follow?.rounds.length;
      const mayRetreat = rounds !== undefined && retreats < MOST_RETREATS && rounds < this.#mostRounds;
      const { taken, pauseMs, stored } = await this.#tryOnce(room, mayRetreat);
      longestMs = Math.max(longestMs, pauseMs);
      if (taken !== undefined) {
        if (this.#follow !== undefined) this.#room = room;
        return { taken, pauseMs: longestMs, stored };
      }
      retreats++;
      room = await this.#approach(room);
    }
  }

  /** Copies everything that needs no stop; gives the memory for the rest. */
  async #approach(earlier?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    await this.#follow?.copyRounds(this.#mostRounds, MOST_VAIN_ROUNDS);
    // Some more than the last round left: it goes on writing until it stands still.
    const leftBytes = (this.#follow?.leftPages ?? 0) * PAGE_SIZE;
    const expected = LEAST_KEPT_BYTES + this.#stop.lateBytes + leftBytes;
    const bytes = Math.min(expected, MOST_KEPT_BYTES, Math.floor(freemem() / 4));
    const room =
      earlier !== undefined && earlier.byteLength >= bytes
        ? earlier
        : new Uint8Array(new ArrayBuffer(bytes)).fill(1);
    // What has run before is compiled, and the plan was looked at anew after the last stop.
    if (this.#follow === undefined || !this.#isFirst) return room;
    // It takes as long as many writes do, so that it has to come before the last round.
    this.#tools.plan.refresh(true);
    // A look at page tables that are long takes longer than the first run of anything.
    const before = performance.now() - this.#follow.collectMs;
    const mayRun = () => performance.now() - before < MOST_DRY_MS;
    // What is copied at the stop in any case is read once before: it comes back from where it was swapped to meanwhile, and its
    // pages are where the kernel finds them at once.
    const most = this.#stop.lateBytes < LEAST_KEPT_BYTES ? DRY_RUNS : 1;
    for (let times = 0; times < most && (most === 1 || mayRun()); times++)
      await this.#stop.take(undefined, room, false);
    // What was written since.
    await this.#follow.copyRounds(this.#mostRounds, 1);
    return room;
  }

  async #tryOnce(room: Uint8Array<ArrayBuffer>, mayRetreat: boolean): Promise<Paused> {
    try {
      return await this.#pause(room, mayRetreat);
    } catch (error) {
      // A thread waits for a disk, which takes longer than others are to be kept waiting: once more, later.
      const isBusy = error instanceof ProcessError && error.reason === 'busy';
      if (!isBusy || !mayRetreat || !(await this.#tools.stopper.letGo())) throw error;
      return { taken: undefined, pauseMs: 0, stored: undefined };
    }
  }

  async #pause(room: Uint8Array<ArrayBuffer>, mayRetreat: boolean): Promise<Paused> {
    this.#hooks.beforeStop?.();
    // The process waits for us.
    const restore = atPriority(MOST_URGENT);
    let since: number;
    let taken: Taken | undefined;
    let stored: Stored | undefined;
    try {
      using stopped = this.#tools.stopper.stop();
      since = stopped.since;
      taken = await this.#stop.take(stopped, room, mayRetreat);
      if (taken !== undefined) {
        if (this.#tools.sink.isSequential) stored = await this.#finish(taken);
        await this.#tools.copier.drain();
        if (this.#stays) this.#follow?.settle(taken);
        this.#hooks.whileStopped?.(stopped);
      }
    } finally {
      restore();
    }
    return { taken, pauseMs: performance.now() - since, stored };
  }

  /** Joins what was copied before and what was taken at the stop, and gives it to the sink. */
  async #finish(taken: Taken): Promise<Stored> {
    const { copier, facts, files, options, pagemap, record, sink } = this.#tools;
    const { copied } = record;
    const plan = withoutSecrets(pagemap.process, taken.plan);
    reserveAll(sink, files, plan, taken, (start, end) => copied.some(start, end));
    this.#discardGone(taken);
    for (const { start, end } of taken.taken) copied.add(start, end);
    // What is not to be dumped after all was copied before that was known.
    for (const { mapping, share } of plan)
      if (share === 'none' || share === 'zeros') this.#discard(mapping.start, mapping.end);
    const state = makeState({
      written: this.#isFirst ? undefined : record.written,
      facts,
      threads: describeThreads(pagemap.process, taken.threads),
      plan,
      copied,
      kept: taken.kept,
      views: taken.views,
      unkept: (planned, start) => this.#unkept(planned, start),
      images: taken.images,
      header: (start) => files.header(start),
      file: (planned) =>
        isPrivateFile(planned) && hasDumpedPages(planned) ? files.open(planned.mapping) : undefined,
    });
    options.signal?.throwIfAborted();
    return sink.finish(state, copier);
  }

  /**
   * Drops copies of memory that is gone, and of memory that was read from files again: they are not part of the state.
   */
  #discardGone({ checked, present, shared, sharedData, kept }: Taken): void {
    visitRest(checked, present, (start, end) => this.#discard(start, end));
    // Without room in memory, the sink was given it at the stop.
    if (kept !== undefined) for (const { start, end } of shared) this.#discard(start, end);
    // A sink that was given the data reads the holes between as zeros; another one is to be told where there are any.
    for (const { start, end } of this.#tools.sink.isSequential ? sharedData : shared)
      this.#tools.record.copied.add(start, end);
  }

  #unkept(planned: Planned, start: number): PageSource {
    const { files, sink } = this.#tools;
    if (!sink.isSequential) return { in: 'sink' };
    const { mapping } = planned;
    const fd = isShared(planned) ? files.open(mapping) : undefined;
    return fd === undefined
      ? { in: 'process' }
      : { in: 'file', fd, offset: mapping.offset + (start - mapping.start) };
  }

  /** Forgets memory that is not mapped any more: another mapping may be there the next time. */
  #forgetUnmapped(plan: readonly Planned[]): void {
    const forget = (start: number, end: number) => {
      this.#discard(start, end);
      this.#tools.record.baseline.delete(start, end);
    };
    let at = 0;
    for (const { mapping } of plan) {
      if (mapping.start > at) forget(at, mapping.start);
      at = mapping.end;
    }
    forget(at, MOST_USER_SPACE_END);
  }

  #discard(start: number, end: number): void {
    const { record, sink } = this.#tools;
    record.copied.runs(start, end, true, (from, to) => sink.discard(from, to));
    record.copied.delete(start, end);
  }
}

/** Drops mappings that the process has meanwhile marked as not to be dumped: this cannot be asked at the stop. */
function withoutSecrets(handle: ProcessHandle, plan: readonly Planned[]): readonly Planned[] {
  let secret: { start: number; end: number }[];
  try {
    secret = parseSmaps(handle.read('smaps')).filter((mapping) => traitsOf(mapping).dontDump);
  } catch {
    // The process has ended since.
    return plan;
  }
  const ends = new Map(secret.map(({ start, end }) => [start, end]));
  return plan.map((planned) => {
    const { mapping, known } = planned;
    const isSecret = known
      ? ends.get(mapping.start) === mapping.end
      : secret.some(({ start, end }) => start < mapping.end && end > mapping.start);
    return isSecret ? { ...planned, share: 'none' } : planned;
  });
}

/** Keeps the state of a process in a sink. */
async function dumpTo(
  pid: number,
  sink: StateSink,
  options: StateOptions,
  hooks: DumpHooks,
  started: number,
): Promise<StateResult> {
  if (isStoppedThroughout(options)) {
    using pagemap = openPagemap(pid);
    using tools = new DumpTools(pagemap, sink, begin(pagemap.process, options), options, started);
    return await new Dump(tools, undefined, hooks).run();
  }
  const { tracker, beginning, existing } = await attach(pid, options);
  using _ = tracker;
  using tools = new DumpTools(tracker.pagemap, sink, beginning, options, started);
  const follow = new FollowingCopy(tools, tracker, existing);
  return await new Dump(tools, follow, hooks).run(() => follow.release());
}

/** A tracked process, and its pages as tracking began. */
export interface Attachment {
  readonly tracker: WriteProtectTracker;
  readonly beginning: Beginning;
  /** The pages, at least of private memory, that existed as tracking began: start and end in turns, in any order. */
  readonly existing: readonly number[];
}

/** Begins to track a process whose state will be taken. The caller disposes the tracker. */
export async function attach(pid: number, options: StateOptions): Promise<Attachment> {
  let beginning: Beginning;
  const existing: number[] = [];
  const tracker = await trackByProtection(
    pid,
    {
      // All its threads are going to be stopped, in whatever they do then.
      quietWaitMs: 0,
      onStarting: (handle) => {
        beginning = begin(handle, options);
      },
    },
    (start, end) => existing.push(start, end),
  );
  return { tracker, beginning: beginning!, existing };
}

/** Explains an error that is about missing disk space: it says where. */
function explainSpace(error: unknown, folder: string, pid: number): unknown {
  const code = codeOf(error);
  if (error instanceof PagemapError || !['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code ?? '')) return error;
  const hint = `${folder} is full, or a limit keeps the file from growing; give another place`;
  return failure(`write the core file of process ${pid}`, code!, hint, pid);
}

/** As `dumpCore`, with hooks for tests. */
export async function dumpWithHooks(
  pid: number,
  options: CoreOptions,
  hooks: DumpHooks,
): Promise<CoreResult> {
  const started = performance.now();
  requireSmallPages(`dump process ${pid}`);
  const arch = coreArchitecture();
  if (arch === undefined)
    throw failure(
      `dump process ${pid}`,
      'ENOSYS',
      `core files of ${process.arch} are not supported yet`,
      pid,
    );
  if (options.stacks && (options.only ?? options.without) !== undefined)
    throw failure(`dump the stacks of process ${pid}`, 'EINVAL', 'leave out only and without', pid);
  const { file: output, compress, signal } = options;
  if (compress !== undefined) checkCompression(compress);
  const folder = typeof output === 'string' ? dirname(output) : tmpdir();
  if (isStoppedThroughout(options) && (typeof output !== 'string' || compress !== undefined)) {
    const stream = new StreamSink(arch, (source) => sendTo(source, output, compress, signal), folder);
    try {
      return inFile(await dumpTo(pid, stream, options, hooks, started), output);
    } catch (error) {
      throw explainSpace(error, folder, pid);
    }
  }
  using file = new CoreFile(
    typeof output === 'string' && compress === undefined ? output : undefined,
    folder,
  );
  const sink = new ElfSink(file, arch, async (length) => {
    signal?.throwIfAborted();
    if (typeof output !== 'string' || compress !== undefined)
      return sendCore(file, length, output, compress, signal);
    await file.publish();
    return file.storedBytes;
  });
  try {
    return inFile(await dumpTo(pid, sink, options, hooks, started), output);
  } catch (error) {
    throw explainSpace(error, folder, pid);
  } finally {
    await file.settle();
  }
}

function inFile({ pid, ...rest }: StateResult, output: CoreOptions['file']): CoreResult {
  return { pid, file: typeof output === 'string' ? output : undefined, ...rest };
}

/**
 * Dumps a process's memory and registers, as of one moment, to an ELF core file. The process runs on meanwhile. It is
 * stopped only to copy its last writes: for some milliseconds, whatever its size.
 *
 * It needs the permissions of a debugger. With `stop`, the process is stopped throughout, and neither write tracking
 * nor Linux 6.7 is needed.
 *
 * @throws ProcessError for a process that cannot be dumped or has ended; `reason` and `hint` say why
 * @throws PagemapError ENOSPC, ETIMEDOUT when the pause would be longer than allowed, and the errors of tracking
 * @example
 * ```ts
 * import { spawn } from 'node:child_process';
 * import { once } from 'node:events';
 * import { rmSync } from 'node:fs';
 * import { dumpCore } from 'pagemap-scan/core';
 * const child = spawn('sleep', ['60']);
 * await once(child, 'spawn');
 * const { bytes, threads } = await dumpCore(child.pid!, { file: '/tmp/sleep.core' });
 * console.assert(bytes > 100_000 && threads === 1);
 * rmSync('/tmp/sleep.core');
 * child.kill();
 * ```
 */
export async function dumpCore(pid: number, options: CoreOptions): Promise<CoreResult> {
  return dumpWithHooks(pid, options, {});
}
