/** Measures what tracking costs those who are tracked: it differs by a factor of ten between machines. */
import { mman, PagemapError } from '../abi/index.js';
import { type MappedMemory, mapMemory, pageSize, Userfaultfd } from '../live/index.js';
import type { Subject } from './activity.js';
import { trackMemory } from './own.js';
import type { LookCost } from './target-cost.js';

/** Large enough that the kernel's own data on its pages is not in the nearest caches. */
const BYTES = 8 << 20;
const ROUNDS = 8;
/** What the loop works on between two faults: a fault also costs what it drives out of the caches. */
const HOT_BYTES = 1 << 20;
const HOT_STEPS = 100;

/** Pages that are protected one by one, and how long another thread works meanwhile, in rounds of a hash: some ten milliseconds. */
const SINGLE_PAGES = 128;
const BUSY_ROUNDS = 10_000;

/** Rounds in which another program ran in between, or the loop was compiled, are among the longer ones. */
function lowerQuartile(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 2]!;
}

/** Until the other thread runs, they are among the shorter ones. */
function upperQuartile(values: readonly number[]): number {
  return [...values].sort((a, b) => b - a)[values.length >> 2]!;
}

/** A linear congruential generator: the high bits are random enough here. */
const next = (state: number) => (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;

/** The offsets of all pages in random order: neighbours share what the caches hold of page tables, and few programs write in order. */
function shuffledPages(bytes: number): Uint32Array {
  const offsets = Uint32Array.from({ length: bytes / pageSize() }, (_, index) => index * pageSize());
  for (let index = offsets.length - 1, state = 1; index > 0; index--) {
    state = next(state);
    const other = (state >>> 8) % (index + 1);
    [offsets[index], offsets[other]] = [offsets[other]!, offsets[index]!];
  }
  return offsets;
}

/** A program in small: it writes to pages, and does other things in between. */
class Workload {
  readonly #bytes: Uint8Array;
  readonly #hot = new Uint8Array(HOT_BYTES);
  #state = 1;
  #sum = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Writes a byte at each offset. Returns how long a write and the work after it take, microseconds. */
  run(offsets: Uint32Array): number {
    const [bytes, hot] = [this.#bytes, this.#hot];
    let [state, sum] = [this.#state, this.#sum];
    const before = performance.now();
    for (let index = 0; index < offsets.length; index++) {
      bytes[offsets[index]!]!++;
      for (let step = 0; step < HOT_STEPS; step++) {
        state = next(state);
        const value = hot[(state >>> 8) % HOT_BYTES]!;
        sum = value & 1 ? (sum + value) | 0 : sum ^ state;
        hot[(state >>> 9) % HOT_BYTES] = sum;
      }
    }
    const us = (performance.now() - before) * 1000;
    [this.#state, this.#sum] = [state, sum];
    return us / offsets.length;
  }
}

/** Memory of small pages, each present. */
function mapSmallPages(): MappedMemory {
  const memory = mapMemory({ lengthBytes: BYTES });
  try {
    memory.advise(mman.MADV_NOHUGEPAGE);
  } catch (error) {
    // A kernel that has no huge pages does not know the advice.
    if (!(error instanceof PagemapError)) throw error;
  }
  const bytes = new Uint8Array(memory.view());
  for (let at = 0; at < BYTES; at += pageSize()) bytes[at] = 1;
  return memory;
}

/** See `LookCost.singleUs`. */
function measureSingle(): number {
  using memory = mapSmallPages();
  using faults = Userfaultfd.open();
  faults.register(memory.address, BYTES);
  // Few commands need it, and loading it takes milliseconds. Before Node.js 20.16 there is no way to do so here.
  process.getBuiltinModule?.('node:crypto').pbkdf2('', '', BUSY_ROUNDS, 32, 'sha256', () => undefined);
  const times = Array.from(shuffledPages(BYTES).subarray(0, SINGLE_PAGES), (offset) => {
    const before = performance.now();
    faults.writeProtect(memory.address + offset, pageSize());
    return (performance.now() - before) * 1000;
  });
  return upperQuartile(times);
}

let knownSingle: number | undefined;

/** @param fallback where it cannot be measured, for want of descriptors, say */
function singleUsOr(fallback: number): number {
  try {
    knownSingle ??= measureSingle();
  } catch (error) {
    if (!(error instanceof PagemapError)) throw error;
    knownSingle = fallback;
  }
  return knownSingle;
}

const known = new Map<Subject, LookCost | undefined>();

function measure(subject: Subject): LookCost | undefined {
  try {
    using memory = mapSmallPages();
    const buffer = memory.view();
    using tracker = trackMemory(buffer, { accesses: subject === 'accesses' });
    const workload = new Workload(new Uint8Array(buffer));
    const offsets = shuffledPages(BYTES);
    const each = Math.floor(offsets.length / ROUNDS);
    const [faulting, plain, protecting]: [number[], number[], number[]] = [[], [], []];
    for (let round = 0; round < ROUNDS; round++) {
      // Each round has pages of its own: they were not touched for some time, as those of a program were not.
      const pages = offsets.subarray(round * each, (round + 1) * each);
      const before = performance.now();
      tracker.reset();
      protecting.push(((performance.now() - before) * 1000) / each);
      faulting.push(workload.run(pages));
      plain.push(workload.run(pages));
    }
    // In the first round, all pages are protected.
    const protectUs = lowerQuartile(protecting.slice(1));
    return {
      faultUs: Math.max(0, lowerQuartile(faulting) - lowerQuartile(plain)),
      protectUs,
      get singleUs() {
        return singleUsOr(protectUs);
      },
    };
  } catch (error) {
    if (error instanceof PagemapError) return undefined;
    throw error;
  }
}

/**
 * What tracking costs by page, measured once; undefined as `measureFaultCost` is.
 *
 * @param isSampled measures what pages of a sample cost, too, now and not in the middle of an interval
 */
export function measureLookCost(subject: Subject, isSampled = false): LookCost | undefined {
  if (!known.has(subject)) known.set(subject, measure(subject));
  const cost = known.get(subject);
  if (isSampled && cost !== undefined) singleUsOr(cost.protectUs);
  return cost;
}

/**
 * Measures what the first write to a protected page costs the writing process (or the first access, where
 * accesses are tracked), microseconds: the fault, and the cached data that it drives out. It is measured once, on 8 MiB of
 * this process, in some ten milliseconds (up to a hundred where faults are expensive).
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
  return measureLookCost(subject)?.faultUs;
}
