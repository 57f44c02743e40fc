/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A core dump of a running process that stops it only for what it wrote last.
 *
 * Rounds: what is there is copied while the process runs and its writes are tracked, then what was written meanwhile, until
 * little is left. Then all threads are stopped, what was written since the last round is copied to a buffer, with the
 * registers and the list of mappings, and the threads go on. Each page in the file is thus as it was at the stop:
 *
 * - a page that is tracked was copied after its last write, or it is found written at the stop;
 * - one that was discarded shows as written, too, and is looked at again: it becomes a hole;
 * - what cannot be tracked, or can be written by others, is copied at the stop.
 */
import { closeSync } from 'node:fs';
import { freemem, getPriority, setPriority, tmpdir } from 'node:os';
import { dirname } from 'node:path';
import type { Writable } from 'node:stream';
import {
  errnoNumber,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  RegionBuffer,
} from '../abi/index.js';
import {
  bufferAddress,
  dataRanges,
  type LivePagemap,
  openMappedFile,
  openPagemap,
  ProcessError,
  type ProcessHandle,
  ProcessMemory,
  ProcessStopper,
  type StoppedProcess,
} from '../live/internal.js';
import { findMappingIndex, type Mapping, parseSmaps } from '../proc/index.js';
import { scanLegs } from '../query/index.js';
import { type TrackedPart, trackByProtection, type WriteProtectTracker } from '../track/internal.js';
import type { CoreArchitecture } from './architecture.js';
import { Copier, forEachPiece, placeWindows, readFully } from './copier.js';
import { isRingMapping } from './direct-io.js';
import { CoreFile } from './file.js';
import { isVdso, traitsOf } from './filter.js';
import { Layout } from './layout.js';
import {
  coreArchitecture,
  makeScratch,
  type ProcessFacts,
  type ThreadState,
  takeFacts,
  takeThreads,
} from './notes.js';
import { reservation } from './order.js';
import { PageSet } from './page-set.js';
import { type Planned, readFilter, readPlan, updatePlan } from './plan.js';
import { Presence, type RunVisitor } from './presence.js';
import { holesAreWritten } from './probe.js';
import { RangeSet, union, visitUnion } from './range-set.js';
import { FIRST_DATA_OFFSET, writeCore } from './segments.js';
import { type Compression, checkCompression, sendCore } from './send.js';
import { Settling } from './settle.js';
import { fileId, hasNoDescriptor, mappedByNobodyElse } from './sharers.js';

/** How far a dump has come. */
export interface CoreProgress {
  /** 1 for what was there, then what was written meanwhile; 'stop' while the process is stopped. */
  readonly round: number | 'stop';
  /** Of this round, bytes. */
  readonly copiedBytes: number;
  readonly totalBytes: number;
  readonly elapsedMs: number;
}

export interface CoreOptions {
  /**
   * The file to write; it gets this name when it is whole, and replaces what had it. Or a stream: what is written before the
   * process's last writes are known has to stay open to change, so that it is kept in a nameless file of the folder for
   * temporary files (TMPDIR) until then.
   */
  readonly file: string | Writable;
  /** Compress it; of zstd, Node has had the streaming kind since 22.15 and 23.8. */
  readonly compress?: Compression | undefined;
  /** Which mappings to dump, as in /proc/PID/coredump_filter (man core(5)); the process's own by default. */
  readonly filter?: number | undefined;
  /** Most rounds of copying while it runs; 30 by default. */
  readonly maxRounds?: number | undefined;
  /** The longest pause, milliseconds, if that can be: it is let go and copied meanwhile a few times instead. No limit by default. */
  readonly maxPauseMs?: number | undefined;
  /** When it cannot be, or others track much of the memory, the dump fails, or takes a longer one; 'fail' by default. */
  readonly overPause?: 'fail' | 'accept' | undefined;
  /** Stop the process for all of the copying: where writes cannot be tracked. */
  readonly stop?: boolean | undefined;
  /**
   * Memory that others may write to, since they have it mapped or open: 'stop' copies it while the process is stopped, so
   * that it is no older than all else; 'running' copies it before, with a shorter pause. 'stop' by default.
   */
  readonly shared?: 'stop' | 'running' | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CoreProgress) => void) | undefined;
  /** Called right before the process is stopped: for tests. */
  readonly beforeStop?: (() => void) | undefined;
  /** Called with the process still stopped, when all has been taken of it: for tests. */
  readonly whileStopped?: ((stopped: StoppedProcess) => void) | undefined;
}

/** What was dumped. */
export interface CoreResult {
  readonly pid: number;
  /** Undefined for a stream. */
  readonly file: string | undefined;
  /** The core's length, holes included; before compression. */
  readonly bytes: number;
  /** What the file takes on the disk; of a stream, what was written to it. */
  readonly storedBytes: number;
  /**
   * For how long the process was stopped at the longest, milliseconds; starting to track stops one thread for about half of
   * one more. When it turns out to have written more than expected, it is let go after some of them, and stopped once more.
   */
  readonly pauseMs: number;
  readonly totalMs: number;
  /** Copying while it ran. */
  readonly rounds: readonly { readonly pages: number; readonly ms: number }[];
  /** Copied while it was stopped. */
  readonly stoppedPages: number;
  readonly threads: number;
  /** Pages that could not be read; they are zero in the file. */
  readonly unreadablePages: number;
  /** Devices may have written to memory unseen, after it was copied and before the stop; `doubts` says which. */
  readonly mayBeTorn?: true | undefined;
  /** Why it may be torn, as parts of a sentence: "it has a GPU open". */
  readonly doubts?: readonly string[] | undefined;
}

const DEFAULT_ROUNDS = 30;
/** So little is left that another round would not shorten the pause, pages. */
const FEW_PAGES = 256;
/** A round that leaves more than this share of what the best one left has not helped. */
const HELPFUL = 0.9;
/** So often it is let go again when there is more to copy at the stop than was thought: a burst. */
const MOST_RETREATS = 3;
/** So often what is done at the stop is tried before. */
const REHEARSALS = 4;
/** So many rounds in a row may not help: a busy moment is not yet a busy process. */
const MOST_VAIN_ROUNDS = 3;
/** What is copied at the stop is kept in memory up to this, and written when the process runs again. */
const MOST_KEPT_BYTES = 2 ** 30;
/** Memory that others track, and we therefore cannot, may be so much for a stop that is still called short. */
const MOST_UNTRACKED_BYTES = 64 << 20;
const LEAST_KEPT_BYTES = 8 << 20;
/** Pages between written ones that are copied once more, for a longer piece: to write one takes as long as to copy four pages. */
const NEAR_PAGES = 3;
/** Suspects that are so near are looked at in one call, bytes: a call costs as much as so many pages. */
const NEAR_BYTES = 256 * PAGE_SIZE;

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20).toLocaleString('en-US')} MiB`;
}

function failure(action: string, code: string, hint: string, pid: number): PagemapError {
  return new PagemapError(action, { errno: errnoNumber(code)!, syscall: 'check', pid, hint });
}

/** A part of a mapping that is looked at, at the stop. */
interface Suspect {
  readonly start: number;
  readonly end: number;
  readonly planned: Planned;
  /** The tracker and earlier copies tell everything of it. */
  readonly trusted?: boolean;
}

/** What was found at the stop. */
export interface FinalState {
  readonly plan: readonly Planned[];
  readonly threads: readonly ThreadState[];
  /** Private memory that was looked at; what has no page of its own in it is not what an earlier copy holds. */
  readonly checked: readonly Suspect[];
  /** Of it, what has pages. */
  readonly present: readonly Suspect[];
  /** What was copied. */
  readonly taken: readonly Suspect[];
  /** Shared memory that was read from its file. */
  readonly shared: readonly Suspect[];
  readonly kept: Kept | undefined;
  readonly pages: number;
  /** The vDSO and its data, by the mapping's start. */
  readonly special: ReadonlyMap<number, Uint8Array>;
}

/** What was copied at the stop, to be written later: the ranges' bytes one behind the other. */
interface Kept {
  readonly bytes: Uint8Array;
  readonly ranges: readonly number[];
}

/** What is found out before anything else. */
interface Beginning {
  readonly facts: ProcessFacts;
  readonly filter: number;
  readonly plan: readonly Planned[];
}

function begin(handle: ProcessHandle, options: CoreOptions): Beginning {
  const filter = options.filter ?? readFilter(handle);
  // So that it is known when it is asked for.
  if (!options.stop) holesAreWritten();
  return { facts: takeFacts(handle), filter, plan: readPlan(handle, filter) };
}

class Dump implements Disposable {
  readonly #pid: number;
  readonly #options: CoreOptions;
  readonly #arch: CoreArchitecture;
  readonly #pagemap: LivePagemap;
  readonly #tracker: WriteProtectTracker | undefined;
  readonly #memory: ProcessMemory;
  readonly #file: CoreFile;
  readonly #layout = new Layout(FIRST_DATA_OFFSET);
  readonly #copier: Copier;
  readonly #stopper: ProcessStopper;
  readonly #settling: Settling;
  readonly #presence: Presence;
  readonly #facts: ProcessFacts;
  readonly #filter: number;
  readonly #started: number;
  readonly #rounds: { pages: number; ms: number }[] = [];
  /** Pages of the process's own that the file holds, as they were at some time. */
  readonly #copied = new PageSet();
  /** Pages that the tracker reported and that were not copied since. */
  readonly #dirty = new PageSet();
  /** Where all pages were copied once, or are in `#dirty`, while the tracker watched. */
  readonly #baseline = new RangeSet();
  /** Files that are mapped, by `fileId`; -1 for those that cannot be opened. */
  readonly #files = new Map<string, number>();
  /** First pages of mapped programs and libraries, by the mapping's start. */
  readonly #headers = new Map<number, Uint8Array | undefined>();
  readonly #unreadable = new PageSet();
  #unreadableCount = 0;
  #exclusive: ReadonlySet<string> = new Set();
  #plan: readonly Planned[];
  /** What the last round left to copy, ranges and their pages. */
  #written: readonly number[] = [];
  #left = 0;
  #round: number | 'stop' = 1;
  #roundBytes = 0;
  #roundTotal = 0;

  constructor(
    pagemap: LivePagemap,
    tracker: WriteProtectTracker | undefined,
    file: CoreFile,
    beginning: Beginning,
    options: CoreOptions,
    started: number,
  ) {
    this.#pid = pagemap.pid;
    this.#pagemap = pagemap;
    this.#tracker = tracker;
    this.#file = file;
    this.#options = options;
    this.#started = started;
    this.#arch = coreArchitecture()!;
    this.#presence = new Presence(pagemap);
    this.#stopper = new ProcessStopper(pagemap.process);
    this.#settling = new Settling(pagemap.process, this.#stopper, options.maxPauseMs, () =>
      options.signal?.throwIfAborted(),
    );
    this.#memory = new ProcessMemory(pagemap.process);
    this.#facts = beginning.facts;
    this.#filter = beginning.filter;
    this.#plan = beginning.plan;
    this.#copier = new Copier(this.#memory, file, this.#layout, {
      progress: (bytes) => {
        this.#roundBytes += bytes;
        this.#tell();
      },
      check: () => options.signal?.throwIfAborted(),
      unreadable: (page) => {
        // Or is it gone? Then nothing can be read any more.
        if (this.#unreadableCount % 256 === 0) this.#pagemap.checkAlive();
        this.#unreadableCount++;
        this.#unreadable.add(page, page + PAGE_SIZE);
      },
    });
  }

  #tell(): void {
    this.#options.onProgress?.({
      round: this.#round,
      copiedBytes: this.#roundBytes,
      totalBytes: this.#roundTotal,
      elapsedMs: performance.now() - this.#started,
    });
  }

  // --- Files and sharing -------------------------------------------------------------------------------------------

  /** The file behind a mapping, held open from when it is first seen; undefined when it may not be opened. */
  #fileOf(mapping: Mapping): number | undefined {
    const id = fileId(mapping);
    let fd = this.#files.get(id);
    if (fd === undefined) {
      fd = openMappedFile(this.#pagemap.process, mapping) ?? -1;
      this.#files.set(id, fd);
    }
    return fd < 0 ? undefined : fd;
  }

  /** Shared memory is read from its file: the process's page tables do not tell what is in it, and need not grow. */
  #isShared({ mapping }: Planned): boolean {
    return mapping.perms[3] === 's';
  }

  /** A private mapping of a file, of which the pages that are not the process's own are the file's. */
  #hasFile({ mapping }: Planned): boolean {
    return mapping.inode !== 0 && mapping.perms[3] === 'p' && mapping.name !== '/anon_hugepage';
  }

  /** The pages of a part of a private mapping that hold something of the process's own. */
  #visitPresent(planned: Planned, start: number, end: number, visit: RunVisitor): void {
    if (planned.traits.huge) this.#presence.visitHuge(start, end, visit);
    else this.#presence.visit(start, end, this.#hasFile(planned), visit);
  }

  /** Whether it is copied while the process runs. */
  #isEarly(planned: Planned): boolean {
    const { share, mapping } = planned;
    if (share === 'none' || share === 'header' || isVdso(mapping.name)) return false;
    if (this.#isShared(planned)) {
      if (this.#fileOf(mapping) === undefined) return false;
      return this.#options.shared === 'running' || this.#exclusive.has(fileId(mapping));
    }
    return !this.#hasFile(planned) || this.#fileOf(mapping) !== undefined;
  }

  // --- While it runs -----------------------------------------------------------------------------------------------

  /** @param anew asks again about mappings that look the same: others may have come in their place, or madvise(2) changed them */
  #refreshPlan(anew = false): void {
    let plan: readonly Planned[] = updatePlan(this.#pagemap.mappings(), this.#plan, this.#filter);
    if (anew || plan.some(({ known }) => !known)) plan = readPlan(this.#pagemap.process, this.#filter);
    this.#plan = plan;
    this.#findExclusive();
    for (const { mapping, share } of plan) {
      if (share !== 'header' && share !== 'written-else-header') continue;
      if (this.#headers.has(mapping.start)) continue;
      this.#headers.set(mapping.start, this.#readHeader(mapping));
    }
  }

  #findExclusive(): void {
    const candidates = this.#plan.filter(({ mapping }) => hasNoDescriptor(mapping));
    this.#exclusive = mappedByNobodyElse(
      new Set(candidates.map(({ mapping }) => fileId(mapping))),
      this.#pid,
    );
  }

  /** The first page of a mapping, if an ELF file begins there. */
  #readHeader({ start }: Mapping): Uint8Array | undefined {
    const page = new Uint8Array(new ArrayBuffer(PAGE_SIZE));
    this.#memory.read([start, start + PAGE_SIZE], page, bufferAddress(page.buffer), () => undefined);
    return page[0] === 0x7f && page[1] === 0x45 && page[2] === 0x4c && page[3] === 0x46 ? page : undefined;
  }

  #place({ mapping }: Planned, start: number, end: number): void {
    placeWindows(this.#layout, mapping, start, end);
    this.#layout.place(start, end);
  }

  /** Gives a mapping its place in the file before its neighbours behind it get theirs. */
  #reserve(planned: Planned, hasOwnPages: () => boolean): void {
    const range = reservation(planned, {
      hasHeader: this.#headers.get(planned.mapping.start) !== undefined,
      isPlacedByPages: !this.#isShared(planned) && !this.#hasFile(planned),
      hasOwnPages,
    });
    if (range !== undefined) this.#layout.place(...range);
  }

  #hasOwnPages({ mapping: { start, end } }: Planned): boolean {
    let some = false;
    this.#presence.visit(start, end, true, () => {
      some = true;
    });
    return some;
  }

  /** Copies what the last round left, or all there is. Afterwards `#left` pages are left. */
  async #copyRound(tracker: WriteProtectTracker): Promise<void> {
    const begin = performance.now();
    this.#round = this.#rounds.length + 1;
    this.#roundBytes = 0;
    const toCopy = await this.#settling.settle(this.#written);
    this.#refreshPlan();
    const mappings = this.#plan.map(({ mapping }) => mapping);
    const { ranges, shared, bytes } = this.#select(tracker.tracked(mappings), toCopy);
    this.#roundTotal = bytes;
    if (this.#round === 1) this.#checkSpace(bytes);
    this.#tell();
    for (let index = 0; index < ranges.length; index += 2) {
      this.#copied.add(ranges[index]!, ranges[index + 1]!);
      this.#dirty.delete(ranges[index]!, ranges[index + 1]!);
      this.#unreadable.delete(ranges[index]!, ranges[index + 1]!);
    }
    await this.#copier.copy(ranges);
    for (const { start, end, planned } of shared) await this.#copyShared(planned, start, end);
    await this.#copier.drain();
    this.#rounds.push({ pages: bytes / PAGE_SIZE, ms: performance.now() - begin });
    await this.#copier.breathe();

    const written: number[] = [];
    let left = 0;
    tracker.collect((start, end) => {
      written.push(start, end);
      left += (end - start) / PAGE_SIZE;
    });
    // Until they are copied, in whichever way: from here on the kernel tells of them no more.
    for (let index = 0; index < written.length; index += 2)
      this.#dirty.add(written[index]!, written[index + 1]!);
    this.#written = written;
    this.#left = left;
  }

  /** Copies rounds as long as that helps; `most` at most in all. */
  async #copyRounds(tracker: WriteProtectTracker, most: number, mostVain: number): Promise<void> {
    let least = Number.POSITIVE_INFINITY;
    for (let vain = 0; vain < mostVain && this.#rounds.length < most; ) {
      await this.#copyRound(tracker);
      if (this.#left <= FEW_PAGES) break;
      vain = this.#left < least * HELPFUL ? 0 : vain + 1;
      least = Math.min(least, this.#left);
    }
  }

  /** What to copy: what was written, and all of what was not copied before. Gives each its place. */
  #select(
    parts: readonly TrackedPart[],
    written: readonly number[],
  ): { ranges: number[]; shared: Suspect[]; bytes: number } {
    const mappings = this.#plan.map(({ mapping }) => mapping);
    const ranges: number[] = [];
    const shared: Suspect[] = [];
    let bytes = 0;
    const add = (planned: Planned, start: number, end: number) => {
      if (this.#isShared(planned)) shared.push({ start, end, planned });
      else {
        this.#place(planned, start, end);
        ranges.push(start, end);
      }
      bytes += end - start;
    };
    // A list of mappings that changed while it was read may show one twice, with other borders: the second is left to later.
    const plannedOf = ({ start, mapping }: TrackedPart) => {
      const planned = this.#plan[findMappingIndex(mappings, start)];
      return planned?.mapping === mapping && this.#isEarly(planned) ? planned : undefined;
    };
    let index = 0;
    // The first time, all gets its place in the order of addresses.
    let toReserve = this.#rounds.length === 0 ? 0 : this.#plan.length;
    const reserveUntil = (address: number) => {
      for (
        ;
        this.#plan[toReserve] !== undefined && this.#plan[toReserve]!.mapping.start <= address;
        toReserve++
      ) {
        const planned = this.#plan[toReserve]!;
        this.#reserve(planned, () => this.#hasOwnPages(planned));
      }
    };
    for (const part of parts) {
      const planned = plannedOf(part);
      reserveUntil(part.start);
      while (index < written.length && written[index + 1]! <= part.start) index += 2;
      if (planned === undefined) continue;
      this.#baseline.parts(part.start, part.end, (start, end, inside) => {
        if (!inside) {
          if (this.#isShared(planned)) add(planned, start, end);
          else this.#visitPresent(planned, start, end, (from, to) => add(planned, from, to));
          return;
        }
        let last = -1;
        let from = -1;
        for (let next = index; next < written.length && written[next]! < end; next += 2) {
          if (written[next + 1]! <= start) continue;
          const first = Math.max(start, written[next]!);
          if (from < 0) from = first;
          else if (first - last > NEAR_PAGES * PAGE_SIZE || !this.#copied.every(last, first)) {
            add(planned, from, last);
            from = first;
          }
          last = Math.min(end, written[next + 1]!);
        }
        if (from >= 0) add(planned, from, last);
      });
    }
    reserveUntil(Number.POSITIVE_INFINITY);
    for (const part of parts) if (plannedOf(part) !== undefined) this.#baseline.add(part.start, part.end);
    return { ranges, shared, bytes };
  }

  async #copyShared(planned: Planned, start: number, end: number): Promise<void> {
    const { mapping } = planned;
    const fd = this.#fileOf(mapping)!;
    this.#place(planned, mapping.start, mapping.start + PAGE_SIZE);
    this.#layout.place(start, end);
    this.#copied.add(start, end);
    this.#dirty.delete(start, end);
    await this.#copier.copyFile(fd, start, end, mapping.offset + (start - mapping.start));
  }

  #checkSpace(bytes: number): void {
    const free = this.#file.freeBytes;
    if (bytes <= free) return;
    throw failure(
      `write the core file of process ${this.#pid}`,
      'ENOSPC',
      `it takes about ${mebibytes(bytes)}, and ${mebibytes(free)} are free in ${this.#file.folder}`,
      this.#pid,
    );
  }

  /** What is registered with another userfaultfd can only be copied at the stop: that is not to come as a surprise. */
  #checkTracked(tracker: WriteProtectTracker): void {
    if (this.#options.overPause === 'accept') return;
    const mappings = this.#plan.map(({ mapping }) => mapping);
    const tracked = new RangeSet();
    for (const { start, end } of tracker.tracked(mappings)) tracked.add(start, end);
    let bytes = 0;
    for (const skipped of tracker.skipped) {
      const planned = this.#plan[findMappingIndex(mappings, skipped.start)];
      if (skipped.reason !== 'busy' || planned === undefined || !this.#isEarly(planned)) continue;
      tracked.parts(skipped.start, skipped.end, (start, end, inside) => {
        if (inside) return;
        this.#visitPresent(planned, start, end, (from, to) => {
          bytes += to - from;
        });
      });
    }
    const { maxPauseMs } = this.#options;
    const tooMuch =
      maxPauseMs === undefined ? bytes > MOST_UNTRACKED_BYTES : this.#exceedsPause(0, bytes) !== undefined;
    if (!tooMuch) return;
    throw failure(
      `dump process ${this.#pid} with a short stop`,
      'EBUSY',
      `of its memory, ${mebibytes(bytes)} are registered with another userfaultfd: a tool tracks its writes (a recorder or a watch, say), or the process does so itself; end that for as long as the dump takes`,
      this.#pid,
    );
  }

  // --- While it is stopped -----------------------------------------------------------------------------------------

  /** All mappings in parts: those of which the tracker and earlier copies tell everything, and the others. */
  *#items(plan: readonly Planned[], parts: readonly TrackedPart[]): Generator<Suspect> {
    let index = 0;
    for (const planned of plan) {
      const { mapping, share } = planned;
      while (index < parts.length && parts[index]!.end <= mapping.start) index++;
      if (share === 'none' || share === 'header' || isVdso(mapping.name)) continue;
      const early = this.#isEarly(planned);
      let at = mapping.start;
      const found: Suspect[] = [];
      for (let next = index; early && next < parts.length && parts[next]!.start < mapping.end; next++) {
        const part = parts[next]!;
        if (part.start > at) found.push({ start: at, end: part.start, planned, trusted: false });
        this.#baseline.parts(part.start, part.end, (start, end, trusted) =>
          found.push({ start, end, planned, trusted }),
        );
        at = part.end;
      }
      if (at < mapping.end) found.push({ start: at, end: mapping.end, planned, trusted: false });
      yield* found;
    }
  }

  /** Pages of trusted neighbours that were written or discarded since they were copied. */
  #changes(
    items: readonly Suspect[],
    buffer: RegionBuffer,
    visit: (item: Suspect, start: number, end: number) => void,
  ): void {
    const runs = this.#writtenRuns(items[0]!.start, items[items.length - 1]!.end, buffer);
    if (runs === undefined) {
      // Another mapping than the one that was tracked.
      if (items.length === 1) visit(items[0]!, items[0]!.start, items[0]!.end);
      else for (const item of items) this.#changes([item], buffer, visit);
      return;
    }
    let index = 0;
    for (const item of items) {
      const { start, end } = item;
      while (index < runs.length && runs[index + 1]! <= start) index += 2;
      const found: number[] = [];
      for (let next = index; next < runs.length && runs[next]! < end; next += 2)
        found.push(Math.max(start, runs[next]!), Math.min(end, runs[next + 1]!));
      const known: number[] = [];
      if (this.#dirty.some(start, end))
        this.#dirty.runs(start, end, true, (from, to) => known.push(from, to));
      const late = this.#settling.lateWithin(start, end);
      visitUnion(found, late.length > 0 ? union(known, late) : known, (from, to) => visit(item, from, to));
    }
  }

  /** What shows as written, as ranges; undefined when not all of it is tracked. */
  #writtenRuns(start: number, end: number, buffer: RegionBuffer): number[] | undefined {
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
    try {
      for (const found of scanLegs(this.#pagemap, query, { buffer })) {
        for (let index = 0; index < found.length; index++) {
          const from = found.start(index);
          const to = found.end(index);
          if (from === last) runs[runs.length - 1] = to;
          else runs.push(from, to);
          last = to;
        }
      }
    } catch (error) {
      if (!(error instanceof PagemapError) || error.code !== 'EPERM') throw error;
      return undefined;
    }
    return runs;
  }

  /** Of private memory, the parts with pages of its own. */
  #findPresent(checked: readonly Suspect[]): Suspect[] {
    const present: Suspect[] = [];
    for (let index = 0; index < checked.length; ) {
      const first = checked[index]!;
      const ownOnly = this.#hasFile(first.planned);
      let last = index;
      while (
        last + 1 < checked.length &&
        checked[last + 1]!.start - checked[last]!.end <= NEAR_BYTES &&
        this.#hasFile(checked[last + 1]!.planned) === ownOnly &&
        checked[last + 1]!.planned.traits.huge === first.planned.traits.huge
      ) {
        last++;
      }
      let at = index;
      const end = last;
      const visit = (from: number, to: number) => {
        while (at < end && checked[at]!.end <= from) at++;
        for (let next = at; next <= end && checked[next]!.start < to; next++) {
          const suspect = checked[next]!;
          const start = Math.max(from, suspect.start);
          const stop = Math.min(to, suspect.end);
          if (start < stop) present.push({ start, end: stop, planned: suspect.planned });
        }
      };
      this.#visitPresent(first.planned, first.start, checked[last]!.end, visit);
      index = last + 1;
    }
    return present;
  }

  /**
   * Takes all that is to be taken of the stopped process.
   *
   * @param mayRetreat when it is more than there is room for, or than the pause allows, undefined is the answer
   */
  async #take(
    stopped: StoppedProcess | undefined,
    room: Uint8Array<ArrayBuffer>,
    mayRetreat: boolean,
  ): Promise<FinalState | undefined> {
    const buffer = new RegionBuffer(8192);
    const plan = updatePlan(this.#pagemap.mappings(), this.#plan, this.#filter);
    this.#pagemap.checkAlive();
    const threads =
      stopped === undefined
        ? []
        : takeThreads(stopped, this.#arch, makeScratch(this.#arch), this.#facts.isElsewhere);
    const parts = this.#tracker?.tracked(plan.map(({ mapping }) => mapping)) ?? [];

    const checked: Suspect[] = [];
    const changed: Suspect[] = [];
    const shared: Suspect[] = [];
    // Otherwise what was discarded does not show among the changes, and all has to be looked at.
    const exact = this.#tracker === undefined || holesAreWritten();
    const add = (item: Suspect, start: number, end: number) => {
      const { planned } = item;
      if (this.#isShared(planned) && this.#fileOf(planned.mapping) !== undefined) {
        shared.push({ start, end, planned });
        return;
      }
      changed.push({ start, end, planned });
      if (item.trusted && (!exact || planned.traits.huge)) return;
      checked.push({ start, end, planned });
    };
    let narrowed = false;
    // Neighbours together, for a call costs more than many small mappings.
    let group: Suspect[] = [];
    const flush = () => {
      if (group.length > 0) this.#changes(group, buffer, add);
      group = [];
    };
    for (const item of this.#items(plan, parts)) {
      const { planned } = item;
      const all = item.trusted && (!exact || planned.traits.huge) && !this.#isShared(planned);
      if (!item.trusted || all || group[group.length - 1]?.end !== item.start) flush();
      if (item.trusted) group.push(item);
      else add(item, item.start, item.end);
      if (item.trusted && this.#hasFile(planned)) {
        flush();
        // A protected page that is discarded in a mapping of a file leaves a mark, which shows as swapped out.
        this.#presence.visitSwapped(item.start, item.end, (start, end) => add(item, start, end));
      }
      if (!all) continue;
      flush();
      narrowed = true;
      checked.push({ start: item.start, end: item.end, planned });
    }
    flush();
    if (this.#tracker !== undefined) inOrder(changed, checked);
    const present = this.#findPresent(checked.filter(({ planned }) => !this.#isShared(planned)));
    let taken = narrowed ? intersect(present, changed) : present;
    // Without its file, all of it is read by way of the process, which may have to make page tables for that.
    for (const { start, end, planned } of changed) {
      const { mapping, share } = planned;
      if (this.#isShared(planned)) {
        taken.push({ start, end, planned });
      } else if (
        this.#hasFile(planned) &&
        this.#fileOf(mapping) === undefined &&
        (share === 'all' || taken.some((other) => other.planned === planned))
      ) {
        taken = taken.filter((other) => other.planned !== planned);
        taken.push({ start, end, planned });
      }
    }
    taken.sort((a, b) => a.start - b.start);
    // What says that a device has written comes before what it has written.
    const isRing = ({ planned }: Suspect) => isRingMapping(planned.mapping.name);
    const inTurn = [...taken.filter(isRing), ...taken.filter((one) => !isRing(one))];
    const ranges = inTurn.flatMap(({ start, end }) => [start, end]);

    const sharedData = this.#sharedData(shared);
    let sharedBytes = 0;
    for (const { start, end } of sharedData) sharedBytes += end - start;
    let bytes = sharedBytes;
    for (const { start, end } of taken) bytes += end - start;
    for (const { start, end } of taken) this.#unreadable.delete(start, end);
    if (stopped !== undefined) {
      // Of what is copied at the stop in any case, another round would leave no less.
      const late = Math.min(this.#lateBytes(), sharedBytes) + this.#settling.lateBytes;
      const own = bytes - late;
      const { elapsedMs } = stopped;
      const isLonger = own > LEAST_KEPT_BYTES + this.#left * PAGE_SIZE && bytes > room.byteLength;
      const exceeds = this.#exceedsPause(elapsedMs, bytes) && !this.#exceedsPause(elapsedMs, late);
      if (mayRetreat && (isLonger || exceeds)) return undefined;
      if (this.#options.overPause !== 'accept') this.#checkPause(elapsedMs, bytes);
    }
    if (this.#tracker === undefined) this.#checkSpace(bytes);
    let kept: Kept | undefined;
    if (bytes <= room.byteLength) {
      kept = this.#keep(ranges, sharedData, room);
    } else if (stopped !== undefined) {
      this.#roundTotal = bytes;
      this.#roundBytes = 0;
      this.#placeInOrder(plan, { taken, shared });
      await this.#copier.copy(ranges);
      for (const { start, end, planned } of sharedData) {
        this.#layout.place(planned.mapping.start, planned.mapping.end);
        const offset = planned.mapping.offset + (start - planned.mapping.start);
        await this.#copier.copyFile(this.#fileOf(planned.mapping)!, start, end, offset);
      }
    }
    const special = new Map<number, Uint8Array>();
    for (const { mapping, share } of plan) {
      if (share !== 'none' && isVdso(mapping.name)) this.#takeSpecial(mapping, special);
      if ((share === 'header' || share === 'written-else-header') && !this.#headers.has(mapping.start))
        this.#headers.set(mapping.start, this.#readHeader(mapping));
    }
    // Whatever was read of a process that was killed meanwhile is worth nothing.
    this.#pagemap.checkAlive();
    return { plan, threads, checked, present, taken, shared, kept, special, pages: bytes / PAGE_SIZE };
  }

  #takeSpecial(mapping: Mapping, special: Map<number, Uint8Array>): void {
    const { start, end } = mapping;
    const bytes = new Uint8Array(new ArrayBuffer(end - start));
    let unreadable = 0;
    this.#memory.read([start, end], bytes, bufferAddress(bytes.buffer), () => unreadable++);
    if (unreadable * PAGE_SIZE < bytes.length) special.set(start, bytes);
  }

  /** What of shared memory is no hole. */
  #sharedData(shared: readonly Suspect[]): Suspect[] {
    const data: Suspect[] = [];
    for (const { start, end, planned } of shared) {
      const { mapping } = planned;
      const delta = mapping.start - mapping.offset;
      for (const [from, to] of dataRanges(this.#fileOf(mapping)!, start - delta, end - delta))
        data.push({ start: from + delta, end: to + delta, planned });
    }
    return data;
  }

  #keep(ranges: readonly number[], shared: readonly Suspect[], room: Uint8Array<ArrayBuffer>): Kept {
    this.#memory.read(ranges, room, bufferAddress(room.buffer), (page) => {
      this.#unreadableCount++;
      this.#unreadable.add(page, page + PAGE_SIZE);
    });
    const all = [...ranges];
    let filled = 0;
    for (let index = 0; index < ranges.length; index += 2) filled += ranges[index + 1]! - ranges[index]!;
    for (const { start, end, planned } of shared) {
      const offset = planned.mapping.offset + (start - planned.mapping.start);
      readFully(this.#fileOf(planned.mapping)!, room, filled, end - start, offset);
      all.push(start, end);
      filled += end - start;
    }
    return { bytes: room, ranges: all };
  }

  /** What the pause will come to, milliseconds, when that is too long; measured: copying runs at some 2 GiB/s. */
  #exceedsPause(elapsedMs: number, bytes: number): number | undefined {
    const { maxPauseMs } = this.#options;
    const estimateMs = elapsedMs + (bytes / 2 ** 31) * 1000;
    return maxPauseMs === undefined || estimateMs <= maxPauseMs ? undefined : estimateMs;
  }

  #checkPause(elapsedMs: number, bytes: number): void {
    const { maxPauseMs } = this.#options;
    const estimateMs = this.#exceedsPause(elapsedMs, bytes);
    if (estimateMs === undefined) return;
    throw failure(
      `dump process ${this.#pid} within the pause that was allowed`,
      'ETIMEDOUT',
      `about ${Math.ceil(estimateMs)} ms would be needed, and ${maxPauseMs} ms were given: it writes faster than it can be copied, shares much memory with others, or another tool tracks its writes; a longer --max-pause lets it, or --shared running`,
      this.#pid,
    );
  }

  // --- All of it ---------------------------------------------------------------------------------------------------

  /** Copies what can be had without a stop; gives the memory that the rest is going to be copied to. */
  async #approach(most: number, before?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#tracker !== undefined) await this.#copyRounds(this.#tracker, most, MOST_VAIN_ROUNDS);
    // Some more than the last round left: it goes on writing until it stands still.
    const expected = LEAST_KEPT_BYTES + this.#lateBytes() + this.#left * PAGE_SIZE;
    const bytes = Math.min(expected, MOST_KEPT_BYTES, Math.floor(freemem() / 4));
    const room =
      before !== undefined && before.byteLength >= bytes
        ? before
        : new Uint8Array(new ArrayBuffer(bytes)).fill(1);
    if (this.#tracker !== undefined) {
      // It takes as long as many writes do, so that it has to come before the last round.
      this.#refreshPlan(true);
      // In earnest, but with nobody stopped and nothing kept: so that it is compiled when it matters.
      for (let times = 0; times < REHEARSALS && this.#lateBytes() < LEAST_KEPT_BYTES; times++)
        await this.#take(undefined, room, false);
      // What was written since.
      await this.#copyRounds(this.#tracker, most, 1);
    }
    return room;
  }

  async run(): Promise<CoreResult> {
    this.#options.signal?.throwIfAborted();
    const most = this.#options.maxRounds ?? DEFAULT_ROUNDS;
    if (this.#tracker === undefined) this.#refreshPlan();
    else this.#checkTracked(this.#tracker);
    let room = await this.#approach(most);
    let final: FinalState | undefined;
    let longestMs = 0;
    for (let retreats = 0; ; ) {
      const before = this.#exclusive;
      this.#round = 'stop';
      const mayRetreat =
        this.#tracker !== undefined && retreats < MOST_RETREATS && this.#rounds.length < most;
      const { taken, pauseMs } = await this.#pause(room, mayRetreat).catch(async (error: unknown) => {
        // A thread waits for a disk, which takes longer than others are to be kept waiting: once more, later.
        const isBusy = error instanceof ProcessError && error.reason === 'busy';
        if (!isBusy || !mayRetreat || !(await this.#stopper.letGo())) throw error;
        return { taken: undefined, pauseMs: 0 };
      });
      longestMs = Math.max(longestMs, pauseMs);
      if (taken === undefined) {
        retreats++;
        room = await this.#approach(most, room);
        continue;
      }
      final = taken;
      this.#findExclusive();
      // Somebody else has got hold of memory that was only its own: once more.
      if ([...before].every((id) => this.#exclusive.has(id))) break;
    }
    this.#tracker?.releaseInPieces();
    this.#plan = final.plan;
    await this.#copier.drain();
    const { bytes: length, storedBytes } = await this.#finish(final);
    const { doubts } = this.#settling;
    return {
      pid: this.#pid,
      file: typeof this.#options.file === 'string' ? this.#options.file : undefined,
      bytes: length,
      storedBytes,
      pauseMs: Math.max(longestMs, this.#settling.stopMs),
      totalMs: performance.now() - this.#started,
      rounds: this.#rounds,
      stoppedPages: final.pages,
      threads: final.threads.length,
      unreadablePages: this.#countUnreadable(final),
      ...(doubts.length > 0 && { mayBeTorn: true, doubts }),
    };
  }

  #countUnreadable({ plan }: FinalState): number {
    let pages = 0;
    for (const { mapping, share } of plan) {
      if (share === 'none' || share === 'header') continue;
      this.#unreadable.runs(mapping.start, mapping.end, true, (start, end) => {
        pages += (end - start) / PAGE_SIZE;
      });
    }
    return pages;
  }

  /** About how much is copied at the stop in any case, bytes. */
  #lateBytes(): number {
    let bytes = this.#settling.lateBytes;
    for (const planned of this.#plan) {
      const { mapping, share } = planned;
      if (share !== 'none' && share !== 'header' && this.#isShared(planned) && !this.#isEarly(planned))
        bytes += mapping.end - mapping.start;
    }
    return bytes;
  }

  async #pause(
    room: Uint8Array<ArrayBuffer>,
    mayRetreat: boolean,
  ): Promise<{ taken: FinalState | undefined; pauseMs: number }> {
    const { beforeStop, whileStopped } = this.#options;
    beforeStop?.();
    const restore = prioritise();
    let since: number;
    let taken: FinalState | undefined;
    try {
      using stopped = this.#stopper.stop();
      since = stopped.since;
      taken = await this.#take(stopped, room, mayRetreat);
      if (taken !== undefined) {
        await this.#copier.drain();
        whileStopped?.(stopped);
      }
    } finally {
      restore();
    }
    return { taken, pauseMs: performance.now() - since };
  }

  /** Writes what was kept, clears what is gone, and puts the headers and notes to it. */
  async #finish(final: FinalState): Promise<{ bytes: number; storedBytes: number }> {
    const plan = this.#withoutSecrets(final.plan);
    this.#placeInOrder(plan, final);
    this.#clear(final);
    for (const { start, end } of final.taken) this.#copied.add(start, end);
    await this.#fill(plan);
    if (final.kept !== undefined) {
      const { bytes, ranges } = final.kept;
      forEachPiece(this.#layout, ranges, (from, length, offset) =>
        this.#file.writeSync(bytes, from, length, offset),
      );
    }
    // What is not to be dumped after all was copied before that was known: no segment shows it, and the file must not hold it.
    for (const { mapping, share } of plan) if (share === 'none') this.#discard(mapping.start, mapping.end);
    const written = (planned: Planned) => {
      const { mapping } = planned;
      return this.#copied.some(mapping.start, mapping.end);
    };
    const length = writeCore({
      file: this.#file,
      layout: this.#layout,
      arch: this.#arch,
      handle: this.#pagemap.process,
      facts: this.#facts,
      threads: final.threads,
      plan,
      special: final.special,
      headers: this.#headers,
      written,
    });
    const { file, compress, signal } = this.#options;
    signal?.throwIfAborted();
    if (typeof file === 'string' && compress === undefined) {
      await this.#file.publish();
      return { bytes: length, storedBytes: this.#file.storedBytes };
    }
    return { bytes: length, storedBytes: await sendCore(this.#file, length, file, compress, signal) };
  }

  /** Gives all that was found at the stop, or the whole of it when nothing was copied before, its place. */
  #placeInOrder(plan: readonly Planned[], { taken, shared }: Pick<FinalState, 'taken' | 'shared'>): void {
    const hasShared = new Set(shared.map(({ planned }) => planned.mapping.start));
    let index = 0;
    for (const planned of plan) {
      const { start, end } = planned.mapping;
      const first = index;
      while (index < taken.length && taken[index]!.start < end) index++;
      const isTaken = index > first;
      if (!this.#isShared(planned) || hasShared.has(start))
        this.#reserve(planned, () => isTaken || this.#copied.some(start, end));
      for (const part of taken.slice(first, index)) this.#place(part.planned, part.start, part.end);
    }
  }

  /** Mappings may have been marked as not to be dumped in the end: that could not be asked at the stop. */
  #withoutSecrets(plan: readonly Planned[]): readonly Planned[] {
    let secret: { start: number; end: number }[];
    try {
      secret = parseSmaps(this.#pagemap.process.read('smaps')).filter(
        (mapping) => traitsOf(mapping).dontDump,
      );
    } catch {
      // The process has ended since.
      return plan;
    }
    const ends = new Map(secret.map(({ start, end }) => [start, end]));
    return plan.map((planned) => {
      const { mapping, known } = planned;
      const isSecret = known
        ? ends.get(mapping.start) === mapping.end
        : secret.some(({ start, end }) => start < mapping.end && end > mapping.start);
      return isSecret ? { ...planned, share: 'none' } : planned;
    });
  }

  /** Makes holes of what was copied. */
  #discard(start: number, end: number): void {
    this.#copied.runs(start, end, true, (from, to) => {
      this.#layout.parts(from, to, (first, last, offset) => {
        if (offset >= 0) this.#file.clear(offset, last - first);
      });
    });
    this.#copied.delete(start, end);
  }

  /** Makes holes of pages that were copied and are gone. */
  #clear(final: FinalState): void {
    let index = 0;
    for (const { start, end } of final.checked) {
      let at = start;
      while (index < final.present.length && final.present[index]!.end <= start) index++;
      for (let next = index; next < final.present.length && final.present[next]!.start < end; next++) {
        if (final.present[next]!.start > at) this.#discard(at, final.present[next]!.start);
        at = Math.max(at, final.present[next]!.end);
      }
      if (at < end) this.#discard(at, end);
    }
    for (const { start, end } of final.shared) {
      this.#discard(start, end);
      this.#copied.add(start, end);
    }
  }

  /** Private mappings of files: what is not the process's own in them is the file's. */
  async #fill(plan: readonly Planned[]): Promise<void> {
    for (const planned of plan) {
      const { mapping, share } = planned;
      if (!this.#hasFile(planned) || share === 'none' || share === 'header' || isVdso(mapping.name)) continue;
      if (share !== 'all' && !this.#copied.some(mapping.start, mapping.end)) continue;
      const fd = this.#fileOf(mapping);
      if (fd === undefined) continue;
      this.#layout.place(mapping.start, mapping.end);
      const gaps: number[] = [];
      this.#copied.runs(mapping.start, mapping.end, false, (from, to) => gaps.push(from, to));
      for (let index = 0; index < gaps.length; index += 2) {
        const offset = mapping.offset + (gaps[index]! - mapping.start);
        await this.#copier.copyFile(fd, gaps[index]!, gaps[index + 1]!, offset);
      }
    }
    await this.#copier.drain();
  }

  [Symbol.dispose](): void {
    for (const fd of this.#files.values()) if (fd >= 0) closeSync(fd);
    this.#files.clear();
    this.#memory[Symbol.dispose]();
  }
}

/** Sorts lists by address, and cuts what overlaps. */
function inOrder(...lists: Suspect[][]): void {
  for (const list of lists) {
    list.sort((a, b) => a.start - b.start || a.end - b.end);
    let kept = 0;
    let end = 0;
    for (const suspect of list) {
      const start = Math.max(suspect.start, end);
      if (start >= suspect.end) continue;
      list[kept++] = start === suspect.start ? suspect : { ...suspect, start };
      end = suspect.end;
    }
    list.length = kept;
  }
}

/** The parts of `suspects` that lie in `limits`; both in address order. */
function intersect(suspects: readonly Suspect[], limits: readonly Suspect[]): Suspect[] {
  const found: Suspect[] = [];
  let index = 0;
  for (const suspect of suspects) {
    while (index < limits.length && limits[index]!.end <= suspect.start) index++;
    for (let next = index; next < limits.length && limits[next]!.start < suspect.end; next++) {
      const start = Math.max(suspect.start, limits[next]!.start);
      const end = Math.min(suspect.end, limits[next]!.end);
      found.push({ start, end, planned: suspect.planned });
    }
  }
  return found;
}

/** The process waits for us while it is stopped: we go first, if we may. The result takes that back. */
function prioritise(): () => void {
  const before = getPriority();
  try {
    setPriority(-20);
    return () => setPriority(before);
  } catch {
    // It takes CAP_SYS_NICE.
    return () => undefined;
  }
}

/**
 * Dumps a process's memory and registers to an ELF core file, as they are at one moment. The process runs on meanwhile,
 * and is stopped only for what it wrote last: for some milliseconds, whatever its size.
 *
 * Needs what a debugger needs. With `stop`, it is stopped throughout, and neither write tracking nor Linux 6.7 is needed.
 *
 * @throws ProcessError for a process that cannot be dumped, or ended meanwhile; `reason` and `hint` say why
 * @throws PagemapError ENOSPC, ETIMEDOUT when the pause would be longer than allowed, and what tracking may throw
 * @example
 * ```ts
 * import { spawn } from 'node:child_process';
 * import { once } from 'node:events';
 * import { rmSync } from 'node:fs';
 * import { dumpCore } from 'pagemap-scan/core';
 * const child = spawn('sleep', ['60']);
 * await once(child, 'spawn');
 * const { bytes, threads } = await dumpCore(child.pid!, { file: '/tmp/sleep.core' });
 * console.assert(bytes > 100_000 && threads === 1);
 * rmSync('/tmp/sleep.core');
 * child.kill();
 * ```
 */
export async function dumpCore(pid: number, options: CoreOptions): Promise<CoreResult> {
  const started = performance.now();
  if (coreArchitecture() === undefined)
    throw failure(
      `dump process ${pid}`,
      'ENOSYS',
      `core files of ${process.arch} are not supported yet`,
      pid,
    );
  const { file: output, compress } = options;
  if (compress !== undefined) checkCompression(compress);
  const folder = typeof output === 'string' ? dirname(output) : tmpdir();
  using file = new CoreFile(
    typeof output === 'string' && compress === undefined ? output : undefined,
    folder,
  );
  try {
    if (options.stop) {
      using pagemap = openPagemap(pid);
      const beginning = begin(pagemap.process, options);
      using dump = new Dump(pagemap, undefined, file, beginning, options, started);
      return await dump.run();
    }
    let beginning: Beginning;
    using tracker = await trackByProtection(pid, {
      // All its threads are going to be stopped, in whatever they do then.
      quietWaitMs: 0,
      onStarting: (handle) => {
        beginning = begin(handle, options);
      },
    });
    using dump = new Dump(tracker.pagemap, tracker, file, beginning!, options, started);
    return await dump.run();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof PagemapError || !['ENOSPC', 'EDQUOT', 'EFBIG'].includes(code ?? '')) throw error;
    const hint = `${folder} has no room for it any more, or a limit does not let it grow; give another place`;
    throw failure(`write the core file of process ${pid}`, code!, hint, pid);
  } finally {
    await file.settle();
  }
}
