/** Takes what is needed of a process while it stands still: what it wrote last, its threads, its list of mappings. */
import {
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  RegionBuffer,
} from '../abi/index.js';
import {
  bufferAddress,
  dataRanges,
  holesAreWritten,
  kernelCategories,
  type StoppedProcess,
} from '../live/internal.js';
import type { Mapping } from '../proc/index.js';
import { isVdso } from '../proc/internal.js';
import { scanLegs } from '../query/index.js';
import { readFully } from './copier.js';
import { isRingMapping } from './direct-io.js';
import type { FollowingCopy } from './follow.js';
import { checkPause, checkSpace, isWorthRetreat } from './limits.js';
import { linkMapRanges } from './link-map.js';
import { reserveAll } from './order.js';
import { isShared, type Planned } from './plan.js';
import { union } from './range-set.js';
import {
  bytesOf,
  findCandidates,
  findPresent,
  judgeParts,
  type Part,
  readingOrder,
  selectTaken,
} from './selection.js';
import { isSparse, SparseParts } from './sparse.js';
import { planParts, stackRanges } from './stacks.js';
import type { KeptPages } from './state.js';
import { makeScratch, pointersOf, type TakenThread, takeThreads } from './threads.js';
import type { DumpTools } from './tools.js';

/** What was found at the stop. */
export interface Taken {
  readonly plan: readonly Planned[];
  readonly threads: readonly TakenThread[];
  /** Private memory that was looked at. Where it has no page of its own, an earlier copy is out of date. */
  readonly checked: readonly Part[];
  /** Of it, what has pages. */
  readonly present: readonly Part[];
  /** What was copied. */
  readonly taken: readonly Part[];
  /** Shared memory that was read from its file. */
  readonly shared: readonly Part[];
  /** Of it, what is no hole. */
  readonly sharedData: readonly Part[];
  /** The mappings that were not looked at, since another one has their memory. */
  readonly views: ReadonlyMap<number, Planned>;
  /** What was copied to memory; undefined when the sink has it already. */
  readonly kept: KeptPages | undefined;
  readonly pages: number;
  /** The vDSO and its data, by the mapping's start. */
  readonly images: ReadonlyMap<number, Uint8Array>;
}

/** What is to be copied. */
type StopSelection = Pick<
  Taken,
  'plan' | 'checked' | 'present' | 'taken' | 'shared' | 'sharedData' | 'views'
>;

/** Gives undefined when not all of what is asked about is tracked. */
function unlessUntracked(ask: () => number[]): number[] | undefined {
  try {
    return ask();
  } catch (error) {
    if (!(error instanceof PagemapError) || error.code !== 'EPERM') throw error;
    return undefined;
  }
}

export class Stop {
  readonly #tools: DumpTools;
  /** Undefined when nothing was copied before. */
  readonly #follow: FollowingCopy | undefined;

  constructor(tools: DumpTools, follow: FollowingCopy | undefined) {
    this.#tools = tools;
    this.#follow = follow;
  }

  /** About how much is copied at the stop in any case, bytes. */
  get lateBytes(): number {
    return this.#tools.settling.lateBytes + this.#tools.plan.lateBytes;
  }

  /**
   * Takes all that is to be taken of the stopped process.
   *
   * @param stopped undefined for a dry run
   * @param mayRetreat when it is more than there is room for, or than the pause allows, undefined is the answer
   */
  async take(
    stopped: StoppedProcess | undefined,
    room: Uint8Array<ArrayBuffer>,
    mayRetreat: boolean,
  ): Promise<Taken | undefined> {
    const { arch, facts, files, options, pagemap, pid, progress, record, sink } = this.#tools;
    const found = this.#tools.plan.next();
    pagemap.checkAlive();
    const threads =
      stopped === undefined ? [] : takeThreads(stopped, arch, makeScratch(arch), facts.isElsewhere);
    const { plan, ...selection } = options.stacks ? this.#selectStacks(found, threads) : this.#select(found);
    const { taken, sharedData } = selection;
    const sharedBytes = bytesOf(sharedData);
    const bytes = bytesOf(taken) + sharedBytes;
    for (const { start, end } of taken) record.forgetFailures(start, end);
    if (stopped !== undefined) {
      const { elapsedMs } = stopped;
      const lateBytes = Math.min(this.lateBytes, sharedBytes) + this.#tools.settling.lateBytes;
      const leftPages = this.#follow?.leftPages ?? 0;
      const load = { elapsedMs, bytes, lateBytes, leftPages, roomBytes: room.byteLength };
      if (mayRetreat && isWorthRetreat(options, load)) return undefined;
      checkPause(options, elapsedMs, bytes, pid);
    }
    if (this.#follow === undefined) checkSpace(bytes, sink.freeBytes, sink.place, pid);
    let kept: KeptPages | undefined;
    if (sink.isSequential) {
      progress.expect(bytes);
      kept = this.#keepRings(taken, room);
    } else if (bytes <= room.byteLength) kept = this.#keep(taken, sharedData, room);
    else if (stopped !== undefined) await this.#copy({ plan, ...selection }, bytes);
    const images = this.#takeImages(plan);
    files.readHeaders(plan);
    // Whatever was read of a process that was killed meanwhile is worth nothing.
    pagemap.checkAlive();
    return { ...selection, plan, threads, kept, images, pages: bytes / PAGE_SIZE };
  }

  /** Selects stacks, and where debuggers look for libraries. */
  #selectStacks(plan: readonly Planned[], threads: readonly TakenThread[]): StopSelection {
    const { arch, facts, files, presence } = this.#tools;
    const ranges = linkMapRanges(facts.auxv, (address, bytes) => this.#read(address, bytes));
    const pointers = threads.map((thread) => pointersOf(arch, thread));
    const stacks = stackRanges(plan, pointers, arch);
    // Reading pages that do not exist would make them.
    for (let index = 0; index < stacks.length; index += 2)
      presence.visit(stacks[index]!, stacks[index + 1]!, false, (start, end) => ranges.push(start, end));
    const { plan: made, parts } = planParts(plan, ranges, (start) => files.header(start) !== undefined);
    return {
      plan: made,
      checked: [],
      present: [],
      taken: parts,
      shared: [],
      sharedData: [],
      views: new Map(),
    };
  }

  /** Reads its memory; undefined where not all of it can be read. */
  #read(address: number, bytes: number): Uint8Array | undefined {
    const start = Math.floor(address / PAGE_SIZE) * PAGE_SIZE;
    const end = Math.ceil((address + bytes) / PAGE_SIZE) * PAGE_SIZE;
    const into = new Uint8Array(new ArrayBuffer(end - start));
    let isReadable = true;
    this.#tools.memory.read([start, end], into, bufferAddress(into.buffer), () => {
      isReadable = false;
    });
    return isReadable ? into.subarray(address - start, address - start + bytes) : undefined;
  }

  #select(plan: readonly Planned[]): StopSelection {
    const { files, pagemap, presence, record, settling } = this.#tools;
    const currentPlan = this.#tools.plan;
    const buffer = new RegionBuffer(8192);
    const accepted = pagemap.provider === 'ioctl' ? kernelCategories() : 0;
    const sparse = new SparseParts(pagemap, buffer, accepted);
    const sparseStarts = new Set<number>();
    const hasFile = ({ mapping }: Planned) => files.open(mapping) !== undefined;
    const watched = this.#follow?.watched(plan) ?? [];
    const parts = judgeParts(plan, watched, record.baseline, (planned) => currentPlan.isEarly(planned));
    const candidates = findCandidates(parts, {
      written: (start, end) =>
        unlessUntracked(() =>
          sparseStarts.has(start) ? sparse.look(start, end) : this.#writtenRuns(start, end, buffer),
        ),
      discarded: (start, end) => {
        const found: number[] = [];
        presence.visitDiscarded(start, end, (from, to) => found.push(from, to));
        return found;
      },
      known: (start, end) => {
        const known: number[] = [];
        if (record.dirty.some(start, end))
          record.dirty.runs(start, end, true, (from, to) => known.push(from, to));
        return union(known, settling.lateWithin(start, end));
      },
      hasFile,
      showsDiscarded: this.#follow === undefined || holesAreWritten(),
      isLookedThrough: (part) => {
        const is = isSparse(part, record.copied);
        if (is) sparseStarts.add(part.start);
        return is;
      },
    });
    const { checked } = candidates;
    const views = currentPlan.views(plan);
    const shared = candidates.shared.filter(({ planned }) => !views.has(planned.mapping.start));
    const present = findPresent(
      checked.filter(({ planned }) => !isShared(planned)),
      (planned, start, end, visit) =>
        sparse.visit(start, end, visit, (from, to) => presence.visitOwn(planned, from, to, visit)),
    );
    const taken = selectTaken(candidates, present, hasFile);
    return { plan, checked, present, taken, shared, sharedData: this.#sharedData(shared), views };
  }

  /** What shows as written, as ranges. */
  #writtenRuns(start: number, end: number, buffer: RegionBuffer): number[] {
    // The kernel's fast path: a third of a nanosecond a page. What does not exist shows as written, too.
    const query = {
      start,
      end,
      categoryMask: PAGE_IS_WRITTEN,
      returnMask: PAGE_IS_WRITTEN,
      flags: PM_SCAN_CHECK_WPASYNC,
    };
    const runs: number[] = [];
    let last = -1;
    for (const found of scanLegs(this.#tools.pagemap, query, { buffer })) {
      for (let index = 0; index < found.length; index++) {
        const from = found.start(index);
        const to = found.end(index);
        if (from === last) runs[runs.length - 1] = to;
        else runs.push(from, to);
        last = to;
      }
    }
    return runs;
  }

  /** Finds the parts of shared memory that are no holes. */
  #sharedData(shared: readonly Part[]): Part[] {
    const data: Part[] = [];
    for (const { start, end, planned } of shared) {
      const { mapping } = planned;
      const delta = mapping.start - mapping.offset;
      const fd = this.#tools.files.open(mapping)!;
      for (const [from, to] of dataRanges(fd, start - delta, end - delta))
        data.push({ start: from + delta, end: to + delta, planned });
    }
    return data;
  }

  /** Reads rings before all else: they say that a device has written, and must not be newer than what it wrote. */
  #keepRings(taken: readonly Part[], room: Uint8Array<ArrayBuffer>): KeptPages | undefined {
    const rings = taken.filter(({ planned }) => isRingMapping(planned.mapping.name));
    return rings.length > 0 && bytesOf(rings) <= room.byteLength ? this.#keep(rings, [], room) : undefined;
  }

  /** Copies all of it to memory, to be written later. */
  #keep(taken: readonly Part[], sharedData: readonly Part[], room: Uint8Array<ArrayBuffer>): KeptPages {
    const { files, memory, record } = this.#tools;
    const ranges = readingOrder(taken);
    memory.read(ranges, room, bufferAddress(room.buffer), (page) => record.fail(page));
    let filled = bytesOf(taken);
    for (const { start, end, planned } of sharedData) {
      const { mapping } = planned;
      readFully(files.open(mapping)!, room, filled, end - start, mapping.offset + (start - mapping.start));
      ranges.push(start, end);
      filled += end - start;
    }
    return { bytes: room, ranges };
  }

  /** Gives all of it to the sink at once. */
  async #copy(selection: StopSelection, bytes: number): Promise<void> {
    const { copier, files, progress, record, sink } = this.#tools;
    progress.expect(bytes);
    reserveAll(sink, files, selection.plan, selection, (start, end) => record.copied.some(start, end));
    await copier.copy(readingOrder(selection.taken));
    for (const { start, end } of selection.shared)
      record.copied.runs(start, end, true, (from, to) => sink.discard(from, to));
    for (const { start, end, planned } of selection.sharedData) {
      const { mapping } = planned;
      sink.reserve(mapping.start, mapping.end);
      const offset = mapping.offset + (start - mapping.start);
      await copier.copyFile(files.open(mapping)!, start, end, offset);
    }
  }

  #takeImages(plan: readonly Planned[]): Map<number, Uint8Array> {
    const images = new Map<number, Uint8Array>();
    for (const { mapping, share } of plan)
      if (share !== 'none' && isVdso(mapping)) this.#takeImage(mapping, images);
    return images;
  }

  #takeImage({ start, end }: Mapping, images: Map<number, Uint8Array>): void {
    const bytes = new Uint8Array(new ArrayBuffer(end - start));
    let unreadable = 0;
    this.#tools.memory.read([start, end], bytes, bufferAddress(bytes.buffer), () => unreadable++);
    if (unreadable * PAGE_SIZE < bytes.length) images.set(start, bytes);
  }
}
