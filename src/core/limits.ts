/** Limits of a stop: how long it may take and how much may be copied. And the errors when that is not enough. */
import { errnoNumber, PAGE_SIZE, PagemapError } from '../abi/index.js';

/** Up to this many bytes are kept in memory at the stop, and written when the process runs again. */
export const MOST_KEPT_BYTES = 2 ** 30;
/** There is always room for this much. */
export const LEAST_KEPT_BYTES = 8 << 20;
/** When others track more bytes than this, which we cannot track, a stop is not short any more. */
const MOST_UNTRACKED_BYTES = 64 << 20;
/** Measured: copying runs at some 2 GiB/s. */
const BYTES_PER_SECOND = 2 ** 31;

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20).toLocaleString('en-US')} MiB`;
}

export function failure(action: string, code: string, hint: string, pid: number): PagemapError {
  return new PagemapError(action, { errno: errnoNumber(code)!, syscall: 'check', pid, hint });
}

/** The pause that a dump is allowed. */
export interface PauseLimits {
  readonly maxPauseMs?: number | undefined;
  readonly overPause?: 'fail' | 'accept' | undefined;
}

/** Estimates the pause, milliseconds; undefined when it is allowed. */
export function excessivePauseMs(
  { maxPauseMs }: PauseLimits,
  elapsedMs: number,
  bytes: number,
): number | undefined {
  const estimateMs = elapsedMs + (bytes / BYTES_PER_SECOND) * 1000;
  return maxPauseMs === undefined || estimateMs <= maxPauseMs ? undefined : estimateMs;
}

/** @throws PagemapError ETIMEDOUT when the pause would be longer than allowed, and that is not accepted */
export function checkPause(limits: PauseLimits, elapsedMs: number, bytes: number, pid: number): void {
  const estimateMs = excessivePauseMs(limits, elapsedMs, bytes);
  if (estimateMs === undefined || limits.overPause === 'accept') return;
  throw failure(
    `dump process ${pid} within the pause that was allowed`,
    'ETIMEDOUT',
    `about ${Math.ceil(estimateMs)} ms are needed, and ${limits.maxPauseMs} ms are allowed: it writes faster than it can be copied, shares much memory with others, or another tool tracks its writes; give a longer --max-pause, or --shared running`,
    pid,
  );
}

/** @throws PagemapError ENOSPC when `bytes` are more than there is room for */
export function checkSpace(bytes: number, freeBytes: number, place: string, pid: number): void {
  if (bytes <= freeBytes) return;
  throw failure(
    `write the core file of process ${pid}`,
    'ENOSPC',
    `it takes about ${mebibytes(bytes)}, and ${mebibytes(freeBytes)} are free in ${place}`,
    pid,
  );
}

/**
 * Warns about memory that another userfaultfd tracks: it can only be copied at the stop.
 *
 * @throws PagemapError EBUSY when that is too much for a short stop
 */
export function checkUntracked(limits: PauseLimits, bytes: number, pid: number): void {
  const isTooMuch =
    limits.maxPauseMs === undefined
      ? bytes > MOST_UNTRACKED_BYTES
      : excessivePauseMs(limits, 0, bytes) !== undefined;
  if (!isTooMuch) return;
  throw failure(
    `dump process ${pid} with a short stop`,
    'EBUSY',
    `of its memory, ${mebibytes(bytes)} are registered with another userfaultfd: a tool tracks its writes (a recorder or a watch, say), or the process does so itself; end that for as long as the dump takes`,
    pid,
  );
}

/** The bytes to copy at a stop. */
export interface StopLoad {
  readonly elapsedMs: number;
  readonly bytes: number;
  /** The part of `bytes` that another round would not reduce. */
  readonly lateBytes: number;
  /** Pages that the last round left. */
  readonly leftPages: number;
  readonly roomBytes: number;
}

/** Whether it is better to let the process go, and to copy another round while it runs. */
export function isWorthRetreat(limits: PauseLimits, load: StopLoad): boolean {
  const { elapsedMs, bytes, lateBytes, leftPages, roomBytes } = load;
  const isBurst = bytes - lateBytes > LEAST_KEPT_BYTES + leftPages * PAGE_SIZE && bytes > roomBytes;
  if (isBurst) return true;
  return (
    excessivePauseMs(limits, elapsedMs, bytes) !== undefined &&
    excessivePauseMs(limits, elapsedMs, lateBytes) === undefined
  );
}
