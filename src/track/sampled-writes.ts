/**
 * Which pages of a random sample a process writes, interval by interval. It costs fewer page faults than tracking all
 * pages.
 */
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
import type { AccessedSpace } from './accesses.js';
import { spaceOf } from './accesses-of-process.js';
import { type Attached, attachTo, type TrackOptions } from './attach.js';
import { disposedError } from './disposed.js';
import { IntervalClock } from './interval-clock.js';
import { MOST_NEIGHBOURS, newNeighbours } from './neighbours.js';
import {
  EXISTING,
  EXISTING_SHARED,
  EXISTING_WRITTEN,
  GONE,
  type Masks,
  MOST_MARKED_BYTES,
  type PrivateMasks,
  privateMasks,
  type TrackedKind,
} from './protected-scan.js';
import { isSame, offsetAtZero, tryRegister } from './registration.js';
import { type PageSample, SampledCount } from './sample.js';
import { faultsOf } from './target-cost.js';
import type { Interval, MappingWrites, ProcessTracker, SkippedMapping, SkipReason } from './tracker.js';

/** The memory that is looked at: of a process, or of a simulated one. */
export interface WrittenSpace extends AccessedSpace {
  /** The categories that its pages can be asked for. */
  readonly categories: number;
  /** Whether nobody else tracks it. Where that is not so, what is tracked is registered again at each collect: a refusal tells. */
  readonly isAlone: boolean;
  /** How large the pages of a mapping are, bytes: of hugetlb memory, larger than others. */
  pageBytes(mapping: Mapping): number;
}

/**
 * What protects that memory: a userfaultfd of the process, with write protection that the kernel resolves by itself.
 */
export interface WriteFaults extends Disposable {
  register(start: number, lengthBytes: number): void;
  writeProtect(start: number, lengthBytes: number): void;
}

/** A part of a mapping that is tracked, or would be if it could be registered. */
interface Part {
  readonly mapping: Mapping;
  readonly start: number;
  readonly end: number;
  readonly inode: number;
  /** See `offsetAtZero`. */
  readonly offset: number;
  isNew: boolean;
  /** Undefined before it is registered: only then nothing else can come in its place unnoticed. */
  kind: Kind | undefined;
}

type Kind = TrackedKind | 'marked-shared';

/** Whether there is no use in trying again. */
function isForGood({ reason }: SkippedMapping): boolean {
  return reason === 'device' || reason === 'hugetlb';
}

/**
 * The parts of a mapping that were tracked before, neighbours joined, and those that are new. What could not be registered is new each time: a
 * scan cannot tell whose registration it finds.
 *
 * @param index of the first of `before` that reaches into the mapping, or lies behind it
 */
function partsOf(mapping: Mapping, before: readonly Part[], index: number): Part[] {
  const { end, inode } = mapping;
  const offset = offsetAtZero(mapping);
  const parts: Part[] = [];
  let at = mapping.start;
  const add = (to: number, kind: Kind | undefined, isNew: boolean) => {
    const last = parts.at(-1);
    if (last !== undefined && !isNew && !last.isNew && last.kind === kind)
      parts[parts.length - 1] = { ...last, end: to };
    else parts.push({ mapping, start: at, end: to, inode, offset, isNew, kind });
    at = to;
  };
  // One that was writable may hold writes from before that was taken from it; a new one that never was has none.
  const addNew = (to: number) => {
    if (mayBeWritten(mapping)) add(to, undefined, true);
    else at = to;
  };
  for (let next = index; next < before.length && before[next]!.start < end; next++) {
    const part = before[next]!;
    if (part.end <= at || !isSame(part, mapping)) continue;
    if (part.start > at) addNew(part.start);
    add(Math.min(end, part.end), part.kind, false);
  }
  if (at < end) addNew(end);
  return parts;
}

/**
 * Tracks the writes to a random sample of the pages. Made by `trackProcess` with `sample`.
 *
 * It looks first, then protects exactly the pages of the sample that it has seen. A write in between is to a page that
 * is reported anyway. Pages outside the sample are never protected, so the kernel always reports them as written. Only
 * its address decides whether a page is in the sample; that holds for new pages, too.
 *
 * A huge page is in it as a whole, or not at all, and so are its small pages once it is split (by the first write to one that is
 * protected, for one): they count together in the error. If they were drawn anew then, those of huge pages that were never protected
 * would look written.
 */
export class SampledWriteTracker implements ProcessTracker {
  readonly provider = 'ioctl';
  readonly pid: number;
  readonly stopMs: number;
  readonly sample: PageSample;
  readonly #space: WrittenSpace;
  readonly #faults: WriteFaults;
  readonly #buffer = new RegionBuffer(8192);
  readonly #masks: PrivateMasks;
  readonly #clock: IntervalClock;
  #mappings: readonly Mapping[] = [];
  #parts: readonly Part[] = [];
  /** Huge pages that were seen, by their numbers, and whether they are in the sample. Those that were split stay. */
  readonly #huge = new Map<number, boolean>();
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
    this.#masks = privateMasks(space.categories);
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
    const counts = new Map<Mapping, SampledCount>();
    let faultCount = 0;
    // Small pages of what was a huge page in the sample, of which more may come: they are one unit of it.
    let open: { part: Part; huge: number; pages: number } | undefined;
    const add = (part: Part, pages: number) => {
      const count = counts.get(part.mapping) ?? new SampledCount(share);
      counts.set(part.mapping, count);
      count.add(pages);
      total.add(pages);
    };
    const close = () => {
      if (open !== undefined) add(open.part, open.pages);
      open = undefined;
    };
    this.#round((part, start, end, categories) => {
      const pages = (end - start) / pageSize;
      const isHuge = (categories & PAGE_IS_HUGE) !== 0;
      // What is new was not protected.
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
      mappings: this.#rows(counts),
    };
  }

  #rows(counts: ReadonlyMap<Mapping, SampledCount>): MappingWrites[] {
    const rows: MappingWrites[] = [];
    for (const { mapping, isNew } of this.#parts) {
      const { start, end, name } = mapping;
      const last = rows.at(-1);
      if (last?.start === start) last.isNew ||= isNew;
      else rows.push({ start, end, name, writtenPages: counts.get(mapping)?.pages ?? 0, isNew });
    }
    return rows;
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
    if (mappings === this.#mappings && !this.#isLeft && this.#skipped.every(isForGood)) {
      for (const part of this.#parts) part.isNew = false;
      return { parts: this.#parts, skipped: [...this.#skipped] };
    }
    const before = this.#parts;
    const parts: Part[] = [];
    const skipped: SkippedMapping[] = [];
    let index = 0;
    for (const mapping of mappings) {
      if (isKernelMade(mapping)) continue;
      const { start, end, name } = mapping;
      while (index < before.length && before[index]!.end <= start) index++;
      if (isDevice(mapping)) {
        if (mayBeWritten(mapping)) skipped.push({ start, end, name, reason: 'device' });
      } else if (!this.#isLeft) parts.push(...partsOf(mapping, before, index));
      else if (mayBeWritten(mapping)) skipped.push({ start, end, name, reason: 'userfaultfd' });
    }
    return { parts, skipped };
  }

  /** Of one that is registered. */
  #kindOf(mapping: Mapping): Kind | 'untellable' {
    if (!hasFile(mapping)) return 'anonymous';
    const pageBytes = this.#space.pageBytes(mapping);
    // Of pages of a gibibyte a sample would tell nothing.
    if (pageBytes > this.#space.pagemap.pageSize)
      return pageBytes === this.#hugeBytes ? 'hugetlb' : 'untellable';
    if (isPrivate(mapping)) return 'private-file';
    return mapping.end - mapping.start > MOST_MARKED_BYTES ? 'shared' : 'marked-shared';
  }

  /** Reports and protects what was written of a mapping. Gives the reason where it cannot be tracked. */
  #look(part: Part, found: RegionVisitor): SkipReason | undefined {
    let isAsked = part.isNew || !this.#space.isAlone;
    for (let at = part.start; ; isAsked = true) {
      if (isAsked) {
        const reason = this.#tryRegister(part.start, part.end);
        if (reason !== undefined) return reason;
        const kind = part.kind ?? this.#kindOf(part.mapping);
        if (kind === 'untellable') return 'hugetlb';
        part.kind = kind;
      }
      try {
        if (part.isNew) this.#protectHoles(part);
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
        Object.assign(part, { isNew: true, kind: undefined });
      }
    }
  }

  /**
   * Protects the pages of the sample that do not exist yet, where reading one would make it look written, as when all
   * pages are tracked. Then all pages that exist count.
   */
  #protectHoles({ start, end, kind }: Part): void {
    if (kind === 'hugetlb') {
      this.sample.visit(start, end, PAGE_IS_HUGE, (from, to) => this.#protect(from, to));
    } else if (kind === 'marked-shared') {
      const query = { start, end, ...GONE, flags: PM_SCAN_CHECK_WPASYNC };
      for (const leg of scanLegs(this.#space.pagemap, query, { buffer: this.#buffer }))
        for (let index = 0; index < leg.length; index++)
          this.#visitSample(leg.start(index), leg.end(index), 0, (from, to) => this.#protect(from, to));
    }
  }

  #masksOf({ isNew, kind }: Part): Masks {
    if (kind === 'hugetlb') return isNew ? EXISTING : EXISTING_WRITTEN;
    if (kind === 'marked-shared' && isNew) return { ...EXISTING_SHARED, returnMask: PAGE_IS_HUGE };
    return this.#masks[kind === 'private-file' ? 'private-file' : 'anonymous'];
  }

  #lookFrom(at: number, part: Part, found: RegionVisitor): void {
    const query = { start: at, end: part.end, ...this.#masksOf(part), flags: PM_SCAN_CHECK_WPASYNC };
    for (const leg of scanLegs(this.#space.pagemap, query, { buffer: this.#buffer })) {
      // Neighbours are protected by one call.
      let [from, to] = [0, 0];
      for (let index = 0; index < leg.length; index++) {
        const categories = part.kind === 'hugetlb' ? PAGE_IS_HUGE : leg.categories(index);
        this.#visitSample(leg.start(index), leg.end(index), categories, (start, end) => {
          if (start !== to) {
            if (from < to) this.#protect(from, to);
            from = start;
          }
          to = end;
          found(start, end, categories);
        });
      }
      if (from < to) this.#protect(from, to);
    }
  }

  /** What of a range is in the sample. */
  #visitSample(
    start: number,
    end: number,
    categories: number,
    take: (start: number, end: number) => void,
  ): void {
    const isHuge = (categories & PAGE_IS_HUGE) !== 0;
    if (!isHuge && this.#huge.size === 0) {
      this.sample.visit(start, end, categories, take);
      return;
    }
    for (let at = start; at < end; ) {
      const huge = Math.floor(at / this.#hugeBytes);
      const next = Math.min(end, (huge + 1) * this.#hugeBytes);
      let isIn = this.#huge.get(huge);
      if (isHuge && isIn === undefined) {
        isIn = false;
        this.sample.visit(at, next, categories, () => {
          isIn = true;
        });
        this.#huge.set(huge, isIn);
      }
      if (isIn) take(at, next);
      else if (isIn === undefined) this.sample.visit(at, next, categories, take);
      at = next;
    }
  }

  #tryRegister(start: number, end: number): SkipReason | undefined {
    return tryRegister(
      () => this.#faults.register(start, end - start),
      () => this.#space.checkAlive(),
    );
  }

  #protect(start: number, end: number): void {
    try {
      this.#faults.writeProtect(start, end - start);
    } catch (error) {
      if (!(error instanceof PagemapError)) throw error;
      // Another mapping has come there meanwhile, with huge pages perhaps: the next collect finds it not to be registered.
      if (error.code === 'ESRCH') this.#space.checkAlive();
      else if (error.code !== 'ENOENT' && error.code !== 'EINVAL') throw error;
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

function writtenSpaceOf(attached: Attached, mark: TrackerMark): WrittenSpace {
  const { pagemap } = attached;
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
    const mark = new TrackerMark(attached.pagemap.pid);
    try {
      return new SampledWriteTracker(
        writtenSpaceOf(attached, mark),
        attached.faults,
        sample,
        attached.stopMs,
      );
    } catch (error) {
      mark[Symbol.dispose]();
      throw error;
    }
  });
}
