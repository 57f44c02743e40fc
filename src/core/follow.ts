/**
 * The copy that follows a running process: first what is there, then, round by round, what was written meanwhile. Each round
 * ends with the tracker's report of what was written while it copied.
 */
import { PAGE_SIZE } from '../abi/index.js';
import { isEnded } from '../live/internal.js';
import { findMappingIndex, isPrivate } from '../proc/internal.js';
import type { PageFinder, TrackedPart, WriteProtectTracker } from '../track/internal.js';
import { checkSpace, checkUntracked } from './limits.js';
import { reserve } from './order.js';
import { isShared, type Planned } from './plan.js';
import { ordered, RangeSet, union } from './range-set.js';
import { boundsOf, bytesOf, joinWritten, type Part } from './selection.js';
import type { DumpTools } from './tools.js';

/** So little is left that another round would not shorten the pause, pages. */
const FEW_PAGES = 256;
/** A round that leaves more than this share of what the best one left has not helped. */
const HELPFUL = 0.9;

/** What a round copies. */
interface RoundLoad {
  /** From the process's memory: start and end in turns. */
  readonly ranges: number[];
  /** From files. */
  readonly shared: Part[];
  bytes: number;
}

/** What was copied at a stop, and where pages were looked for. */
interface TakenParts {
  readonly checked: readonly Part[];
  readonly taken: readonly Part[];
}

export class FollowingCopy {
  readonly #tools: DumpTools;
  readonly #tracker: WriteProtectTracker;
  #rounds: { readonly pages: number; readonly ms: number }[] = [];
  /** The sink was told of all mappings. */
  #isAnnounced = false;
  /** What the last round left to copy: start and end in turns. */
  #written: readonly number[] = [];
  #leftPages = 0;
  /** Taken for the last state, and to be copied once more for the next. */
  #kept: readonly number[] = [];

  /** How long the last look for what was written took, milliseconds. */
  #collectMs = 0;

  /** @param existing see `Attachment`; undefined when copying begins later: what there is has to be looked for then */
  constructor(tools: DumpTools, tracker: WriteProtectTracker, existing: readonly number[] | undefined) {
    this.#tools = tools;
    this.#tracker = tracker;
    if (existing !== undefined) this.#takeExisting(ordered(existing));
  }

  /** All there was of private memory is to be copied, as if it had just been written: it need not be looked for. */
  #takeExisting(existing: readonly number[]): void {
    const { plan, record } = this.#tools;
    const parts = this.watched(plan.entries).filter(
      ({ kind, mapping }) => kind !== 'hugetlb' && isPrivate(mapping),
    );
    for (const { start, end } of parts) record.baseline.add(start, end);
    this.#written = existing;
    for (let index = 0; index < existing.length; index += 2)
      record.dirty.add(existing[index]!, existing[index + 1]!);
  }

  get collectMs(): number {
    return this.#collectMs;
  }

  get rounds(): readonly { readonly pages: number; readonly ms: number }[] {
    return this.#rounds;
  }

  /** What the last round left to copy. */
  get leftPages(): number {
    return this.#leftPages;
  }

  /** Parts of mappings that are watched, in the order of addresses. */
  watched(plan: readonly Planned[]): readonly TrackedPart[] {
    return this.#tracker.tracked(plan.map(({ mapping }) => mapping));
  }

  /** Copies rounds as long as that helps; `most` at most in all, and `mostVain` in a row that leave no less than before. */
  async copyRounds(most: number, mostVain: number): Promise<void> {
    let least = Number.POSITIVE_INFINITY;
    for (let vain = 0; vain < mostVain && this.#rounds.length < most; ) {
      await this.#copyRound();
      if (this.#leftPages <= FEW_PAGES) break;
      vain = this.#leftPages < least * HELPFUL ? 0 : vain + 1;
      least = Math.min(least, this.#leftPages);
    }
  }

  /** What was taken of the process, which stands still yet, is up to date: its writes are tracked from here on. */
  settle({ checked, taken }: TakenParts): void {
    const { record, settling } = this.#tools;
    this.#tracker.protectAgain(boundsOf(taken), (start, end) => record.written.add(start, end));
    for (const { start, end } of [...checked, ...taken]) record.dirty.delete(start, end);
    // A device that had begun may not have ended: what it writes shows no more.
    this.#kept = settling.isDirect ? union(this.#written, union(boundsOf(taken), this.#kept)) : [];
    this.#written = [];
  }

  /** Ends the tracking, without keeping the process waiting for long at a time. */
  release(): void {
    const { copied, dirty } = this.#tools.record;
    const find: PageFinder = (start, end, visit) => {
      // What is not to be dumped was protected as well: it is among what was written, and never copied.
      const found = [copied, dirty].map((pages) => {
        const runs: number[] = [];
        pages.runs(start, end, true, (from, to) => runs.push(from, to));
        return runs;
      });
      const all = union(found[0]!, found[1]!);
      for (let index = 0; index < all.length; index += 2) visit(all[index]!, all[index + 1]!);
    };
    try {
      this.#tracker.releaseInPieces(find);
    } catch (error) {
      // With the process, all of it is gone; what was taken of it is whole.
      if (!isEnded(error)) throw error;
    }
  }

  /** Begins the copy for the next state, with what was written since the last one. */
  beginAgain(): void {
    this.#rounds = [];
    this.#collect();
    this.#written = union(this.#written, this.#kept);
    this.#kept = [];
  }

  /** Copies what the last round left, or all there is. */
  async #copyRound(): Promise<void> {
    const { copier, plan, progress, record, settling, sink, pid } = this.#tools;
    const begin = performance.now();
    const number = this.#rounds.length + 1;
    progress.begin(number);
    const toCopy = await settling.settle(this.#written);
    plan.refresh();
    const { ranges, shared, bytes } = this.#select(this.watched(plan.entries), toCopy);
    progress.expect(bytes);
    if (number === 1) checkSpace(bytes, sink.freeBytes, sink.place, pid);
    progress.tell();
    for (let index = 0; index < ranges.length; index += 2) record.take(ranges[index]!, ranges[index + 1]!);
    await copier.copy(ranges);
    for (const part of shared) await this.#copyShared(part);
    await copier.drain();
    this.#rounds.push({ pages: bytes / PAGE_SIZE, ms: performance.now() - begin });
    await copier.breathe();
    this.#collect();
  }

  #collect(): void {
    const written: number[] = [];
    let left = 0;
    const before = performance.now();
    this.#tracker.collect((start, end) => {
      written.push(start, end);
      left += (end - start) / PAGE_SIZE;
    });
    this.#collectMs = performance.now() - before;
    // Until they are copied, in whichever way: from here on the kernel tells of them no more.
    const { dirty, written: sinceState } = this.#tools.record;
    for (let index = 0; index < written.length; index += 2) {
      dirty.add(written[index]!, written[index + 1]!);
      sinceState.add(written[index]!, written[index + 1]!);
    }
    this.#written = written;
    this.#leftPages = left;
  }

  /** What to copy: what was written, and all of what was not copied before. Tells the sink of it. */
  #select(parts: readonly TrackedPart[], written: readonly number[]): RoundLoad {
    const { plan, presence, record, sink } = this.#tools;
    const { entries, mappings } = plan;
    const load: RoundLoad = { ranges: [], shared: [], bytes: 0 };
    const add = (planned: Planned, start: number, end: number) => {
      if (isShared(planned)) load.shared.push({ start, end, planned });
      else {
        sink.expect(planned.mapping, start, end);
        load.ranges.push(start, end);
      }
      load.bytes += end - start;
    };
    // A list of mappings that changed while it was read may show one twice, with other borders: the second is left to later.
    const plannedOf = ({ start, mapping }: TrackedPart) => {
      const planned = entries[findMappingIndex(mappings, start)];
      return planned?.mapping === mapping && plan.isEarly(planned) ? planned : undefined;
    };
    const reserveUntil = this.#reserver();
    let index = 0;
    for (const part of parts) {
      const planned = plannedOf(part);
      reserveUntil(part.start);
      while (index < written.length && written[index + 1]! <= part.start) index += 2;
      if (planned === undefined) continue;
      record.baseline.parts(part.start, part.end, (start, end, inside) => {
        if (inside) {
          const wasCopied = (from: number, to: number) => record.copied.every(from, to);
          joinWritten(written, index, { start, end }, wasCopied, (from, to) => add(planned, from, to));
        } else if (isShared(planned)) add(planned, start, end);
        else presence.visitOwn(planned, start, end, (from, to) => add(planned, from, to));
      });
    }
    reserveUntil(Number.POSITIVE_INFINITY);
    for (const part of parts) if (plannedOf(part) !== undefined) record.baseline.add(part.start, part.end);
    return load;
  }

  /** The first time, the sink is told of all mappings in the order of addresses: of those up to one, by what is given back. */
  #reserver(): (address: number) => void {
    const { files, plan, presence, sink } = this.#tools;
    if (this.#isAnnounced) return () => undefined;
    this.#isAnnounced = true;
    const views = plan.views(plan.entries);
    let next = 0;
    return (address) => {
      for (; plan.entries[next] !== undefined && plan.entries[next]!.mapping.start <= address; next++) {
        const planned = plan.entries[next]!;
        // Should it be none any more at the stop, its place is behind the others.
        if (!views.has(planned.mapping.start)) reserve(sink, files, planned, () => presence.hasOwn(planned));
      }
    };
  }

  async #copyShared({ planned, start, end }: Part): Promise<void> {
    const { copier, files, record, sink } = this.#tools;
    const { mapping } = planned;
    const fd = files.open(mapping)!;
    sink.expect(mapping, mapping.start, mapping.start + PAGE_SIZE);
    sink.reserve(start, end);
    record.copied.add(start, end);
    record.dirty.delete(start, end);
    await copier.copyFile(fd, start, end, mapping.offset + (start - mapping.start));
  }

  /** @throws PagemapError EBUSY when much of the memory is tracked by others, and could be copied at the stop only */
  checkTracked(): void {
    const { options, plan, presence, pid } = this.#tools;
    if (options.overPause === 'accept') return;
    const { entries, mappings } = plan;
    const tracked = new RangeSet();
    for (const { start, end } of this.watched(entries)) tracked.add(start, end);
    const untracked: { start: number; end: number }[] = [];
    for (const skipped of this.#tracker.skipped) {
      const planned = entries[findMappingIndex(mappings, skipped.start)];
      if (skipped.reason !== 'busy' || planned === undefined || !plan.isEarly(planned)) continue;
      tracked.parts(skipped.start, skipped.end, (start, end, inside) => {
        if (!inside)
          presence.visitOwn(planned, start, end, (from, to) => untracked.push({ start: from, end: to }));
      });
    }
    checkUntracked(options, bytesOf(untracked), pid);
  }
}
