/** Which pages of a random sample a process writes, interval by interval: for less page faults than all pages cost. */
import {
  hugePageSizeOf,
  PAGE_IS_HUGE,
  PAGE_IS_WRITTEN,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  RegionBuffer,
} from '../abi/internal.js';
import { kernelCategories, mappingPageSize, TrackerMark } from '../live/internal.js';
import { hasFile, isDevice, isKernelMade, isPrivate, type Mapping, mayBeWritten } from '../proc/internal.js';
import { type RegionVisitor, scanLegs } from '../query/internal.js';
import { type AccessedSpace, isNewTo } from './accesses.js';
import { spaceOf } from './accesses-of-process.js';
import { type Attached, attachTo, type TrackOptions } from './attach.js';
import { disposedError } from './disposed.js';
import { IntervalClock } from './interval-clock.js';
import { newNeighbours } from './neighbours.js';
import { EXISTING, EXISTING_WRITTEN, existingWritten, type Masks } from './protected-scan.js';
import { type PageSample, SampledCount } from './sample.js';
import { faultsOf } from './target-cost.js';
import type { Interval, MappingWrites, ProcessTracker, SkippedMapping, SkipReason } from './tracker.js';

/** Above this, milliseconds between collects would go into the list of mappings. */
const MOST_NEIGHBOURS = 2000;

/** The memory that is looked at: of a process, or of a simulated one. */
export interface WrittenSpace extends AccessedSpace {
  /** The categories that its pages can be asked for. */
  readonly categories: number;
  /** Whether nobody else tracks it. Where that is not so, what is tracked is registered again at each collect: a refusal tells. */
  readonly isAlone: boolean;
  /** How large the pages of a mapping are, bytes: of hugetlb memory, larger than others. */
  pageBytes(mapping: Mapping): number;
}

/** Who protects that memory: a userfaultfd of the process, with write protection that needs no answers. */
export interface WriteFaults extends Disposable {
  register(start: number, lengthBytes: number): void;
  writeProtect(start: number, lengthBytes: number): void;
}

/** A mapping that is tracked, or would be if it could be registered. */
interface Part {
  readonly mapping: Mapping;
  readonly start: number;
  readonly end: number;
  readonly inode: number;
  isNew: boolean;
  readonly isHugetlb: boolean;
  /** What is looked for. */
  readonly masks: Masks;
}

/**
 * Tracks the writes to a random sample of the pages. Made by `trackProcess` with `sample`.
 *
 * It looks first and protects exactly what it has seen of the sample: a write in between is to a page that is reported anyway. What is
 * not in the sample is never protected, so the kernel always says that it was written. Pages come into the
 * sample by their addresses alone, those that come into being as well.
 *
 * A huge page is in it as a whole, or not at all. The first write to one that is protected splits it; all of its small pages are in the
 * sample from then on, as they were protected, and count together in the error.
 */
export class SampledWriteTracker implements ProcessTracker {
  readonly provider = 'ioctl';
  readonly pid: number;
  readonly stopMs: number;
  readonly sample: PageSample;
  readonly #space: WrittenSpace;
  readonly #faults: WriteFaults;
  readonly #buffer = new RegionBuffer(8192);
  readonly #masks: Readonly<Record<'anonymous' | 'private-file', Masks>>;
  readonly #clock: IntervalClock;
  #mappings: readonly Mapping[] = [];
  #parts: readonly Part[] = [];
  /** Huge pages that were protected, by their numbers. Split ones stay: their small pages are protected, too. */
  readonly #huge = new Set<number>();
  readonly #hugeBytes: number;
  #skipped: readonly SkippedMapping[] = [];
  /** The process uses userfaultfd itself by now. */
  #isLeft = false;
  #open = true;

  /** Use `trackProcess`. Takes over both, and protects the sample. */
  constructor(space: WrittenSpace, faults: WriteFaults, sample: PageSample, stopMs = 0) {
    this.#space = space;
    this.#faults = faults;
    this.pid = space.pid;
    this.stopMs = stopMs;
    this.sample = sample;
    this.#hugeBytes = hugePageSizeOf(space.pagemap.pageSize);
    this.#masks = {
      anonymous: existingWritten(false, space.categories),
      'private-file': existingWritten(true, space.categories),
    };
    this.#round(() => undefined);
    this.#clock = new IntervalClock();
  }

  get ended(): boolean {
    return !this.#open || this.#space.ended;
  }

  get skipped(): readonly SkippedMapping[] {
    return this.#skipped;
  }

  collect(visit?: RegionVisitor): Interval {
    if (!this.#open) throw disposedError(`collect writes of process ${this.pid}`);
    const begin = performance.now();
    if (!this.#isLeft && this.#space.isClaimed?.()) this.#leave();
    const { share } = this.sample;
    const { pageSize } = this.#space.pagemap;
    const total = new SampledCount(share);
    const rows = new Map<Part, SampledCount>();
    let faultCount = 0;
    // Small pages of what was a huge page in the sample, of which more may come: they are one unit of it.
    let open: { part: Part; huge: number; pages: number } | undefined;
    const add = (part: Part, pages: number) => {
      const row = rows.get(part) ?? new SampledCount(share);
      rows.set(part, row);
      row.add(pages);
      total.add(pages);
    };
    const close = () => {
      if (open !== undefined) add(open.part, open.pages);
      open = undefined;
    };
    this.#round((part, start, end, categories) => {
      const pages = (end - start) / pageSize;
      const isHuge = (categories & PAGE_IS_HUGE) !== 0;
      if (!part.isNew) faultCount += faultsOf(end - start, isHuge, pageSize);
      const huge = Math.floor(start / this.#hugeBytes);
      if (isHuge || !this.#huge.has(huge)) {
        close();
        add(part, pages);
      } else {
        if (open?.part !== part || open.huge !== huge) close();
        open ??= { part, huge, pages: 0 };
        open.pages += pages;
      }
      visit?.(start, end, PAGE_IS_WRITTEN);
    });
    close();
    return {
      ...this.#clock.end(begin),
      writtenPages: total.pages,
      errorPages: total.errorPages,
      faultCount,
      mappings: this.#parts.map((part): MappingWrites => {
        const { start, end, name } = part.mapping;
        return { start, end, name, writtenPages: rows.get(part)?.pages ?? 0, isNew: part.isNew };
      }),
    };
  }

  /** See `WriteProtectTracker`. */
  lookForNeighbours(): void {
    if (!this.#open || this.#isLeft || this.#parts.length > MOST_NEIGHBOURS) return;
    const mappings = this.#space.mappings();
    if (mappings === this.#mappings) return;
    for (const { start, end } of newNeighbours(mappings, this.#parts)) this.#tryRegister(start, end);
  }

  /** Goes over all mappings in address order. */
  #round(found: (part: Part, start: number, end: number, categories: number) => void): void {
    const mappings = this.#space.mappings();
    // Asked after the list was taken: had it been another program's by then, this would tell.
    this.#space.checkAlive();
    const { parts, skipped } = this.#plan(mappings);
    const tracked: Part[] = [];
    for (const part of parts) {
      const reason = this.#look(part, (start, end, categories) => found(part, start, end, categories));
      if (reason === undefined) tracked.push(part);
      else skipped.push({ start: part.start, end: part.end, name: part.mapping.name, reason });
    }
    this.#space.checkAlive();
    this.#mappings = mappings;
    this.#parts = tracked;
    this.#skipped = skipped.sort((a, b) => a.start - b.start);
  }

  #plan(mappings: readonly Mapping[]): { parts: readonly Part[]; skipped: SkippedMapping[] } {
    if (
      mappings === this.#mappings &&
      !this.#isLeft &&
      this.#skipped.every(({ reason }) => reason === 'device')
    ) {
      for (const part of this.#parts) part.isNew = false;
      return { parts: this.#parts, skipped: [...this.#skipped] };
    }
    // What could not be registered is new each time: a scan cannot tell whose registration it is that it finds.
    const before = this.#parts.map(({ mapping }) => mapping);
    const parts: Part[] = [];
    const skipped: SkippedMapping[] = [];
    let cursor = 0;
    for (const mapping of mappings) {
      if (isKernelMade(mapping)) continue;
      const { start, end, name, inode } = mapping;
      const [isNew, next] = isNewTo(before, mapping, cursor);
      cursor = next;
      // One that was writable may hold writes from before that was taken from it.
      if (isNew && !mayBeWritten(mapping)) continue;
      if (isDevice(mapping)) skipped.push({ start, end, name, reason: 'device' });
      else if (this.#isLeft) skipped.push({ start, end, name, reason: 'userfaultfd' });
      else {
        const pageBytes = hasFile(mapping) ? this.#space.pageBytes(mapping) : 0;
        const isHugetlb = pageBytes >= this.#hugeBytes;
        // Of pages of a gibibyte a sample would tell nothing.
        if (pageBytes > this.#hugeBytes) skipped.push({ start, end, name, reason: 'hugetlb' });
        else
          parts.push({
            mapping,
            start,
            end,
            inode,
            isNew,
            isHugetlb,
            masks: this.#masksOf(mapping, isHugetlb),
          });
      }
    }
    return { parts, skipped };
  }

  #masksOf(mapping: Mapping, isHugetlb: boolean): Masks {
    if (isHugetlb) return EXISTING_WRITTEN;
    return this.#masks[hasFile(mapping) && isPrivate(mapping) ? 'private-file' : 'anonymous'];
  }

  /** Reports and protects what was written of a mapping. Gives the reason where it cannot be tracked. */
  #look(part: Part, found: RegionVisitor): SkipReason | undefined {
    let isAsked = part.isNew || !this.#space.isAlone;
    for (let at = part.start; ; isAsked = true) {
      if (isAsked) {
        const reason = this.#tryRegister(part.start, part.end);
        if (reason !== undefined) return reason;
        // As where all is tracked: hugetlb memory is protected before it is looked at for the first time, holes included.
        if (part.isNew && part.isHugetlb)
          this.sample.visit(part.start, part.end, PAGE_IS_HUGE, (start, end) => this.#protect(start, end));
      }
      try {
        this.#lookFrom(at, part, (start, end, categories) => {
          at = end;
          found(start, end, categories);
        });
        return undefined;
      } catch (error) {
        if (!(error instanceof PagemapError)) throw error;
        this.#space.checkAlive();
        if (error.code !== 'EPERM') throw error;
        // It was replaced, and is not registered. One that is replaced all the time is left to the next interval.
        if (isAsked) return undefined;
        part.isNew = true;
      }
    }
  }

  #lookFrom(at: number, part: Part, found: RegionVisitor): void {
    // All of new hugetlb memory that exists counts, although it is protected by now.
    const masks = part.isNew && part.isHugetlb ? EXISTING : part.masks;
    const query = { start: at, end: part.end, ...masks, flags: PM_SCAN_CHECK_WPASYNC };
    for (const leg of scanLegs(this.#space.pagemap, query, { buffer: this.#buffer })) {
      for (let index = 0; index < leg.length; index++) {
        const categories = part.isHugetlb ? PAGE_IS_HUGE : leg.categories(index);
        this.#visitSample(leg.start(index), leg.end(index), categories, (start, end) => {
          this.#protect(start, end);
          found(start, end, categories);
        });
      }
    }
  }

  /** What of a range is in the sample. */
  #visitSample(
    start: number,
    end: number,
    categories: number,
    take: (start: number, end: number) => void,
  ): void {
    if (categories & PAGE_IS_HUGE) {
      this.sample.visit(start, end, categories, (from, to) => {
        this.#huge.add(Math.floor(from / this.#hugeBytes));
        take(from, to);
      });
      return;
    }
    if (this.#huge.size === 0) {
      this.sample.visit(start, end, categories, take);
      return;
    }
    for (let at = start; at < end; ) {
      const huge = Math.floor(at / this.#hugeBytes);
      const next = Math.min(end, (huge + 1) * this.#hugeBytes);
      if (this.#huge.has(huge)) take(at, next);
      else this.sample.visit(at, next, categories, take);
      at = next;
    }
  }

  #tryRegister(start: number, end: number): SkipReason | undefined {
    try {
      this.#faults.register(start, end - start);
      return undefined;
    } catch (error) {
      if (!(error instanceof PagemapError)) throw error;
      if (error.code === 'ESRCH') this.#space.checkAlive();
      return error.code === 'EBUSY' ? 'busy' : 'refused';
    }
  }

  #protect(start: number, end: number): void {
    try {
      this.#faults.writeProtect(start, end - start);
    } catch (error) {
      if (!(error instanceof PagemapError)) throw error;
      // ENOENT: another mapping has come there meanwhile, which the next collect finds not to be registered.
      if (error.code === 'ESRCH') this.#space.checkAlive();
      else if (error.code !== 'ENOENT') throw error;
    }
  }

  /** Lets go of all memory: the process may want to register it with a userfaultfd of its own, which ours would forbid. */
  #leave(): void {
    this.#isLeft = true;
    this.#faults[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#faults[Symbol.dispose]();
    this.#space[Symbol.dispose]();
  }
}

function writtenSpaceOf(attached: Attached): WrittenSpace {
  const { pagemap } = attached;
  const mark = new TrackerMark(pagemap.pid);
  const space = spaceOf(attached);
  return {
    pid: space.pid,
    pagemap,
    categories: kernelCategories(),
    get ended() {
      return pagemap.ended;
    },
    get isAlone() {
      return mark.isAlone;
    },
    pageBytes: ({ start, end }) => mappingPageSize(pagemap.process, start, end),
    mappings: () => space.mappings(),
    checkAlive: () => space.checkAlive(),
    isClaimed: () => space.isClaimed?.() ?? false,
    [Symbol.dispose]() {
      mark[Symbol.dispose]();
      space[Symbol.dispose]();
    },
  };
}

/**
 * Tracks the writes to a random sample of a process's pages, as `trackProcess` with `sample` does.
 *
 * @throws what `trackByProtection` throws
 */
export async function trackSampledWrites(
  pid: number | 'self',
  sample: PageSample,
  options: TrackOptions = {},
): Promise<SampledWriteTracker> {
  return await attachTo(pid, options, undefined, (attached) => {
    const space = writtenSpaceOf(attached);
    return new SampledWriteTracker(space, attached.faults, sample, attached.stopMs);
  });
}
