/** The calls that Windows has for this: GetWriteWatch and ResetWriteWatch. */
import { errnoNumber, PagemapError, RegionBuffer } from '../abi/index.js';
import { pageSize } from '../live/index.js';
import { type MemoryTracker, trackerAt } from './own.js';

export interface WriteWatchOptions {
  /** WRITE_WATCH_FLAG_RESET: the reported pages, and no others, count as unwritten from here on. */
  readonly reset?: boolean | undefined;
  /** At most so many addresses (`*lpdwCount` on the way in); no limit by default. */
  readonly limit?: number | undefined;
}

/** What GetWriteWatch gives through its pointers. */
export interface WriteWatch {
  /** Addresses of the written pages, lowest first. Its length is `*lpdwCount` on the way out. */
  readonly addresses: Float64Array;
  /** Bytes from one page to the next (`*lpdwGranularity`). */
  readonly granularity: number;
}

function find(base: number, lengthBytes: number): { tracker: MemoryTracker; start: number; end: number } {
  const fail = (hint: string) =>
    new PagemapError('watch writes', { errno: errnoNumber('EINVAL')!, syscall: 'GetWriteWatch', hint });
  if (!Number.isSafeInteger(base) || !Number.isSafeInteger(lengthBytes) || lengthBytes < 1) {
    throw fail('base and size must be integers, and the size at least 1');
  }
  // Any part of a page stands for the page.
  const granularity = pageSize();
  const start = Math.floor(base / granularity) * granularity;
  const end = Math.ceil((base + lengthBytes) / granularity) * granularity;
  const tracker = trackerAt(start, end - start);
  if (tracker === undefined) {
    throw fail('the range lies in no memory that is tracked by one tracker (allocateTracked, trackMemory)');
  }
  return { tracker, start, end };
}

/**
 * The addresses of the pages in [base, base + size) that were written since the memory was allocated, or since they were
 * last reset: GetWriteWatch's semantics over memory of `allocateTracked` or `trackMemory`.
 *
 * @param base an address, bytes; `tracker.start` is the first that is tracked
 * @param lengthBytes bytes
 * @throws PagemapError EINVAL for a range that is not tracked, EFAULT when the memory is gone
 * @example
 * ```ts
 * import { allocateTracked, getWriteWatch, pageSize, resetWriteWatch } from 'pagemap-scan';
 * using memory = allocateTracked(1 << 20);
 * const bytes = new Uint8Array(memory.buffer);
 * for (const page of [9, 3, 15]) bytes[page * pageSize()] = 1;
 * const { start, lengthBytes } = memory.tracker;
 * const first = getWriteWatch(start, lengthBytes, { limit: 2, reset: true });
 * console.assert(first.addresses.join() === [start + 3 * pageSize(), start + 9 * pageSize()].join());
 * const rest = getWriteWatch(start, lengthBytes);
 * console.assert(rest.addresses.join() === String(start + 15 * pageSize()) && rest.granularity === pageSize());
 * resetWriteWatch(start, lengthBytes);
 * console.assert(getWriteWatch(start, lengthBytes).addresses.length === 0);
 * ```
 */
export function getWriteWatch(
  base: number,
  lengthBytes: number,
  options: WriteWatchOptions = {},
): WriteWatch {
  const { tracker, start, end } = find(base, lengthBytes);
  const { reset = false, limit = Number.POSITIVE_INFINITY } = options;
  if (!(limit >= 0))
    throw new RangeError(`Cannot report at most ${limit} pages: the limit is a number from 0`);
  const granularity = pageSize();
  const most = Math.min(Math.floor(limit), (end - start) / granularity);
  const addresses = new Float64Array(most);
  const output = new RegionBuffer(512);
  let count = 0;
  for (let at = start; at < end && count < most; ) {
    at = tracker.scanRange(output, at, end, most - count, reset);
    for (let index = 0; index < output.length; index++) {
      for (let page = output.start(index); page < output.end(index); page += granularity)
        addresses[count++] = page;
    }
  }
  return { addresses: addresses.slice(0, count), granularity };
}

/**
 * Makes all pages in [base, base + size) count as unwritten: ResetWriteWatch.
 *
 * @param base an address, bytes
 * @param lengthBytes bytes
 * @throws PagemapError EINVAL for a range that is not tracked, EFAULT when the memory is gone
 * @example
 * ```ts
 * import { allocateTracked, getWriteWatch, pageSize, resetWriteWatch } from 'pagemap-scan';
 * using memory = allocateTracked(1 << 20);
 * new Uint8Array(memory.buffer).fill(1, 0, 2 * pageSize());
 * const { start, lengthBytes } = memory.tracker;
 * resetWriteWatch(start, pageSize());
 * console.assert(getWriteWatch(start, lengthBytes).addresses.join() === String(start + pageSize()));
 * ```
 */
export function resetWriteWatch(base: number, lengthBytes: number): void {
  const { tracker, start, end } = find(base, lengthBytes);
  tracker.resetRange(start, end);
}
