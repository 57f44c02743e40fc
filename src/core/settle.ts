/** Between the protection of pages and their copying: until all is over that was under way then, see `direct-io.ts`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { PAGE_SIZE } from '../abi/index.js';
import {
  countLongPins,
  countPins,
  mountKinds,
  openDescriptors,
  ProcessError,
  type ProcessHandle,
  type ProcessStopper,
  pause,
} from '../live/internal.js';
import { parseStatus } from '../proc/index.js';
import { type DirectIo, joinRanges, judgeDirectIo, mayPin } from './direct-io.js';
import { union, within } from './range-set.js';

/** The longest that it is stopped for requests to end, milliseconds. */
const MOST_WAIT_MS = 100;
/** When they cannot be seen to end, they have this long, milliseconds. Disks take less, as a rule. */
const BLIND_WAIT_MS = 200;
/** So often it is tried to begin with none under way. */
const FIRST_TRIES = 3;
/** A ring that is busy does not show its buffers: so often it is asked again. */
const MOST_LOOKS = 20;

function lookOnce(handle: ProcessHandle): DirectIo {
  const found = openDescriptors(handle, mayPin) ?? [];
  const kinds = found.some(({ link }) => link[0] === '/') ? mountKinds(handle) : undefined;
  const descriptors = found.map(({ link, info }) => ({
    link,
    flags: info?.flags ?? 0,
    fileSystem: info?.mountId === undefined ? undefined : kinds?.get(info.mountId),
    ring: info?.ring,
  }));
  const names = handle.mappings().map(({ name, deleted }) => (deleted ? `${name} (deleted)` : name));
  const { vmPinBytes } = parseStatus(handle.read('status'));
  return judgeDirectIo(descriptors, names, vmPinBytes ?? 0, PAGE_SIZE);
}

/** What of a process's descriptors and mappings may write to its memory unseen. */
export function lookAtDirectIo(handle: ProcessHandle): DirectIo {
  for (let looks = 1; ; looks++) {
    const io = lookOnce(handle);
    if (looks >= MOST_LOOKS || !io.doubts.some((doubt) => doubt.includes('do not show'))) return io;
    pause(0.2);
  }
}

const bytesOf = (ranges: readonly number[]) =>
  ranges.reduce((sum, bound, index) => sum + (index % 2 === 0 ? -bound : bound), 0);

export class Settling {
  readonly #handle: ProcessHandle;
  readonly #stopper: ProcessStopper;
  readonly #mostWaitMs: number;
  readonly #check: () => void;
  readonly #doubts = new Set<string>();
  /** Seen once, they may have more under way than shows. */
  #direct = false;
  #asynchronous = false;
  #isFirst = true;
  /** Reported since requests were last seen to have ended: start and end in turns. */
  #unsettled: readonly number[] = [];
  #pinned: readonly number[] = [];
  #late: readonly number[] = [];
  /** The longest stop, milliseconds. */
  stopMs = 0;

  /** @param check throws when the work is to end */
  constructor(
    handle: ProcessHandle,
    stopper: ProcessStopper,
    maxPauseMs: number | undefined,
    check: () => void,
  ) {
    this.#check = check;
    this.#handle = handle;
    this.#stopper = stopper;
    this.#mostWaitMs = Math.min(maxPauseMs ?? MOST_WAIT_MS, MOST_WAIT_MS);
  }

  /** Why the dump may be torn. */
  get doubts(): readonly string[] {
    return [...this.#doubts];
  }

  /** Whether devices may write to its memory unseen, now or earlier. */
  get isDirect(): boolean {
    return this.#direct;
  }

  /** What has to be copied at the stop, whatever was reported, between two addresses: start and end in turns. */
  lateWithin(start: number, end: number): readonly number[] {
    return this.#late.length === 0 ? [] : within(this.#late, start, end);
  }

  get lateBytes(): number {
    return bytesOf(this.#late);
  }

  /**
   * Waits until nothing is under way any more that was when `reported`, start and end in turns, was protected.
   *
   * @returns what is to be copied now
   * @throws ProcessError as `ProcessStopper.stop`
   */
  async settle(reported: readonly number[]): Promise<readonly number[]> {
    const besides = await this.#settle(reported);
    this.#late = union(this.#unsettled, this.#pinned);
    return union(reported, besides);
  }

  async #settle(reported: readonly number[]): Promise<readonly number[]> {
    const io = lookAtDirectIo(this.#handle);
    for (const doubt of io.doubts) this.#doubts.add(doubt);
    this.#pinned = joinRanges([...this.#pinned, ...io.pinned], PAGE_SIZE);
    this.#direct ||= io.direct;
    this.#asynchronous ||= io.asynchronous;
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    if (!this.#direct) return [];
    let settled = await this.#tryOnce(io);
    for (let tries = 1; !settled && isFirst && io.counted && tries < FIRST_TRIES; tries++) {
      await sleep(this.#mostWaitMs / 2);
      settled = await this.#tryOnce(io);
    }
    if (settled) {
      const before = this.#unsettled;
      this.#unsettled = [];
      return before;
    }
    if (isFirst) {
      this.#doubts.add('requests of io_uring or aio were under way that cannot be seen to end');
      await sleep(BLIND_WAIT_MS);
    } else {
      this.#unsettled = union(reported, this.#unsettled);
    }
    return [];
  }

  async #tryOnce(io: DirectIo): Promise<boolean> {
    if (!this.#asynchronous || (io.asynchronous && io.idle)) {
      await this.#stopper.passThrough(this.#check);
      // A request that was made meanwhile has pinned its pages meanwhile: they will be reported.
      return true;
    }
    if (!io.counted) return false;
    try {
      return this.#waitForPins();
    } catch (error) {
      // A thread waits for a disk, longer than others are to be kept waiting.
      const isBusy = error instanceof ProcessError && error.reason === 'busy';
      if (!isBusy || !(await this.#stopper.letGo(this.#check))) throw error;
      return false;
    }
  }

  /** Stops it, so that it makes no more requests, until no page of anybody's is pinned but for good. */
  #waitForPins(): boolean {
    if (countPins() === undefined) return false;
    const forGood = countLongPins();
    using stopped = this.#stopper.stop();
    try {
      let before = countPins();
      while (stopped.elapsedMs < this.#mostWaitMs) {
        const now = countPins();
        // Processors are asked one after the other: only what does not change is exact.
        const isSteady = now?.acquired === before?.acquired && now?.released === before?.released;
        if (now === undefined || (isSteady && now.acquired - now.released === forGood))
          return now !== undefined;
        before = now;
        pause(0.2);
      }
      return false;
    } finally {
      this.stopMs = Math.max(this.stopMs, stopped.elapsedMs);
    }
  }
}
