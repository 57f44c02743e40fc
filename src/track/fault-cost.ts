/** Measures what tracking costs those who are tracked: it differs by a factor of ten between machines. */
import { mman, PagemapError } from '../abi/index.js';
import { type MappedMemory, mapMemory, pageSize, Userfaultfd } from '../live/index.js';
import type { Subject } from './activity.js';
import { trackMemory } from './own.js';
import type { LookCost } from './target-cost.js';

/** Large enough that the kernel's own data on its pages is not in the nearest caches. */
const BYTES = 8 << 20;
const ROUNDS = 8;

/** While somebody is looked at, some pages are written again, no more often than that, and so many of these measurements count. */
const AGAIN_MS = 1000;
const COUNTED = 9;
/** Their faults are to take about so long; of fewer pages or more, chance or this program would have too large a part. */
const AGAIN_US = 500;
const [LEAST_AGAIN, MOST_AGAIN] = [32, 256];

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

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[(values.length - 1) >> 1]!;
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

  /** Brings into the caches what the work in between is done on: after a pause it would count as part of the faults. */
  warm(): void {
    for (let at = 0; at < HOT_BYTES; at += 64) this.#sum += this.#hot[at]!;
  }

  /** Writes a byte at each offset. Returns how long a write and the work after it take, microseconds of a processor. */
  run(offsets: Uint32Array): number {
    const [bytes, hot] = [this.#bytes, this.#hot];
    let [state, sum] = [this.#state, this.#sum];
    const cpu = process.cpuUsage();
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
    const { user, system } = process.cpuUsage(cpu);
    [this.#state, this.#sum] = [state, sum];
    // The processor's time counts other threads of this process, the clock counts other programs.
    return Math.min(us, user + system) / offsets.length;
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

/** Memory of this process that is tracked as that of others is, and a program in small that writes there. */
class Probe implements Disposable {
  readonly #memory = mapSmallPages();
  readonly #tracker: Disposable & { reset(): void };
  readonly #workload: Workload;
  readonly #offsets = shuffledPages(BYTES);
  #next = 0;

  /** @throws PagemapError where memory cannot be protected */
  constructor(subject: Subject) {
    try {
      const buffer = this.#memory.view();
      this.#tracker = trackMemory(buffer, { accesses: subject === 'accesses' });
      this.#workload = new Workload(new Uint8Array(buffer));
    } catch (error) {
      this.#memory[Symbol.dispose]();
      throw error;
    }
  }

  /** Protects again what was written. Returns how long that took, microseconds. */
  protect(): number {
    const before = performance.now();
    this.#tracker.reset();
    return (performance.now() - before) * 1000;
  }

  /** Writes to so many pages, twice; they were not touched for some time, as those of a program were not. Returns how long each took. */
  write(count: number): [faultingUs: number, plainUs: number] {
    this.#workload.warm();
    if (this.#next + count > this.#offsets.length) this.#next = 0;
    const pages = this.#offsets.subarray(this.#next, this.#next + count);
    this.#next += count;
    return [this.#workload.run(pages), this.#workload.run(pages)];
  }

  [Symbol.dispose](): void {
    this.#tracker[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }
}

const known = new Map<Subject, LookCost>();

/** @throws PagemapError */
function calibrate(probe: Probe): LookCost {
  const each = Math.floor(BYTES / pageSize() / ROUNDS);
  const [faulting, plain, protecting]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < ROUNDS; round++) {
    protecting.push(probe.protect() / each);
    const [faultingUs, plainUs] = probe.write(each);
    faulting.push(faultingUs);
    plain.push(plainUs);
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
}

/** @returns undefined where memory cannot be protected */
function orUndefined<T>(attempt: () => T): T | undefined {
  try {
    return attempt();
  } catch (error) {
    if (error instanceof PagemapError) return undefined;
    throw error;
  }
}

/** @throws PagemapError */
function calibrated(subject: Subject, probe: Probe): LookCost {
  const cost = known.get(subject) ?? calibrate(probe);
  known.set(subject, cost);
  return cost;
}

/**
 * What tracking costs by page while somebody is tracked. A fault that takes 17 microseconds while the machine is idle takes 20 to 35 beside a busy
 * service. So some are measured again at the end of an interval, at most once a second, in a millisecond. All who ask share one.
 */
export class CurrentLookCost implements LookCost, Disposable {
  static readonly #open = new Map<Subject, CurrentLookCost>();
  readonly #subject: Subject;
  readonly #probe: Probe;
  readonly #first: LookCost;
  readonly #faultUs: number[];
  readonly #again: number;
  #users = 0;
  #againAt = performance.now() + AGAIN_MS;

  private constructor(subject: Subject) {
    this.#subject = subject;
    this.#probe = new Probe(subject);
    try {
      this.#first = calibrated(subject, this.#probe);
      this.#probe.protect();
    } catch (error) {
      this.#probe[Symbol.dispose]();
      throw error;
    }
    const { faultUs } = this.#first;
    this.#faultUs = [faultUs];
    this.#again = Math.round(Math.min(MOST_AGAIN, Math.max(LEAST_AGAIN, AGAIN_US / faultUs)));
  }

  /**
   * Undefined where memory cannot be protected. Each has to be disposed.
   *
   * @param isSampled measures what pages of a sample cost, too, now and not in the middle of an interval
   */
  static open(subject: Subject, isSampled = false): CurrentLookCost | undefined {
    const open = CurrentLookCost.#open.get(subject) ?? orUndefined(() => new CurrentLookCost(subject));
    if (open === undefined) return undefined;
    CurrentLookCost.#open.set(subject, open);
    open.#users++;
    try {
      if (isSampled) singleUsOr(open.protectUs);
    } catch (error) {
      open[Symbol.dispose]();
      throw error;
    }
    return open;
  }

  get faultUs(): number {
    return median(this.#faultUs);
  }

  get protectUs(): number {
    return this.#first.protectUs;
  }

  get singleUs(): number {
    return this.#first.singleUs;
  }

  /** Measures again, if it is time; best when those who are looked at run. */
  refresh(): void {
    if (performance.now() < this.#againAt) return;
    try {
      // The first few are slower: this program has waited.
      this.#probe.write(LEAST_AGAIN >> 2);
      const [faultingUs, plainUs] = this.#probe.write(this.#again);
      // Now, not before they are written: some machines do a part of the work later.
      this.#probe.protect();
      this.#faultUs.push(Math.max(0, faultingUs - plainUs));
      if (this.#faultUs.length > COUNTED) this.#faultUs.shift();
      this.#againAt = performance.now() + AGAIN_MS;
    } catch {
      // For want of descriptors, say. What is known stays: an estimate must not end what it is about.
      this.#againAt = Number.POSITIVE_INFINITY;
    }
  }

  [Symbol.dispose](): void {
    if (--this.#users > 0) return;
    CurrentLookCost.#open.delete(this.#subject);
    this.#probe[Symbol.dispose]();
  }
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
  const measured =
    known.get(subject) ??
    orUndefined(() => {
      using probe = new Probe(subject);
      return calibrated(subject, probe);
    });
  return measured?.faultUs;
}
