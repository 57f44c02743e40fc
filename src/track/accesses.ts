/** Which pages of a process are accessed (read, written or executed), interval by interval, by read-write protection: Linux 7.3. */
import {
  hugePageSizeOf,
  PAGE_IS_ACCESSED,
  PAGE_IS_HUGE,
  PAGE_IS_PRESENT,
  type Pagemap,
  PagemapError,
  RegionBuffer,
  uffd,
} from '../abi/internal.js';
import { isDevice, isKernelMade, type Mapping } from '../proc/internal.js';
import { forEachRegion, RegionDealer, type RegionVisitor, scanLegs } from '../query/internal.js';
import { disposedError } from './disposed.js';
import { IntervalClock } from './interval-clock.js';
import { tryRegister } from './registration.js';
import { type PageSample, SampledCount } from './sample.js';
import { faultsOf } from './target-cost.js';
import type { SkipReason } from './tracker.js';

/** Protecting locks the process's address space: so much at a time. */
const PIECE_BYTES = 64 << 20;

/** The memory that is looked at: of a process, or of a simulated one. */
export interface AccessedSpace extends Disposable {
  readonly pid: number;
  /** Whether the process has ended, or replaced its program. */
  readonly ended: boolean;
  readonly pagemap: Pagemap;
  /** In address order; the same list object as before when nothing has changed. */
  mappings(): readonly Mapping[];
  /** @throws ProcessError 'ended' when the address space is gone */
  checkAlive(): void;
  /** Whether the process has begun to use userfaultfd itself: tracking then lets go of its memory. */
  isClaimed?(): boolean;
}

/**
 * What protects that memory: a userfaultfd of the process, with read-write protection that the kernel
 * resolves by itself.
 */
export interface AccessFaults extends Disposable {
  register(start: number, lengthBytes: number, mode: number): void;
  unregister(start: number, lengthBytes: number): void;
  rwProtect(start: number, lengthBytes: number, protect: boolean): void;
}

/** A mapping whose accesses cannot be tracked. */
export interface UntoldMapping {
  readonly start: number;
  readonly end: number;
  /** Chosen by the process: escape it before you show it. */
  readonly name: string;
  readonly reason: SkipReason;
}

/** The accesses to one mapping in one interval. */
export interface MappingAccesses {
  readonly start: number;
  readonly end: number;
  /** Chosen by the process: escape it before you show it. */
  readonly name: string;
  /** With a sample, an estimate for all pages. */
  readonly accessedPages: number;
  /** The mapping, or a part of it, is new in this interval: all of its pages that exist count as accessed. */
  readonly isNew: boolean;
}

/** The accesses in one interval. */
export interface AccessInterval {
  /** From the first protection to the end of this interval, milliseconds. */
  readonly elapsedMs: number;
  /** From the last collect (or the first protection) to this one, milliseconds. */
  readonly intervalMs: number;
  /** How long collecting took, milliseconds. */
  readonly scanMs: number;
  /** With a sample, an estimate for all pages. */
  readonly accessedPages: number;
  /**
   * The error of `accessedPages`, pages: the true number is no farther away in 95 of 100 samples. 0 when all
   * pages are looked at.
   */
  readonly errorPages: number;
  /**
   * An upper bound of the page faults that tracking cost the process in this interval: the first access to
   * each protected page. A huge page counts once. `measureFaultCost` tells what one costs.
   */
  readonly faultCount: number;
  /** All tracked mappings, in address order, also those without accesses. */
  readonly mappings: readonly MappingAccesses[];
}

export interface AccessOptions {
  /**
   * Track a random sample of the pages instead of all, to cost the process fewer faults: the first access to
   * a protected page is one. A share of 0.02 is one page in fifty. Numbers of pages are estimates then, and
   * regions are those of the sample.
   */
  readonly sample?: PageSample | undefined;
}

/** Neighbours that are registered and scanned in one call. */
interface Run {
  readonly start: number;
  readonly end: number;
}

/**
 * Whether a mapping, or a part of it, is new since the last collect, and where in that list to look for the
 * next one.
 */
function isNewTo(before: readonly Mapping[], mapping: Mapping, from: number): [isNew: boolean, next: number] {
  let index = from;
  while (index < before.length && before[index]!.end <= mapping.start) index++;
  const known = before[index];
  const isKnown =
    known !== undefined &&
    known.start <= mapping.start &&
    known.end >= mapping.end &&
    known.inode === mapping.inode &&
    (mapping.inode === 0 || known.offset - known.start === mapping.offset - mapping.start);
  return [!isKnown, index];
}

/**
 * Tells which pages of a process are accessed, by its threads or by the kernel for them. Made by
 * `trackProcess` with `accesses`. Dispose it to end tracking: nothing of it stays in the process.
 *
 * Each collect registers all mappings again. That changes nothing for those that are registered. A new
 * mapping is registered then, and all of its pages count as accessed.
 *
 * @example
 * ```ts
 * import { spawn } from 'node:child_process';
 * import { once } from 'node:events';
 * import { kernelCategories, PAGE_IS_ACCESSED, PagemapError, trackProcess } from 'pagemap-scan';
 * const child = spawn('sh', ['-c', 'while :; do :; done']);
 * await once(child, 'spawn');
 * try {
 *   using tracker = await trackProcess(child.pid!, { accesses: true });
 *   await new Promise((resolve) => setTimeout(resolve, 50));
 *   console.assert(tracker.collect().accessedPages > 0);
 * } catch (error) {
 *   // Before Linux 7.3.
 *   console.assert(error instanceof PagemapError && error.code === 'EOPNOTSUPP');
 *   console.assert((kernelCategories() & PAGE_IS_ACCESSED) === 0);
 * }
 * child.kill();
 * ```
 */
export class AccessTracker implements Disposable {
  readonly pid: number;
  /** How long the process was stopped to start tracking, milliseconds. */
  readonly stopMs: number;
  /** The sample that is looked at; undefined when all pages are. */
  readonly sample: PageSample | undefined;
  readonly #space: AccessedSpace;
  readonly #faults: AccessFaults;
  readonly #buffer = new RegionBuffer(8192);
  readonly #clock: IntervalClock;
  #mappings: readonly Mapping[] = [];
  #skipped: readonly UntoldMapping[] = [];
  /** The process uses userfaultfd itself now. */
  #isLeft = false;
  #open = true;

  /** Use `trackProcess`. Takes over both, and protects all memory. */
  constructor(space: AccessedSpace, faults: AccessFaults, stopMs = 0, options: AccessOptions = {}) {
    this.#space = space;
    this.#faults = faults;
    this.pid = space.pid;
    this.stopMs = stopMs;
    this.sample = options.sample;
    this.#mappings = space.mappings();
    for (const run of this.#register(this.#mappings, true)) this.#protectAll(run);
    space.checkAlive();
    this.#clock = new IntervalClock();
  }

  get ended(): boolean {
    return !this.#open || this.#space.ended;
  }

  /**
   * Mappings whose accesses could not be tracked at the last collect: the kernel's own, devices, those of
   * another userfaultfd.
   */
  get skipped(): readonly UntoldMapping[] {
    return this.#skipped;
  }

  /**
   * Gives the pages that were accessed since the last call (or since the first protection), each once, and
   * begins the next interval. The first access to a page always counts, in this interval or in the next.
   *
   * Accessed means: a thread of the process read, wrote or executed the page, or the kernel did so for it, or
   * another process read or wrote it by way of the kernel. In a new or moved mapping, all pages that exist
   * count. An accessed huge page counts with all of its pages.
   *
   * @param visit gets each run of accessed pages, in address order, cut at the borders of mappings; may be left out
   * @throws ProcessError 'ended' when the process has ended or replaced its program
   * @throws PagemapError EBADF when this is disposed
   */
  collect(visit?: RegionVisitor): AccessInterval {
    if (!this.#open) throw disposedError(`collect accesses of process ${this.pid}`);
    const begin = performance.now();
    const before = this.#mappings;
    const mappings = this.#space.mappings();
    // Asked after the list was taken: had it been another program's by then, this would tell.
    this.#space.checkAlive();
    if (!this.#isLeft && this.#space.isClaimed?.()) this.#leave();
    const runs = this.#isLeft ? [] : this.#register(mappings, mappings !== before);
    const share = this.sample?.share ?? 1;
    const total = new SampledCount(share);
    const counts = mappings.map(() => new SampledCount(share));
    const faults = new Float64Array(mappings.length);
    const { pageSize } = this.#space.pagemap;
    // What is looked at lies in mappings of the list: runs are made of them.
    const dealer = new RegionDealer(mappings, (index, start, end, categories) => {
      // A list that changed while it was read may show a mapping twice, with other borders.
      if (index < 0) return;
      faults[index]! += faultsOf(end - start, (categories & PAGE_IS_HUGE) !== 0, pageSize);
      total.add((end - start) / pageSize);
      counts[index]!.add((end - start) / pageSize);
      visit?.(start, end, PAGE_IS_ACCESSED);
    });
    for (const run of runs) this.#look(run, (start, end, categories) => dealer.add(start, end, categories));
    this.#space.checkAlive();
    this.#mappings = mappings;
    const times = this.#clock.end(begin);
    const rows = this.#rows(mappings, before, counts);
    const fresh = new Set(rows.filter(({ isNew }) => isNew).map(({ start }) => start));
    const faultCount = faults.reduce(
      (sum, count, index) => sum + (fresh.has(mappings[index]!.start) ? 0 : count),
      0,
    );
    return {
      ...times,
      accessedPages: total.pages,
      errorPages: total.errorPages,
      faultCount,
      mappings: rows,
    };
  }

  #rows(
    mappings: readonly Mapping[],
    before: readonly Mapping[],
    counts: readonly SampledCount[],
  ): MappingAccesses[] {
    if (this.#isLeft) {
      this.#skipped = mappings.map(({ start, end, name }) => ({ start, end, name, reason: 'userfaultfd' }));
      return [];
    }
    const untold = new Set(this.#skipped.map(({ start }) => start));
    let cursor = 0;
    return mappings.flatMap((mapping, index) => {
      const { start, end, name } = mapping;
      if (untold.has(start)) return [];
      const [isNew, next] = mappings === before ? [false, 0] : isNewTo(before, mapping, cursor);
      cursor = next;
      return [{ start, end, name, accessedPages: counts[index]!.pages, isNew }];
    });
  }

  /** Registers all mappings that can be, and gives them as runs. */
  #register(mappings: readonly Mapping[], hasChanged: boolean): Run[] {
    const known = new Map(hasChanged ? [] : this.#skipped.map((one) => [one.start, one]));
    const skipped: UntoldMapping[] = [];
    const runs: Run[] = [];
    let group: Mapping[] = [];
    const add = (start: number, end: number) => {
      const last = runs[runs.length - 1];
      if (last?.end === start) runs[runs.length - 1] = { start: last.start, end };
      else runs.push({ start, end });
    };
    const flush = () => {
      const [first, last] = [group[0], group[group.length - 1]];
      const members = group;
      group = [];
      if (first === undefined || last === undefined) return;
      if (this.#tryRegister(first.start, last.end) === undefined) {
        add(first.start, last.end);
        return;
      }
      for (const mapping of members) {
        const reason = this.#tryRegister(mapping.start, mapping.end);
        if (reason === undefined) add(mapping.start, mapping.end);
        else skipped.push({ start: mapping.start, end: mapping.end, name: mapping.name, reason });
      }
    };
    for (const mapping of mappings) {
      const { start, end, name } = mapping;
      const refused = known.get(start);
      const isOut = isDevice(mapping) || (refused !== undefined && refused.reason !== 'busy');
      const isOdd = isKernelMade(mapping) || refused !== undefined;
      if (isOut || isOdd || group[group.length - 1]?.end !== start) flush();
      if (isOut) skipped.push(refused ?? { start, end, name, reason: 'device' });
      else group.push(mapping);
      if (isOdd) flush();
    }
    flush();
    this.#skipped = skipped;
    return runs;
  }

  /** Lets go of all memory, so that the process can register it with a userfaultfd of its own. */
  #leave(): void {
    this.#isLeft = true;
    this.#faults[Symbol.dispose]();
  }

  #tryRegister(start: number, end: number): SkipReason | undefined {
    return tryRegister(
      () => this.#faults.register(start, end - start, uffd.UFFDIO_REGISTER_MODE_RWP),
      () => this.#space.checkAlive(),
    );
  }

  #protectAll({ start, end }: Run): void {
    if (this.sample === undefined) {
      // Cut between huge pages: a part of one is not protected without splitting it.
      const hugeBytes = hugePageSizeOf(this.#space.pagemap.pageSize);
      const pieceBytes = Math.max(PIECE_BYTES, hugeBytes);
      for (let at = start; at < end; ) {
        const next = Math.min(end, Math.floor((at + pieceBytes) / hugeBytes) * hugeBytes);
        this.#protect(at, next);
        at = next;
      }
      return;
    }
    const query = { start, end, categoryMask: PAGE_IS_PRESENT, returnMask: PAGE_IS_HUGE };
    const pages: number[] = [];
    forEachRegion(
      this.#space.pagemap,
      query,
      (from, to, categories) => this.sample!.visit(from, to, categories, (...page) => pages.push(...page)),
      { buffer: this.#buffer },
    );
    for (let index = 0; index < pages.length; index += 2) this.#protect(pages[index]!, pages[index + 1]!);
  }

  /**
   * Looks first, then protects exactly the pages that it has seen. An access in between is to a page that is
   * reported anyway.
   */
  #look({ start, end }: Run, found: RegionVisitor): void {
    const query = {
      start,
      end,
      categoryMask: PAGE_IS_ACCESSED,
      returnMask: PAGE_IS_ACCESSED | PAGE_IS_HUGE,
    };
    for (const leg of scanLegs(this.#space.pagemap, query, { buffer: this.#buffer })) {
      for (let index = 0; index < leg.length; index++) {
        const [from, to] = [leg.start(index), leg.end(index)];
        if (this.sample === undefined) {
          this.#protect(from, to);
          found(from, to, leg.categories(index));
          continue;
        }
        this.sample.visit(from, to, leg.categories(index), (first, last) => {
          this.#protect(first, last);
          found(first, last, leg.categories(index));
        });
      }
    }
  }

  #protect(start: number, end: number): void {
    try {
      this.#faults.rwProtect(start, end - start, true);
    } catch (error) {
      if (!(error instanceof PagemapError)) throw error;
      // ENOENT: another mapping has come there meanwhile. The next collect registers it, and finds all of its pages.
      if (error.code === 'ESRCH') this.#space.checkAlive();
      else if (error.code !== 'ENOENT') throw error;
    }
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#faults[Symbol.dispose]();
    this.#space[Symbol.dispose]();
  }
}
