/// <reference lib="esnext.disposable" preserve="true" />
/** Waits until a condition is met by a process. */
import { setTimeout as sleep } from 'node:timers/promises';
import { PAGE_SIZE } from '../abi/index.js';
import { type GroupMemory, groupMemoryOf, ProcessHandle } from '../live/internal.js';
import { parseStatus, TICKS_PER_SECOND } from '../proc/internal.js';
import { type ProcessTracker, trackProcess } from '../track/index.js';
import { failure } from './limits.js';
import { statFields } from './threads.js';
import type { WhenCondition, WhenValues } from './when.js';

export interface WaitOptions {
  /** How long the condition must be met without a break, milliseconds. By default one look is enough. */
  readonly holdMs?: number | undefined;
  /** The time between two looks, milliseconds: 200 by default, and 1,000 for a condition with `written`. */
  readonly intervalMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A condition that was met. */
export interface WhenMet {
  /** The values of the last look. */
  readonly values: WhenValues;
  readonly waitedMs: number;
}

const INTERVAL_MS = 200;
const TRACKED_INTERVAL_MS = 1000;

/** Says whether the process of a handle has ended. Another process may have its number by now. */
export function hasEnded(handle: ProcessHandle): boolean {
  try {
    const { state } = parseStatus(handle.read(`task/${handle.thread}/status`));
    return state === 'Z' || state === 'X';
  } catch {
    return true;
  }
}

/** Looks only at the quantities that a condition asks for. */
class Looker implements Disposable {
  readonly #handle: ProcessHandle;
  readonly #asked: WhenCondition['quantities'];
  readonly #tracker: ProcessTracker | undefined;
  #before: { readonly seconds: number; readonly atMs: number } | undefined;

  constructor(
    handle: ProcessHandle,
    asked: WhenCondition['quantities'],
    tracker: ProcessTracker | undefined,
  ) {
    this.#handle = handle;
    this.#asked = asked;
    this.#tracker = tracker;
  }

  /** @throws ProcessError 'ended' */
  look(): Omit<WhenValues, 'signals'> {
    const status = parseStatus(this.#handle.read(`task/${this.#handle.thread}/status`));
    if (status.state === 'Z' || status.state === 'X')
      throw this.#handle.problem({ code: 'ESRCH' }, `wait for process ${this.#handle.pid}`);
    const asked = this.#asked;
    const group = asked.has('groupBytes') || asked.has('groupShare') ? this.groupMemory() : undefined;
    return {
      ...(asked.has('rss') && { rss: status.vmRssBytes }),
      ...(asked.has('swapped') && { swapped: status.vmSwapBytes }),
      ...(asked.has('threads') && { threads: status.threads }),
      ...(asked.has('cpu') && { cpu: this.#cpu() }),
      ...(asked.has('written') && { written: this.#written() }),
      ...(asked.has('groupBytes') && { groupBytes: group?.bytes }),
      ...(asked.has('groupShare') && { groupShare: group?.share }),
    };
  }

  groupMemory(): GroupMemory | undefined {
    return groupMemoryOf(this.#handle.path(''));
  }

  /** Reads the share of one processor since the last look. */
  #cpu(): number | undefined {
    const field = statFields(this.#handle, 'stat');
    const now = { seconds: (field(14) + field(15)) / TICKS_PER_SECOND, atMs: performance.now() };
    const before = this.#before;
    this.#before = now;
    if (before === undefined || now.atMs <= before.atMs) return undefined;
    return ((now.seconds - before.seconds) * 1000) / (now.atMs - before.atMs);
  }

  #written(): number | undefined {
    if (this.#tracker === undefined) return undefined;
    const { writtenPages, intervalMs } = this.#tracker.collect();
    return intervalMs > 0 ? (writtenPages * PAGE_SIZE * 1000) / intervalMs : undefined;
  }

  [Symbol.dispose](): void {
    this.#tracker?.[Symbol.dispose]();
  }
}

/** Signals that come to this process, and a bell that they ring. */
class SignalInbox implements Disposable {
  readonly received = new Set<string>();
  readonly #names: readonly NodeJS.Signals[];
  #bell = new AbortController();
  readonly #handler = (name: NodeJS.Signals) => {
    this.received.add(name.replace(/^SIG/, ''));
    this.#bell.abort();
  };

  constructor(signals: ReadonlySet<string>) {
    this.#names = [...signals].map((name) => `SIG${name}` as NodeJS.Signals);
    for (const name of this.#names) process.on(name, this.#handler);
  }

  /** Waits that long, or until a signal comes. */
  async sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
    const stop = signal === undefined ? this.#bell.signal : AbortSignal.any([this.#bell.signal, signal]);
    try {
      await sleep(milliseconds, undefined, { signal: stop });
    } catch {
      // Early.
    }
    if (this.#bell.signal.aborted) this.#bell = new AbortController();
    signal?.throwIfAborted();
  }

  [Symbol.dispose](): void {
    for (const name of this.#names) process.off(name, this.#handler);
  }
}

/** @throws PagemapError EOPNOTSUPP when a quantity cannot be known here: the condition would never be met */
function checkKnown(asked: WhenCondition['quantities'], looker: Looker, pid: number): void {
  if (!asked.has('groupBytes') && !asked.has('groupShare')) return;
  const group = looker.groupMemory();
  const fail = (why: string) =>
    failure(`watch the memory of the control group of process ${pid}`, 'EOPNOTSUPP', why, pid);
  if (group === undefined) throw fail('no memory control group is visible here (/proc/PID/cgroup)');
  if (asked.has('groupShare') && group.share === undefined)
    throw fail('neither it nor one around it has a limit; compare with a size: cgroup.memory > 2G');
}

/**
 * Waits until a process meets a condition. Signals are those that this process gets after the call; each counts until the
 * whole condition is met. For `written`, the function tracks the writes of the process.
 *
 * @throws ProcessError 'ended' when the process ends first, and the errors of tracking
 * @throws PagemapError EOPNOTSUPP for a quantity that cannot be known here
 * @example
 * ```ts
 * import { compileWhen, waitUntil } from 'pagemap-scan/core';
 * const { values } = await waitUntil(process.pid, compileWhen('rss > 1M & threads >= 1'));
 * console.assert(values.rss! > 2 ** 20);
 * ```
 */
export async function waitUntil(
  pid: number,
  condition: WhenCondition,
  options: WaitOptions = {},
): Promise<WhenMet> {
  const { signal, holdMs = 0 } = options;
  const { quantities } = condition;
  signal?.throwIfAborted();
  const isTracked = quantities.has('written');
  const intervalMs = options.intervalMs ?? (isTracked ? TRACKED_INTERVAL_MS : INTERVAL_MS);
  const started = performance.now();
  using inbox = new SignalInbox(condition.signals);
  using handle = new ProcessHandle(pid);
  using looker = new Looker(handle, quantities, isTracked ? await trackProcess(pid) : undefined);
  checkKnown(quantities, looker, pid);
  let since: number | undefined;
  for (let isFirst = true; ; isFirst = false) {
    // A rate is that of an interval.
    if (isFirst && isTracked) await inbox.sleep(intervalMs, signal);
    const values = { ...looker.look(), signals: new Set(inbox.received) };
    const now = performance.now();
    since = condition.isMet(values) ? (since ?? now) : undefined;
    if (since !== undefined && now - since >= holdMs) return { values, waitedMs: now - started };
    const restMs = since === undefined ? intervalMs : Math.min(intervalMs, since + holdMs - now);
    await inbox.sleep(Math.max(1, restMs), signal);
  }
}
