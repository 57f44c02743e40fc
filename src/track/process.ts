/** Which pages of another process are written, interval by interval, while it runs. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  PAGE_IS_HUGE,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_WRITTEN,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  RegionBuffer,
} from '../abi/index.js';
import {
  type AttachOptions,
  atPriority,
  chooseProvider,
  type DescriptorSearch,
  FallbackPagemap,
  holesAreWritten,
  hugePageSize,
  kernelCategories,
  type LivePagemap,
  MODEST,
  mappingPageSize,
  pause,
  TrackerMark,
  type Userfaultfd,
} from '../live/internal.js';
import {
  hasFile,
  isDevice,
  isKernelMade,
  isPrivate,
  type Mapping,
  mayBeWritten,
  parseStatus,
} from '../proc/internal.js';
import { forEachRegion, RegionDealer, type RegionVisitor, scanLegs } from '../query/internal.js';
import type { AccessTracker } from './accesses.js';
import { trackAccesses } from './accesses-of-process.js';
import { attachTo, hasOwn, MOST_LOOKS, openBy, requireSamples, type TrackOptions } from './attach.js';
import { disposedError } from './disposed.js';
import { IntervalClock } from './interval-clock.js';
import { MappingList } from './mapping-list.js';
import { MOST_NEIGHBOURS, newNeighbours } from './neighbours.js';
import { filledPieces, type PageFinder, withRests } from './pieces.js';
import {
  ALL_WRITTEN,
  collectRange,
  EXISTING,
  EXISTING_SHARED,
  EXISTING_WRITTEN,
  GONE,
  isMarker,
  type Masks,
  MOST_MARKED_BYTES,
  type PrivateMasks,
  privateMasks,
  type TrackedKind,
  Unregistered,
  WRITTEN_OR_GONE,
} from './protected-scan.js';
import { isSame, offsetAtZero, tryRegister } from './registration.js';
import { trackSampledWrites } from './sampled-writes.js';
import { SoftDirtyTracker } from './soft-dirty.js';
import { faultsOf } from './target-cost.js';
import type { Interval, MappingWrites, ProcessTracker, SkippedMapping, SkipReason } from './tracker.js';
import { tryUnregister } from './unregister.js';

/** A part of a mapping that is tracked. */
export interface TrackedPart {
  readonly start: number;
  readonly end: number;
  readonly kind: TrackedKind;
  readonly mapping: Mapping;
}

/** A part of a mapping, to be scanned. */
interface Piece {
  readonly start: number;
  readonly end: number;
  readonly kind: TrackedKind;
  readonly mapping: Mapping;
  /** Of the interval that is collected. */
  row: MappingWrites;
  /** Not yet protected: all that exists in it counts as written. */
  readonly isNew: boolean;
}

/** A range that is registered and protected. */
interface Covered {
  readonly start: number;
  readonly end: number;
  readonly kind: TrackedKind;
  readonly inode: number;
  /** See `offsetAtZero`. */
  readonly offset: number;
}

/** What one collect has found so far. */
interface Round {
  readonly visit: RegionVisitor | undefined;
  readonly rows: Map<number, MappingWrites>;
  readonly skipped: Map<number, SkippedMapping>;
  /** What is registered and protected now. */
  readonly done: Covered[];
  /** What was registered before, as far as it still is. */
  covered: readonly Covered[];
  writtenPages: number;
  /** See `Interval`. */
  faultCount: number;
}

/** How a collect went over mappings that were all known, to be done again as long as they stay as they are. */
interface Steady {
  readonly mappings: readonly Mapping[];
  readonly covered: readonly Covered[];
  readonly groups: readonly Piece[][];
}

/** How often one collect begins anew with neighbours scanned together; after that it takes mappings one by one. */
const MOST_JOINED_PASSES = 64;

/** Ranges that are so near each other, in pages, are protected again in one call. */
const NEAR_PAGES = 64;

/** Memory is protected for the first time, and given back, in pieces that have about so many bytes in them. */
const PIECE_BYTES = 8 << 20;

/** The least rest after a piece that was released, milliseconds. */
const RELEASE_REST_MS = 2;

/** Of less, all may be given back at once; of more, in about so many pieces at most, where somebody waits for it to end. */
const MUCH_BYTES = 64 << 20;
const MOST_GIVEN_BACK = 256;

/** So many pieces at most are protected: terabytes of address space may have nothing in them. */
const MOST_PIECES = 4000;

/** Tracks by asynchronous write protection. Made by {@link trackByProtection}. */
export class WriteProtectTracker implements ProcessTracker {
  readonly provider = 'ioctl';
  readonly stopMs: number;
  readonly #pagemap: LivePagemap;
  readonly #faults: Userfaultfd;
  readonly #buffer = new RegionBuffer(8192);
  readonly #masks: PrivateMasks;
  readonly #clock: IntervalClock;
  #covered: readonly Covered[] = [];
  #skipped: readonly SkippedMapping[] = [];
  readonly #list = new MappingList();
  /** Undefined when it does not matter whether it has one. */
  readonly #own: DescriptorSearch | undefined;
  readonly #mark: TrackerMark;
  #isLeft = false;
  #steady: Steady | undefined;
  #open = true;

  /** Use {@link trackByProtection}. Takes over both. */
  constructor(
    pagemap: LivePagemap,
    faults: Userfaultfd,
    stopMs: number,
    own?: DescriptorSearch,
    onExisting?: RegionVisitor,
  ) {
    this.#own = own;
    this.#mark = new TrackerMark(pagemap.pid);
    this.#pagemap = pagemap;
    this.#faults = faults;
    this.stopMs = stopMs;
    this.#masks = privateMasks(kernelCategories());
    try {
      this.#round(onExisting);
    } catch (error) {
      this.#mark[Symbol.dispose]();
      throw error;
    }
    this.#clock = new IntervalClock();
  }

  get pid(): number {
    return this.#pagemap.pid;
  }

  get ended(): boolean {
    return !this.#open || this.#pagemap.ended;
  }

  /** The process's pages, for scans that protect nothing. It belongs to this. */
  get pagemap(): LivePagemap {
    return this.#pagemap;
  }

  /**
   * The parts of `mappings` (all of the process, in address order) that are tracked, as far as is known from the last
   * collect: a scan with CHECK_WPASYNC finds out those that were replaced since.
   */
  tracked(mappings: readonly Mapping[]): TrackedPart[] {
    if (!this.#mark.isAlone) this.#covered = this.#retaken(this.#covered);
    const parts: TrackedPart[] = [];
    let index = 0;
    for (const mapping of mappings) {
      while (index < this.#covered.length && this.#covered[index]!.end <= mapping.start) index++;
      for (let next = index; next < this.#covered.length; next++) {
        const part = this.#covered[next]!;
        if (part.start >= mapping.end) break;
        if (!isSame(part, mapping)) continue;
        const start = Math.max(part.start, mapping.start);
        parts.push({ start, end: Math.min(part.end, mapping.end), kind: part.kind, mapping });
      }
    }
    return parts;
  }

  get skipped(): readonly SkippedMapping[] {
    return this.#skipped;
  }

  collect(visit?: RegionVisitor): Interval {
    if (!this.#open) throw disposedError(`collect writes of process ${this.pid}`);
    const before = performance.now();
    if (!this.#isLeft && this.#own !== undefined && hasOwn(this.#own, MOST_LOOKS)) this.#leave();
    const { rows, writtenPages, faultCount } = this.#round(visit);
    return {
      ...this.#clock.end(before),
      writtenPages,
      faultCount,
      mappings: rows,
    };
  }

  /**
   * Registers new memory that lies next to tracked memory, before the next collect finds it. The kernel joins such
   * neighbours, and the process may treat them as one mapping: mremap fails while only a part of it is registered. It
   * helps as long as the new memory was not written. Call it now and then between collects. It does nothing where it
   * would take long.
   *
   * @throws ProcessError 'ended'
   */
  lookForNeighbours(): void {
    if (!this.#open || this.#isLeft || this.#covered.length > MOST_NEIGHBOURS) return;
    const before = this.#steady?.mappings;
    const mappings = this.#list.read(this.#pagemap.process);
    if (mappings === before) return;
    for (const { mapping, start, end } of newNeighbours(mappings, this.#covered))
      this.#register(mapping, start, end);
  }

  /**
   * Protects the pages of these ranges again that were written since the last collect; the next collect does not report
   * them. Call it while the process is stopped, after those pages were copied.
   *
   * @param ranges start and end in turns, ascending
   */
  protectAgain(ranges: readonly number[], visit: RegionVisitor): void {
    const nearBytes = NEAR_PAGES * this.#pagemap.pageSize;
    let index = 0;
    for (const { start, end, kind } of this.#covered) {
      while (index < ranges.length && ranges[index + 1]! <= start) index += 2;
      // Parts of huge pages cannot be protected: the next collect tells of them once more.
      if (kind === 'hugetlb') continue;
      for (let next = index; next < ranges.length && ranges[next]! < end; ) {
        const from = Math.max(start, ranges[next]!);
        // Together with what is near: a call costs as much as so many pages.
        do next += 2;
        while (next < ranges.length && ranges[next]! < end && ranges[next]! - ranges[next - 1]! <= nearBytes);
        try {
          this.#scan({ start: from, kind, isNew: false }, Math.min(end, ranges[next - 1]!), visit);
        } catch (error) {
          // Another mapping than the one that was tracked: the next collect finds it new.
          if (!(error instanceof Unregistered)) throw error;
        }
      }
    }
  }

  /**
   * Lets go of all memory: the process may want to register it with a userfaultfd of its own, which ours would forbid. The end of ours
   * lets go of what it has, wherever that is by now, and of nothing else.
   */
  #leave(): void {
    this.#isLeft = true;
    this.#faults[Symbol.dispose]();
    this.#covered = [];
    this.#steady = undefined;
  }

  /**
   * Without those parts that another tracker has by now. The kernel tells whether memory is tracked, and not by whom: a mapping that came
   * in the place of one of ours may be registered by somebody else, at whose scans all its writes are told. To register it once more
   * finds that out, and changes nothing where it is ours. To be done before the list of mappings is read: what is registered here
   * although it was replaced shows in the list as another mapping, or has all its pages written.
   */
  #retaken(covered: readonly Covered[]): readonly Covered[] {
    const kept = covered.filter(({ start, end }) => {
      try {
        this.#faults.register(start, end - start);
        return true;
      } catch (error) {
        if (!(error instanceof PagemapError)) throw error;
        // Taken, gone, or of a kind that cannot be registered.
        return false;
      }
    });
    return kept.length === covered.length ? covered : kept;
  }

  /** Goes over all mappings in address order, again from where it was whenever they change underway. */
  #round(visit: RegionVisitor | undefined): Pick<Interval, 'writtenPages' | 'faultCount'> & {
    rows: MappingWrites[];
  } {
    const round: Round = {
      visit,
      rows: new Map(),
      skipped: new Map(),
      done: [],
      covered: this.#covered,
      writtenPages: 0,
      faultCount: 0,
    };
    let cursor = 0;
    for (let surprises = 0; ; surprises++) {
      if (!this.#isLeft && !this.#mark.isAlone) {
        round.covered = this.#retaken(round.covered);
        if (surprises === 0) this.#covered = round.covered;
      }
      const mappings = this.#list.read(this.#pagemap.process);
      // Asked after the list was taken: had it been another program's by then, this would tell.
      this.#pagemap.checkAlive();
      const mayJoin = surprises < MOST_JOINED_PASSES;
      const steady = surprises === 0 ? this.#again(mappings, round) : undefined;
      const groups = steady ?? [...joined(this.#plan(mappings, cursor, round), mayJoin)];
      const surprise = this.#scanGroups(groups, round);
      if (surprise === undefined) {
        // Nothing that happened here was unforeseen: the next time will be as this one.
        this.#steady = surprises === 0 ? { mappings, covered: round.done, groups } : undefined;
        break;
      }
      // Taken one by one, a mapping that keeps changing is left to the next interval, in which it is new.
      const { group, resume } = surprise;
      const { end } = group[group.length - 1]!;
      cursor = group.length === 1 && !mayJoin ? end : resume;
      round.covered = this.#registered(round.covered, resume, end);
    }
    this.#pagemap.checkAlive();
    this.#covered = round.done;
    this.#skipped = [...round.skipped.values()];
    const rows = [...round.rows.values()].sort((a, b) => a.start - b.start);
    const { writtenPages, faultCount } = round;
    return { rows, writtenPages, faultCount };
  }

  /** Scans groups of pieces one after the other, up to one that turns out not to be registered as a whole any more. */
  #scanGroups(groups: readonly Piece[][], round: Round): { group: Piece[]; resume: number } | undefined {
    for (const group of groups) {
      try {
        this.#scanGroup(group, round);
      } catch (error) {
        if (!(error instanceof Unregistered)) {
          // Gone for good, or not: that is the question.
          this.#pagemap.checkAlive();
          throw error;
        }
        const { resume } = error;
        for (const piece of group) if (piece.start < resume) round.done.push(coverage(piece, resume));
        return { group, resume };
      }
      for (const piece of group) round.done.push(coverage(piece, piece.end));
    }
    return undefined;
  }

  #scanGroup(group: readonly Piece[], round: Round): void {
    const { pageSize } = this.#pagemap;
    const dealer = new RegionDealer(group, (index, start, end, categories) => {
      const piece = group[index];
      // Memory that came since the list was taken is not registered; nothing of it can be here.
      if (piece === undefined) return;
      if (piece.isNew && piece.kind === 'shared' && !(categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED)))
        return;
      const pages = (end - start) / pageSize;
      piece.row.writtenPages += pages;
      round.writtenPages += pages;
      const isHuge = piece.kind === 'hugetlb' || (categories & PAGE_IS_HUGE) !== 0;
      if (!piece.isNew) round.faultCount += faultsOf(end - start, isHuge, pageSize);
      round.visit?.(start, end, PAGE_IS_WRITTEN);
    });
    const { end } = group[group.length - 1]!;
    this.#scan(group[0]!, end, (from, to, categories) => dealer.add(from, to, categories));
  }

  /** What the last collect went over, for this one; undefined when anything may be otherwise now. */
  #again(mappings: readonly Mapping[], { rows, skipped }: Round): readonly Piece[][] | undefined {
    const steady = this.#steady;
    if (steady === undefined || steady.mappings !== mappings || steady.covered !== this.#covered)
      return undefined;
    // What was new is known now, and may be joined; what was refused may be free.
    const isKnown = steady.groups.every((group) => group.every(({ isNew }) => !isNew));
    if (!isKnown || this.#skipped.some(({ reason }) => reason !== 'device')) return undefined;
    for (const one of this.#skipped) skipped.set(one.start, one);
    let last: Piece | undefined;
    for (const group of steady.groups) {
      for (const piece of group) {
        const { start, end, name } = piece.mapping;
        piece.row =
          last?.mapping === piece.mapping ? last.row : { start, end, name, writtenPages: 0, isNew: false };
        rows.set(start, piece.row);
        last = piece;
      }
    }
    return steady.groups;
  }

  /** Without those parts between `start` and `end` that are not registered any more. */
  #registered(covered: readonly Covered[], start: number, end: number): Covered[] {
    const kept: Covered[] = [];
    const mappings = this.#pagemap.mappings();
    for (const part of covered) {
      if (part.end <= start || part.start >= end) {
        kept.push(part);
        continue;
      }
      for (const mapping of mappings) {
        const from = Math.max(part.start, mapping.start);
        const to = Math.min(part.end, mapping.end);
        if (from < to && this.#isRegistered(from)) kept.push({ ...part, start: from, end: to });
      }
    }
    return kept;
  }

  #isRegistered(address: number): boolean {
    try {
      const request = { start: address, end: address + this.#pagemap.pageSize, flags: PM_SCAN_CHECK_WPASYNC };
      this.#pagemap.scan({ ...request, categoryMask: PAGE_IS_WRITTEN }, null);
      return true;
    } catch (error) {
      if (error instanceof PagemapError && error.code === 'EPERM') return false;
      throw error;
    }
  }

  /** What to scan from `cursor` on: parts that are known, and new ones, which are registered here. */
  #plan(mappings: readonly Mapping[], cursor: number, round: Round): Piece[] {
    const { covered, rows, skipped } = round;
    const pieces: Piece[] = [];
    let index = 0;
    for (const mapping of mappings) {
      if (mapping.end <= cursor || isKernelMade(mapping)) continue;
      // One that was writable when it was registered may hold writes from before that was taken from it.
      const writable = mayBeWritten(mapping);
      const { start, end, name } = mapping;
      if (isDevice(mapping)) {
        if (writable) skipped.set(start, { start, end, name, reason: 'device' });
        continue;
      }
      const row: MappingWrites = { start, end, name, writtenPages: 0, isNew: false };
      const earlier = rows.get(start);
      if (earlier !== undefined)
        Object.assign(row, { writtenPages: earlier.writtenPages, isNew: earlier.isNew });
      const own: Piece[] = [];
      let reason: SkipReason | undefined;
      const addNew = (from: number, to: number) => {
        if (!writable) return;
        const result = this.#register(mapping, from, to);
        if (typeof result === 'object') {
          own.push({ start: from, end: to, kind: result.kind, mapping, row, isNew: true });
          row.isNew = true;
        } else {
          reason = result;
        }
      };
      let at = Math.max(start, cursor);
      while (index < covered.length && covered[index]!.end <= at) index++;
      for (let next = index; at < end; next++) {
        const part = covered[next];
        if (part === undefined || part.start >= end) {
          addNew(at, end);
          break;
        }
        // Something else is mapped there now.
        if (!isSame(part, mapping)) continue;
        if (part.start > at) addNew(at, part.start);
        const from = Math.max(at, part.start);
        const to = Math.min(end, part.end);
        if (from < to) own.push({ start: from, end: to, kind: part.kind, mapping, row, isNew: false });
        at = Math.max(at, to);
      }
      if (reason !== undefined) skipped.set(start, { start, end, name, reason });
      if (own.length > 0) {
        rows.set(start, row);
        pieces.push(...own);
      }
    }
    return pieces;
  }

  #register(mapping: Mapping, start: number, end: number): { kind: TrackedKind } | SkipReason {
    if (this.#isLeft) return 'userfaultfd';
    const reason = tryRegister(
      () => this.#faults.register(start, end - start),
      () => this.#pagemap.checkAlive(),
    );
    if (reason !== undefined) return reason;
    if (!hasFile(mapping)) return { kind: 'anonymous' };
    // Asked once it is registered: should it be replaced from here on, the replacement is not, and no scan goes into it.
    if (mappingPageSize(this.#pagemap.process, start, end) > this.#pagemap.pageSize)
      return { kind: 'hugetlb' };
    if (isPrivate(mapping)) return { kind: 'private-file' };
    return { kind: end - start > MOST_MARKED_BYTES ? 'anonymous' : 'shared' };
  }

  #scan(first: Pick<Piece, 'start' | 'kind' | 'isNew'>, end: number, visit: RegionVisitor): void {
    const { start, kind, isNew } = first;
    if (kind === 'hugetlb') {
      this.#lookAndProtect(start, end, isNew, isNew ? EXISTING : EXISTING_WRITTEN, visit);
    } else if (kind !== 'shared' && isNew && end - start > PIECE_BYTES) {
      this.#protectInPieces(start, end, this.#masks[kind], visit);
    } else if (kind !== 'shared') {
      collectRange(this.#pagemap, start, end, this.#masks[kind], this.#buffer, visit);
    } else if (!holesAreWritten() && (isNew || this.#hasHoles(start, end))) {
      this.#lookAndProtect(start, end, isNew, isNew ? EXISTING_SHARED : WRITTEN_OR_GONE, visit);
    } else {
      // What does not exist is protected, too, but it does not count: that shows in the categories.
      const returnMask = isNew ? PAGE_IS_WRITTEN | PAGE_IS_PRESENT | PAGE_IS_SWAPPED : PAGE_IS_WRITTEN;
      collectRange(this.#pagemap, start, end, { ...ALL_WRITTEN, returnMask }, this.#buffer, visit);
    }
  }

  /**
   * The first protection, piece by piece: a gibibyte in one call takes tens of milliseconds where page tables are dear, in which the
   * process's threads wait at their page faults. What there is is not looked for: that would take as long
   * again.
   */
  #protectInPieces(start: number, end: number, masks: Masks, visit: RegionVisitor): void {
    const pieceBytes = Math.max(PIECE_BYTES, (end - start) / MOST_PIECES);
    const pieces = filledPieces(start, end, pieceBytes, (from, to, all) => all(from, to), hugePageSize());
    const protect = (from: number, to: number) =>
      collectRange(this.#pagemap, from, to, masks, this.#buffer, visit);
    for (const restMs of withRests(pieces, 0, protect)) pause(restMs);
  }

  readonly #findExisting: PageFinder = (start, end, visit) =>
    forEachRegion(
      this.#pagemap,
      { start, end, categoryAnyofMask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED },
      visit,
      { buffer: this.#buffer },
    );

  /**
   * Whether a part of shared memory is without entries, although all of it was protected: then it was written and has gone
   * since. Scans that protect tell it, and protect it, on kernels on which {@link holesAreWritten} alone.
   */
  #hasHoles(start: number, end: number): boolean {
    try {
      const request = { start, end, ...GONE, flags: PM_SCAN_CHECK_WPASYNC, maxPages: 1 };
      return this.#pagemap.scan(request, this.#buffer).regions > 0;
    } catch (error) {
      // What is not registered is for the scan that comes next.
      if (error instanceof PagemapError && error.code === 'EPERM') return false;
      throw error;
    }
  }

  /**
   * Looks first and protects exactly what it has seen, which loses nothing either: a write in between is to a page that is
   * reported anyway. For where scans that protect would not do: in hugetlb mappings they can hang in the kernel for ever.
   */
  #lookAndProtect(start: number, end: number, isNew: boolean, masks: Masks, visit: RegionVisitor): void {
    let resume = start;
    try {
      // A new one is protected as a whole, holes included; then all that exists counts.
      if (isNew) this.#faults.writeProtect(start, end - start);
      const query = { start, end, ...masks, flags: PM_SCAN_CHECK_WPASYNC };
      for (const found of scanLegs(this.#pagemap, query, { buffer: this.#buffer })) {
        for (let index = 0; index < found.length; index++) {
          if (isMarker(found.categories(index))) continue;
          const [from, to] = [found.start(index), found.end(index)];
          visit(from, to, PAGE_IS_PRESENT);
          resume = to;
          if (!isNew) this.#faults.writeProtect(from, to - from);
        }
      }
    } catch (error) {
      if (!(error instanceof PagemapError)) throw error;
      if (error.code === 'EPERM' || error.code === 'ENOENT') throw new Unregistered(resume);
      throw error;
    }
  }

  /**
   * Takes back protection and registration piece by piece, before this is disposed: that does it all at once, with the process's address
   * space locked meanwhile (some 10 to 250 ms a GiB, in which its page faults have to wait).
   *
   * @param findPrivate finds about what there is in private memory, if that is known: to ask takes as long as to scan it
   */
  releaseInPieces(findPrivate?: PageFinder): void {
    const restore = atPriority(MODEST);
    try {
      for (const restMs of this.#release(findPrivate, PIECE_BYTES)) pause(restMs);
    } finally {
      restore();
    }
  }

  /**
   * The same while this program does other things, where there is much to take back: by its resident memory in about 256 pieces at most,
   * which take a second where page-table work is expensive.
   */
  async giveBack(): Promise<void> {
    if (this.#covered.length === 0) return;
    const status = parseStatus(this.#pagemap.process.read('status'));
    const bytes = (status.rssAnonBytes ?? 0) + (status.rssFileBytes ?? 0) + (status.rssShmemBytes ?? 0);
    if (bytes < MUCH_BYTES) return;
    const steps = this.#release(undefined, Math.max(PIECE_BYTES, bytes / MOST_GIVEN_BACK));
    while (this.#open) {
      const restore = atPriority(MODEST);
      let step: IteratorResult<number, void>;
      try {
        step = steps.next();
      } finally {
        restore();
      }
      if (step.done) return;
      await sleep(step.value);
    }
  }

  /** @returns for how long to rest after each piece, milliseconds */
  *#release(findPrivate: PageFinder | undefined, pieceBytes: number): Generator<number, void, undefined> {
    for (const part of this.#covered) {
      // Some kernels let anybody end a registration: what somebody else has by now stays with them.
      for (const { start, end, kind } of this.#retaken([part])) {
        if (kind === 'hugetlb') continue;
        // Where pages that do not exist are marked, there is more to take back than was copied.
        const find = (kind !== 'shared' && findPrivate) || this.#findExisting;
        const pieces = filledPieces(start, end, pieceBytes, find, hugePageSize());
        yield* withRests(pieces, RELEASE_REST_MS, (from, to) => tryUnregister(this.#faults, from, to));
      }
    }
    this.#covered = [];
    this.#steady = undefined;
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#faults[Symbol.dispose]();
    this.#mark[Symbol.dispose]();
    this.#pagemap[Symbol.dispose]();
  }
}

function coverage({ start, end, kind, mapping }: Piece, cut: number): Covered {
  return { start, end: Math.min(end, cut), kind, inode: mapping.inode, offset: offsetAtZero(mapping) };
}

/**
 * Pieces that can be scanned in one call: neighbours of one kind, all known. Not across gaps: something could be mapped there
 * meanwhile that another userfaultfd protects, and the scan would take it for ours.
 */
function* joined(pieces: readonly Piece[], join: boolean): Generator<Piece[], void, undefined> {
  let group: Piece[] = [];
  for (const piece of pieces) {
    const last = group[group.length - 1];
    const joins =
      join &&
      last !== undefined &&
      last.end === piece.start &&
      last.kind === piece.kind &&
      !last.isNew &&
      !piece.isNew &&
      piece.kind !== 'hugetlb';
    if (last !== undefined && !joins) {
      yield group;
      group = [];
    }
    group.push(piece);
  }
  if (group.length > 0) yield group;
}

/**
 * Tracks which pages a running process writes.
 *
 * On Linux 6.7 and later, one of its threads is stopped at the start, for about half a millisecond, to run two system
 * calls in it. After that, everything is done from this process. When this process ends, for whatever reason, the
 * kernel undoes it all. Older kernels track by soft-dirty bits, where the kernel keeps them: each collect stops all
 * threads, and shared memory is not tracked. `provider` of the result says which.
 *
 * With `accesses`, the result's `collect` reports the pages that were read, written or executed instead, in all
 * mappings: Linux 7.3 (see {@link AccessTracker}).
 *
 * With `sample`, only that share of the pages is tracked, which saves the process faults: each tracked page costs one
 * an interval. Numbers of pages are estimates then. In shared memory, a page that the process reads for the first time
 * counts as written. Linux 6.7.
 *
 * It needs the permissions of a debugger: the process's user (and the process dumpable), or CAP_SYS_PTRACE and
 * CAP_DAC_READ_SEARCH.
 *
 * @throws ProcessError for a process that cannot, or had better not, be attached to; `reason` and `hint` say why
 * @throws PagemapError EINVAL, ENOTTY or EOPNOTSUPP where the kernel has neither, EOPNOTSUPP for `accesses` before Linux 7.3 and for
 *   `sample` before Linux 6.7
 * @example
 * ```ts
 * import { spawn } from 'node:child_process';
 * import { once } from 'node:events';
 * import { trackProcess } from 'pagemap-scan';
 * const child = spawn('sh', ['-c', 'while :; do :; done']);
 * await once(child, 'spawn');
 * {
 *   using tracker = await trackProcess(child.pid!);
 *   await new Promise((resolve) => setTimeout(resolve, 50));
 *   const { writtenPages, mappings } = tracker.collect();
 *   console.assert(writtenPages > 0 && mappings.some(({ name }) => name === '[stack]'));
 * }
 * child.kill();
 * ```
 */
export async function trackProcess(
  pid: number | 'self',
  options?: TrackOptions & { readonly accesses?: false | undefined },
): Promise<ProcessTracker>;
export async function trackProcess(
  pid: number | 'self',
  options: TrackOptions & { readonly accesses: true },
): Promise<AccessTracker>;
export async function trackProcess(
  pid: number | 'self',
  { accesses, ...options }: TrackOptions & { readonly accesses?: boolean | undefined } = {},
): Promise<ProcessTracker | AccessTracker> {
  if (accesses) return await trackAccesses(pid, options);
  const { sample, provider = chooseProvider() } = options;
  if (sample !== undefined) requireSamples(provider, pid);
  if (provider !== 'ioctl') return trackBySoftDirty(pid, options);
  return sample === undefined || sample.share === 1
    ? await trackByProtection(pid, options)
    : await trackSampledWrites(pid, sample, options);
}

/** As {@link trackProcess}, by soft-dirty bits. */
export function trackBySoftDirty(pid: number | 'self', options: AttachOptions = {}): SoftDirtyTracker {
  const pagemap = openBy(pid, FallbackPagemap);
  try {
    return new SoftDirtyTracker(pagemap, options);
  } catch (error) {
    pagemap[Symbol.dispose]();
    throw error;
  }
}

/**
 * As {@link trackProcess}, by asynchronous write protection and PAGEMAP_SCAN: Linux 6.7.
 *
 * @param onExisting gets what there is as tracking begins, some of it perhaps twice, or in another order than that of addresses. Of
 *   shared memory that are the pages that the process has mapped
 */
export async function trackByProtection(
  pid: number | 'self',
  options: TrackOptions = {},
  onExisting?: RegionVisitor,
): Promise<WriteProtectTracker> {
  return await attachTo(
    pid,
    options,
    undefined,
    ({ pagemap, faults, stopMs, own }) => new WriteProtectTracker(pagemap, faults, stopMs, own, onExisting),
  );
}
