/// <reference lib="esnext.disposable" preserve="true" />
/** One process that is looked at: its layout now and then, its writes every interval, within a budget. */
import { PAGE_IS_ACCESSED, PagemapError } from '../abi/index.js';
import { type LivePagemap, openPagemap, requireSmallPages } from '../live/internal.js';
import {
  type AboutModel,
  MODEL_SCHEMA,
  type PageModel,
  type StreamMessage,
  type TrackingModel,
} from '../model/index.js';
import {
  AccessAges,
  CurrentLookCost,
  giveBack,
  type Interval,
  type ProcessTracker,
  type Subject,
  targetCostMs,
  trackActivity,
} from '../track/internal.js';
import { type HeatLimits, HeatStore } from './heat.js';
import { ProcessLayout } from './layout.js';
import type { Meter } from './meter.js';

/** The share of a core that collecting writes, and looking at the pages, may take each: intervals get longer instead. */
const COLLECT_SHARE = 0.04;
const LOOK_SHARE = 0.02;
/** The share of a core that tracking may cost the process that is looked at. */
const TARGET_SHARE = 0.02;
/** How often pages are looked at where that costs little, milliseconds. */
const LOOK_MS = 2000;
/** How many skipped mappings are told. */
const MOST_SKIPPED = 100;

export interface SessionOptions {
  readonly intervalMs: number;
  readonly heat: HeatLimits;
  /** End by itself after this long, with a last look; without it, when the process ends or `close` is called. */
  readonly durationMs?: number | undefined;
  /** How many processes are looked at: they share the budget. */
  readonly sharers?: (() => number) | undefined;
  /** The share of a core that tracking may cost the process, 2 % by default: intervals get longer for it. */
  readonly budget?: number | undefined;
  /** What is tracked to begin with; writes by default. */
  readonly subject?: Subject | undefined;
  /** Asked once, when the process has been opened: who makes metrics of it. What is tracked stays the same then. */
  readonly meter?: ((about: AboutModel) => Meter) | undefined;
}

/** An interval that ends later than that share of it after its time is late. */
const LATE_SHARE = 0.1;
const LATE_LEAST_MS = 10;

/** A share to a tenth of a percent. */
function rounded(share: number): number {
  return Math.round(share * 1000) / 1000;
}

function reasonOf(error: unknown): string {
  if (error instanceof PagemapError) return error.hint ?? error.message;
  return error instanceof Error ? error.message : String(error);
}

/** Begins when it is made, ends when it is closed. */
export class Session {
  readonly pid: number;
  /** Settled when nothing more will come: the process has ended, or the session was closed. */
  readonly done: Promise<void>;
  readonly #options: SessionOptions;
  readonly #pagemap: LivePagemap;
  readonly #layout: ProcessLayout;
  readonly #about: AboutModel;
  readonly #meter: Meter | undefined;
  readonly #listeners = new Set<(message: StreamMessage) => void>();
  readonly #began = performance.now();
  #closing = false;
  /** Ends the wait for the next interval. */
  #wake: () => void = () => undefined;
  #subject: Subject;
  /** What somebody has asked for since. */
  #wanted: Subject;
  #heat: HeatStore;
  /** Where accesses are tracked. */
  #ages: AccessAges | undefined;
  #trackedAtMs = 0;
  #tracker: ProcessTracker | undefined;
  #lookCost: CurrentLookCost | undefined;
  #tracking: TrackingModel = { state: 'starting' };
  #layoutAtMs = 0;
  #columnEndMs = 0;
  #nextColumn = Number.POSITIVE_INFINITY;
  #cpu = process.cpuUsage();
  #cpuAt = performance.now();

  /** @throws ProcessError for a process that cannot be looked at */
  constructor(pid: number, options: SessionOptions) {
    requireSmallPages(`show process ${pid}`);
    this.pid = pid;
    this.#options = options;
    this.#heat = new HeatStore(options.heat);
    this.#subject = options.subject ?? 'writes';
    this.#wanted = this.#subject;
    this.#pagemap = openPagemap(pid);
    try {
      const commandLine = Buffer.from(this.#pagemap.process.read('cmdline')).toString('utf8');
      this.#about = {
        pid,
        name: this.#pagemap.process.name(),
        commandLine: commandLine.split('\0').join(' ').trim().slice(0, 4096),
        source: 'live',
        beganAt: Date.now(),
        intervalMs: options.intervalMs,
      };
      this.#layout = new ProcessLayout(this.#pagemap);
      this.#layout.list();
    } catch (error) {
      this.#pagemap[Symbol.dispose]();
      throw error;
    }
    this.#meter = options.meter?.(this.#about);
    this.done = this.#run();
  }

  get about(): AboutModel {
    const subject = this.#subject === 'accesses' ? { subject: this.#subject } : {};
    return { ...this.#about, ...subject, ...(this.#canChoose ? { canChoose: true } : {}) };
  }

  /** Whether something else can be tracked here, and nobody depends on what is. */
  get #canChoose(): boolean {
    return this.#meter === undefined && (this.#pagemap.categories & PAGE_IS_ACCESSED) !== 0;
  }

  /** Tracks something else from now on, for all who look; all that was seen before is given up. Nothing where there is no choice. */
  follow(subject: Subject): void {
    if (!this.#canChoose || this.ended) return;
    this.#wanted = subject;
    this.#wake();
  }

  get ended(): boolean {
    return this.#tracking.state === 'ended';
  }

  /** Calls `listener` with all that comes from now on; what there is already, `model` has. */
  subscribe(listener: (message: StreamMessage) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #tell(message: StreamMessage): void {
    for (const listener of this.#listeners) listener(message);
  }

  #setTracking(tracking: TrackingModel): void {
    this.#tracking = tracking;
    this.#tell({ type: 'tracking', tracking });
  }

  #on(skipped: NonNullable<TrackingModel['skipped']>): TrackingModel {
    return {
      state: 'on',
      ...(this.#tracker?.provider === 'fallback' ? { stops: true } : {}),
      ...(skipped.length === 0 ? {} : { skipped }),
    };
  }

  /** Everything, as of now. With `cells`, as a file needs it, what the pages are as well. */
  model(cells = false): PageModel {
    const layout = cells
      ? this.#layout.model(this.#layoutAtMs)
      : { atMs: this.#layoutAtMs, mappings: this.#layout.mappings };
    return {
      schema: MODEL_SCHEMA,
      about: this.about,
      tracking: this.#tracking,
      layout,
      heat: this.#heat.model(),
      notes: [],
    };
  }

  /** As `ProcessLayout.tile`. */
  tile(
    start: number,
    cellBytes: number,
    index: number,
    kinds: number,
    isByAge = false,
  ): Uint16Array | undefined {
    if (this.#pagemap.categories === 0) return undefined;
    try {
      return this.#layout.tile(start, cellBytes, index, kinds, isByAge);
    } catch (error) {
      // The process has ended, and with it all that was not counted before.
      if (error instanceof PagemapError) return undefined;
      throw error;
    }
  }

  #now(): number {
    return performance.now() - this.#began;
  }

  async #run(): Promise<void> {
    try {
      // Whoever made it can listen before the first word.
      await Promise.resolve();
      if (this.#pagemap.categories === 0) {
        this.#setTracking({ state: 'off', why: 'this kernel has no PAGEMAP_SCAN; Linux 6.7 brought it' });
      }
      let nextLook = await this.#look();
      if (this.#pagemap.categories !== 0 && !this.#closing) await this.#attach();
      if (this.#ages !== undefined) nextLook = 0;
      const end = this.#now() + (this.#options.durationMs ?? Number.POSITIVE_INFINITY);
      while (!this.#closing && !this.#isOver(end)) {
        if (this.#wanted !== this.#subject) {
          await this.#change();
          nextLook = 0;
        }
        if (this.#now() >= nextLook) nextLook = await this.#look();
        this.#column();
        await this.#wait(Math.min(nextLook, this.#nextColumn, end));
      }
      if (!this.#closing) {
        this.#column(true);
        await this.#look();
      }
    } catch (error) {
      if (!this.#closing) this.#setTracking({ state: 'ended', why: reasonOf(error) });
    } finally {
      if (this.#tracker !== undefined) await giveBack(this.#tracker);
      this.#detach();
      // What was seen can still be shown; finer cells cannot be had any more.
      this.#pagemap[Symbol.dispose]();
      // What could not be pushed has been told.
      await this.#meter?.end().catch(() => undefined);
    }
  }

  /** Ended early by `#wake`. */
  #wait(untilMs: number): Promise<void> {
    if (this.#closing || this.#wanted !== this.#subject) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(1, untilMs - this.#now()));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Tracks what was asked for in place of what was tracked. */
  async #change(): Promise<void> {
    if (this.#tracker !== undefined) await giveBack(this.#tracker);
    this.#detach();
    this.#tracker = undefined;
    this.#nextColumn = Number.POSITIVE_INFINITY;
    this.#subject = this.#wanted;
    this.#heat = new HeatStore(this.#options.heat);
    this.#ages = undefined;
    this.#tracking = { state: 'starting' };
    this.#tell({ type: 'model', model: this.model() });
    await this.#attach();
  }

  /** A sample is over at its end, and at once where there is nothing to wait for. */
  #isOver(end: number): boolean {
    return this.#now() >= end || (Number.isFinite(end) && this.#tracker === undefined);
  }

  /** Looks at the pages, and says when to do so again. */
  async #look(): Promise<number> {
    if (this.#pagemap.categories === 0) {
      const update = this.#layout.list();
      this.#tell({ type: 'layout', atMs: this.#now(), generation: this.#layout.generation, ...update });
      return this.#now() + LOOK_MS;
    }
    const update = await this.#layout.look(() => {
      this.#column();
      return !this.#closing;
    }, this.#ages);
    if (update === undefined) return Number.POSITIVE_INFINITY;
    const { changed, gone, costMs } = update;
    this.#layoutAtMs = this.#now();
    this.#meter?.layout(this.#layout.mappings);
    this.#tell({
      type: 'layout',
      atMs: this.#layoutAtMs,
      generation: this.#layout.generation,
      changed,
      gone,
    });
    return this.#now() + Math.max(LOOK_MS, costMs / (LOOK_SHARE / this.#sharers()));
  }

  #sharers(): number {
    return Math.max(1, this.#options.sharers?.() ?? 1);
  }

  async #attach(): Promise<void> {
    try {
      const subject = this.#subject;
      this.#lookCost = CurrentLookCost.open(subject);
      this.#tracker = await trackActivity(this.pid, subject);
      this.#ages = subject === 'accesses' ? new AccessAges() : undefined;
      // The number could be another's by now; while ours lives it is not.
      this.#pagemap.checkAlive();
      this.#columnEndMs = this.#now();
      this.#trackedAtMs = this.#columnEndMs;
      this.#nextColumn = this.#columnEndMs + this.#options.intervalMs;
      this.#setTracking(this.#on([]));
    } catch (error) {
      this.#detach();
      this.#tracker = undefined;
      this.#pagemap.checkAlive();
      this.#setTracking({ state: 'off', why: reasonOf(error) });
    }
  }

  #detach(): void {
    this.#tracker?.[Symbol.dispose]();
    this.#lookCost?.[Symbol.dispose]();
    this.#lookCost = undefined;
  }

  readonly #add = (start: number, end: number): void => {
    this.#heat.add(start, end);
    this.#ages?.add(start, end);
    this.#meter?.region(start, end);
  };

  /** Collects what was written, if it is time; with `last`, if there is enough of an interval to tell of. */
  #column(last = false): void {
    const tracker = this.#tracker;
    if (tracker === undefined) return;
    const due = last ? this.#columnEndMs + this.#options.intervalMs / 4 : this.#nextColumn;
    const lateMs = this.#now() - due;
    if (lateMs < 0) return;
    const before = performance.now();
    const interval = tracker.collect(this.#add);
    const startMs = this.#columnEndMs;
    const endMs = this.#now();
    this.#columnEndMs = endMs;
    this.#ages?.endInterval(endMs - this.#trackedAtMs);
    const update = this.#heat.endInterval(interval.mappings, startMs, endMs, this.#layout.permsOf);
    const late = !last && lateMs > Math.max(LATE_LEAST_MS, this.#options.intervalMs * LATE_SHARE);
    const targetCostMs = this.#targetCostMs(interval);
    this.#meter?.interval(interval, { startMs, endMs, late }, tracker.skipped.length, targetCostMs);
    this.#tell({
      type: 'column',
      ...update,
      ownShare: this.#ownShare(),
      targetShare: targetCostMs && rounded(Math.min(1, targetCostMs / Math.max(1, interval.intervalMs))),
    });
    const skipped = tracker.skipped.slice(0, MOST_SKIPPED);
    if (JSON.stringify(skipped) !== JSON.stringify(this.#tracking.skipped ?? [])) {
      this.#setTracking(this.#on(skipped));
    }
    const costMs = performance.now() - before;
    const { intervalMs, budget = TARGET_SHARE } = this.#options;
    const paidMs = (targetCostMs ?? 0) / budget;
    const least = Math.max(intervalMs, costMs / (COLLECT_SHARE / this.#sharers()), paidMs);
    // On time, unless it is late already.
    this.#nextColumn = Math.max(this.#nextColumn + least, this.#now() + least / 2);
    // What this takes is no part of the collecting: all sessions share it.
    if (interval.faultCount !== undefined) this.#lookCost?.refresh();
  }

  /** What an interval cost the process, milliseconds. */
  #targetCostMs(interval: Interval): number | undefined {
    if (interval.faultCount === undefined || this.#lookCost === undefined) return undefined;
    return targetCostMs(interval, this.#lookCost);
  }

  /** The share of a core that this program took since it was asked last. */
  #ownShare(): number {
    const { user, system } = process.cpuUsage(this.#cpu);
    const elapsedMs = performance.now() - this.#cpuAt;
    this.#cpu = process.cpuUsage();
    this.#cpuAt = performance.now();
    return rounded((user + system) / 1000 / elapsedMs);
  }

  /** Ends it; nothing is left in the process. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#wake();
    this.#listeners.clear();
    await this.done;
  }
}

/** The sessions that pages look at: begun by the first that looks, closed some time after the last one. */
export class SessionPool {
  readonly #options: Omit<SessionOptions, 'sharers'>;
  readonly #graceMs: number;
  readonly #sessions = new Map<number, { session: Session; users: number; timer?: NodeJS.Timeout }>();
  readonly #ending = new Set<Promise<void>>();

  /** @param graceMs for how long a session waits for somebody to come back */
  constructor(options: Omit<SessionOptions, 'sharers'>, graceMs: number) {
    this.#options = options;
    this.#graceMs = graceMs;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /**
   * The session of a process; `release` it when done.
   *
   * @param meter for a session that is begun
   * @param subject what is to be tracked, for all who look; as it is, by default
   * @throws ProcessError for a process that cannot be looked at
   */
  take(
    pid: number,
    meter?: SessionOptions['meter'],
    subject?: Subject,
  ): { session: Session; release: () => void } {
    let entry = this.#sessions.get(pid);
    if (entry?.session.ended && entry.users === 0) {
      this.#end(pid);
      entry = undefined;
    }
    if (entry === undefined) {
      const session = new Session(pid, {
        ...this.#options,
        sharers: () => this.#sessions.size,
        ...(meter === undefined ? {} : { meter }),
      });
      entry = { session, users: 0 };
      this.#sessions.set(pid, entry);
    }
    const taken = entry;
    clearTimeout(taken.timer);
    taken.users++;
    if (subject !== undefined) taken.session.follow(subject);
    let held = true;
    return {
      session: taken.session,
      release: () => {
        if (!held) return;
        held = false;
        if (--taken.users > 0 || this.#sessions.get(pid) !== taken) return;
        taken.timer = setTimeout(() => this.#end(pid), this.#graceMs);
      },
    };
  }

  /** The session of a process that somebody looks at already. */
  get(pid: number): Session | undefined {
    return this.#sessions.get(pid)?.session;
  }

  #end(pid: number): void {
    const entry = this.#sessions.get(pid);
    if (entry === undefined) return;
    clearTimeout(entry.timer);
    this.#sessions.delete(pid);
    const ending = entry.session.close().finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  async close(): Promise<void> {
    for (const pid of [...this.#sessions.keys()]) this.#end(pid);
    await Promise.all(this.#ending);
  }
}
