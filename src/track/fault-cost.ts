/** Measures the cost of a page fault that tracking causes: it differs by a factor of ten between machines. */
import { PagemapError } from '../abi/index.js';
import { pageSize } from '../live/index.js';
import type { Subject } from './activity.js';
import { allocateTracked } from './own.js';

const PAGES = 256;
const ROUNDS = 7;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

/** Writes a byte to each page. Returns how long that took, microseconds a page. */
function touch(bytes: Uint8Array): number {
  const step = pageSize();
  const before = performance.now();
  for (let at = 0; at < bytes.length; at += step) bytes[at]!++;
  return ((performance.now() - before) * 1000) / PAGES;
}

const known = new Map<Subject, number | undefined>();

function measure(subject: Subject): number | undefined {
  try {
    using memory = allocateTracked(PAGES * pageSize(), { accesses: subject === 'accesses' });
    const bytes = new Uint8Array(memory.buffer);
    const [faulting, plain]: [number[], number[]] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      memory.tracker.reset();
      faulting.push(touch(bytes));
      plain.push(touch(bytes));
    }
    return Math.max(0, median(faulting) - median(plain));
  } catch (error) {
    if (error instanceof PagemapError) return undefined;
    throw error;
  }
}

/**
 * Measures what the first write to a protected page costs the writing process (or the first access, where
 * accesses are tracked), microseconds. It takes a few milliseconds, once, on memory of this process.
 * Undefined where this kernel, or this user, cannot protect memory.
 *
 * It is about a microsecond on bare hardware, and ten or more in some virtual machines.
 *
 * @example
 * ```ts
 * import { measureFaultCost } from 'pagemap-scan/track';
 * const microseconds = measureFaultCost();
 * console.assert(microseconds === undefined || microseconds < 1000);
 * ```
 */
export function measureFaultCost(subject: Subject = 'writes'): number | undefined {
  if (!known.has(subject)) known.set(subject, measure(subject));
  return known.get(subject);
}
