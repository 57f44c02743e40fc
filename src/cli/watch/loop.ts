/** The watch itself: collects at each interval and shows what came of it, one way or the other. */
import { isEnded, type ProcessError, pageSize } from '../../live/internal.js';
import { type OwnerNames, ownerText } from '../../owners/internal.js';
import type { Subject } from '../../track/internal.js';
import { EXIT, type ExitCode } from '../exit.js';
import { Alarm } from '../interrupt.js';
import type { Output } from '../output.js';
import { hex, humanBytes, humanCount, plural, type Style } from '../text.js';
import { paidAfterMs, stretchedAdvice } from './budget.js';
import type { CostMeter } from './cost.js';
import { HeatModel } from './heat.js';
import { totalsByOwner } from './owned.js';
import { Screen } from './screen.js';
import { WatchSummary } from './summary.js';
import { type Collected, type WatchTracker, WORDS } from './tracker.js';
import { applyKey, drawView, initialState, parseKeys, type RunInfo } from './view.js';

export const WATCH_SCHEMA = 'pagemap-scan/watch@1';

export interface WatchOptions {
  readonly intervalMs: number;
  /** Ends after this long; endless by default. */
  readonly durationMs?: number | undefined;
  readonly regions?: boolean | undefined;
  /** Of the working set in the summary, in intervals. */
  readonly windows?: readonly number[] | undefined;
  readonly subject?: Subject | undefined;
  /** How large the pages are, bytes; as this machine's by default. */
  readonly pageSize?: number | undefined;
  /** Only so much of all pages is looked at, from 0 to 1: distinct pages are estimates for all. */
  readonly sampled?: number | undefined;
  /** Tells whose the mappings are. */
  readonly owners?: Pick<OwnerNames, 'look' | 'of'> | undefined;
  /** Measures what the watch costs the process. */
  readonly cost?: CostMeter | undefined;
  /** The share of the time that the watch may cost the process, above 0: intervals get longer for it. Needs `cost`. */
  readonly budget?: number | undefined;
  /** Gets a sentence, once, when intervals get much longer for the budget. */
  readonly onAdvice?: ((text: string) => void) | undefined;
}

/** Where intervals go. */
export interface WatchSink extends Disposable {
  /** Gets each run of written pages; left out when nobody wants them. */
  readonly region?: ((start: number, end: number) => void) | undefined;
  interval(collected: Collected, summary: WatchSummary, ownShare: number): Promise<void> | void;
  /** Gets how long the interval takes that begins now, milliseconds: for a budget, it may be much longer than was asked for. */
  planned?(nextMs: number): void;
  /** Called now and then while an interval goes on, with the time that is left of it, milliseconds. */
  waiting?(leftMs: number): Promise<void> | void;
  /** Something happened that does not wait for the next interval: a key, a new size. Resolves when it is time to end. */
  readonly ended: Promise<'quit' | 'interrupt'>;
}

/** Why a watch ended. */
export type WatchEnd = 'duration' | 'quit' | 'interrupt' | 'process ended';

const never = new Promise<never>(() => undefined);

/** An interval that is longer than was asked for, by more than that share of it, is late. */
const LATE_SHARE = 0.1;
const LATE_LEAST_MS = 10;

/** How often neighbours are looked for between collects, milliseconds. */
const NEIGHBOURS_MS = 100;

async function waitUntil(time: number, alarm: Alarm, tracker: WatchTracker, sink: WatchSink): Promise<void> {
  for (;;) {
    const next = performance.now() + NEIGHBOURS_MS;
    await alarm.until(Math.min(time, next), tracker);
    if (next >= time || alarm.isRequested || tracker.ended) return;
    try {
      tracker.lookForNeighbours?.();
    } catch {
      // The process has ended, say: the next collect tells.
      return;
    }
    await sink.waiting?.(time - performance.now());
  }
}

/** Collects until something ends it. Ends with the summary of what was seen. */
export async function watchLoop(
  tracker: WatchTracker,
  sink: WatchSink,
  options: WatchOptions,
  interrupted: Promise<unknown> = never,
): Promise<{ end: WatchEnd; summary: WatchSummary; error?: ProcessError }> {
  const summary = new WatchSummary(
    options.windows,
    options.subject,
    options.sampled,
    options.cost,
    options.pageSize,
  );
  const began = performance.now();
  const visit = (start: number, end: number) => {
    summary.workingSet.add(start, end);
    sink.region?.(start, end);
  };
  let due = began + options.intervalMs;
  const last = options.durationMs === undefined ? Number.POSITIVE_INFINITY : began + options.durationMs;
  let plannedMs = options.intervalMs;
  let isAdvised = options.sampled !== undefined;
  let end: WatchEnd | undefined;
  interrupted.then(() => {
    end ??= 'interrupt';
  });
  sink.ended.then((how) => {
    end ??= how;
  });
  const alarm = new Alarm(Promise.race([interrupted, sink.ended]));

  while (end === undefined) {
    await waitUntil(Math.min(due, last), alarm, tracker, sink);

    const before = performance.now();
    const beganLate = before - due;
    // What was written up to the very end is collected too, whoever ends it.
    let collected: Collected;
    try {
      collected = tracker.collect(visit);
    } catch (error) {
      if (!isEnded(error)) throw error;
      return { end: 'process ended', summary, error };
    }
    const { owners } = options;
    if (owners !== undefined) {
      owners.look(collected.mappings);
      collected = { ...collected, ownerOf: (mapping) => owners.of(mapping) };
    }
    // Those are figures of more time than was asked for, whether it was the machine that kept us, or the collecting itself.
    const excess = Math.max(beganLate, collected.intervalMs - plannedMs);
    const late = excess > Math.max(plannedMs * LATE_SHARE, LATE_LEAST_MS);
    summary.add(collected, late);
    const collecting = performance.now() - before;
    await sink.interval(collected, summary, Math.min(1, collecting / Math.max(collected.intervalMs, 1)));
    summary.ownMs += performance.now() - before;
    if (performance.now() >= last) end ??= 'duration';
    // On the grid of intervals, those that were missed left out.
    const paid = began + paidAfterMs(options);
    while (due <= performance.now() || due < paid) due += options.intervalMs;
    plannedMs = due - before;
    sink.planned?.(plannedMs);
    const advice = isAdvised ? undefined : stretchedAdvice(options, plannedMs, options.intervalMs);
    if (advice === undefined) continue;
    isAdvised = true;
    options.onAdvice?.(advice);
  }
  return { end, summary };
}

/** The exit code of a watch that ended so. */
export function exitCodeOf(end: WatchEnd, summary: WatchSummary): ExitCode {
  if (end === 'interrupt') return EXIT.interrupted;
  return end === 'process ended' && summary.intervals === 0 ? EXIT.noProcess : EXIT.done;
}

/** One JSON object a line. */
export class JsonSink implements WatchSink {
  readonly ended = never;
  readonly region: ((start: number, end: number) => void) | undefined;
  readonly #output: Output;
  readonly #untracked: () => number;
  readonly #regions: { start: string; end: string; pages: number }[] = [];

  readonly #words: (typeof WORDS)[Subject];

  constructor(output: Output, withRegions: boolean, untracked: () => number, subject: Subject = 'writes') {
    this.#output = output;
    this.#untracked = untracked;
    this.#words = WORDS[subject];
    if (withRegions) {
      this.region = (start, end) =>
        this.#regions.push({ start: hex(start), end: hex(end), pages: (end - start) / pageSize() });
    }
  }

  async interval(collected: Collected, summary: WatchSummary): Promise<void> {
    const { elapsedMs, intervalMs, scanMs, stopMs, writtenPages, errorPages, mappings } = collected;
    // Clocks here tell microseconds; more digits would only look exact.
    const round = (milliseconds: number) => Math.round(milliseconds * 1000) / 1000;
    const line = {
      schema: WATCH_SCHEMA,
      elapsedMs: round(elapsedMs),
      intervalMs: round(intervalMs),
      scanMs: round(scanMs),
      ...(summary.isLate ? { late: true } : {}),
      ...(stopMs === undefined ? {} : { stopMs: round(stopMs) }),
      ...(summary.cost === undefined ? {} : { targetCostMs: round(summary.cost.latestMs) }),
      [this.#words.pages]: writtenPages,
      [this.#words.bytes]: writtenPages * pageSize(),
      ...(errorPages === undefined ? {} : { sampled: summary.sampled, errorPages }),
      untrackedMappings: this.#untracked(),
      mappings: mappings
        .filter((mapping) => mapping.writtenPages > 0)
        .map((mapping) => {
          const owner = collected.ownerOf?.(mapping);
          return {
            start: hex(mapping.start),
            end: hex(mapping.end),
            name: mapping.name,
            owner: owner === undefined ? null : ownerText(owner),
            [this.#words.pages]: mapping.writtenPages,
          };
        }),
      ...(this.region === undefined ? {} : { regions: this.#regions }),
    };
    this.#output.line(JSON.stringify(line));
    this.#regions.length = 0;
    await this.#output.flush();
  }

  [Symbol.dispose](): void {}
}

/** A line an interval. */
export class LineSink implements WatchSink {
  readonly ended = never;
  readonly region: ((start: number, end: number) => void) | undefined;
  readonly #output: Output;
  readonly #regions: string[] = [];
  readonly #warn: (text: string) => void;

  /** @param warn gets what the user should know at once */
  constructor(output: Output, withRegions: boolean, warn: (text: string) => void = () => undefined) {
    this.#output = output;
    this.#warn = warn;
    if (withRegions) {
      this.region = (start, end) =>
        this.#regions.push(
          `          ${hex(start)}-${hex(end)}  ${plural((end - start) / pageSize(), 'page')}`,
        );
    }
  }

  async interval(collected: Collected, summary: WatchSummary): Promise<void> {
    const warning = summary.cost?.warning();
    if (warning !== undefined) this.#warn(warning);
    const { elapsedMs, intervalMs, scanMs, writtenPages, errorPages, mappings } = collected;
    const bytes = (pages: number) => humanBytes(pages * pageSize());
    const written = mappings
      .filter((mapping) => mapping.writtenPages > 0)
      .map((mapping) => ({ ...mapping, owner: collected.ownerOf?.(mapping), pages: mapping.writtenPages }));
    const most = totalsByOwner(written)
      .slice(0, 3)
      .map(({ label, pages }) => `${label} ${bytes(pages)}`);
    const rate = intervalMs > 0 ? bytes((writtenPages / intervalMs) * 1000) : '0 B';
    this.#output.line(
      `${(elapsedMs / 1000).toFixed(1).padStart(7)} s  ${rate.padStart(9)}/s  ` +
        `${humanCount(writtenPages).padStart(9)} pages${errorPages === undefined ? '' : ` ±${humanCount(errorPages)}`}  scan ${scanMs.toFixed(1)} ms` +
        `${most.length > 0 ? `  ${most.join(', ')}` : ''}`,
    );
    for (const line of this.#regions) this.#output.line(line);
    this.#regions.length = 0;
    await this.#output.flush();
  }

  [Symbol.dispose](): void {}
}

/** What the live view says beside the picture. */
export interface ViewAbout {
  readonly pid: number;
  readonly name: string;
  readonly intervalMs: number;
  readonly untracked: () => number;
  readonly subject?: Subject | undefined;
  readonly sampled?: number | undefined;
}

/** The live view on a terminal. */
export class ViewSink implements WatchSink {
  readonly ended: Promise<'quit' | 'interrupt'>;
  readonly #screen: Screen;
  readonly #heat = new HeatModel();
  readonly #state = initialState();
  readonly #style: Style;
  readonly #about: ViewAbout;
  readonly #written: [number, number][] = [];
  #info: Pick<RunInfo, 'elapsedMs' | 'ownShare' | 'lateIntervals' | 'targetShare' | 'nextMs'> = {
    elapsedMs: 0,
    ownShare: 0,
    lateIntervals: 0,
  };
  #end: (how: 'quit' | 'interrupt') => void = () => undefined;

  readonly region = (start: number, end: number) => {
    this.#written.push([start, end]);
  };

  readonly #onInput = (input: string) => {
    let redraw = false;
    for (const key of parseKeys(input)) {
      const effect = applyKey(key, this.#state, Math.max(1, process.stdout.rows - 8));
      if (effect === 'quit' || effect === 'interrupt') this.#end(effect);
      else if (effect === 'redraw') redraw = true;
    }
    if (redraw) this.#draw();
  };

  readonly #onResize = () => {
    this.#screen.invalidate();
    this.#draw();
  };

  // Whatever ends the process, the terminal is given back.
  readonly #onExit = () => this[Symbol.dispose]();
  readonly #onContinue = () => this.#onResize();

  constructor(about: ViewAbout, style: Style) {
    this.#about = about;
    this.#style = style;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#screen = new Screen(process.stdout);
    if (process.stdin.isTTY) process.stdin.setRawMode(true);
    process.stdin.setEncoding('utf8').on('data', this.#onInput).resume();
    process.stdout.on('resize', this.#onResize);
    process.once('exit', this.#onExit);
    process.on('SIGCONT', this.#onContinue);
    this.#draw();
  }

  interval(collected: Collected, summary: WatchSummary, ownShare: number): void {
    const seconds = Math.max(collected.intervalMs, 1) / 1000;
    this.#heat.begin(collected.mappings, collected.ownerOf);
    for (const [start, end] of this.#written) this.#heat.add(start, end);
    this.#written.length = 0;
    this.#heat.end(collected.mappings, seconds);
    const { lateIntervals, cost } = summary;
    this.#info = { elapsedMs: collected.elapsedMs, ownShare, lateIntervals, targetShare: cost?.share };
    if (!this.#state.paused) this.#draw();
  }

  planned(nextMs: number): void {
    this.#info = { ...this.#info, nextMs };
    if (!this.#state.paused && nextMs >= 2 * this.#about.intervalMs) this.#draw();
  }

  #draw(): void {
    const { untracked, ...about } = this.#about;
    const run = { ...about, untracked: untracked(), ...this.#info };
    drawView(this.#screen.frame(), this.#heat, this.#state, run, this.#style.colors.isColorSupported);
    this.#screen.show();
  }

  [Symbol.dispose](): void {
    process.stdin.off('data', this.#onInput).pause();
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
    process.stdout.off('resize', this.#onResize);
    process.off('exit', this.#onExit);
    process.off('SIGCONT', this.#onContinue);
    this.#screen[Symbol.dispose]();
  }
}
