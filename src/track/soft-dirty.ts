/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Which pages of another process are written, by the bits that older kernels keep: a page's soft-dirty bit is set by a write,
 * and `/proc/PID/clear_refs` clears those of the whole address space. A write between reading and clearing would be lost, so the
 * process stands still meanwhile.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { PAGE_IS_WRITTEN, PAGE_SIZE } from '../abi/index.js';
import {
  type AttachOptions,
  type FallbackPagemap,
  fallbackKnowledge,
  lockFile,
  ProcessError,
  ProcessStopper,
  softDirtyMissing,
} from '../live/internal.js';
import { isDevice, isKernelMade, isPrivate, type Mapping, mayBeWritten } from '../proc/internal.js';
import type { RegionVisitor } from '../query/index.js';
import { disposedError } from './disposed.js';
import { IntervalClock } from './interval-clock.js';
import type { Interval, MappingWrites, ProcessTracker, SkippedMapping } from './tracker.js';

/** Pages whose words are read at once: 512 KiB of words. */
const AT_ONCE = 65536;

/** Bits of a word's high half (`proc/pagemap-words.ts`). */
const PRESENT = 1 << 31;
const PRESENT_OR_SWAPPED = 3 << 30;
const FILE = 1 << 29;
const GUARD = 1 << 26;
const SOFT_DIRTY = 1 << 23;
const FRAME = 0x7fffff;

/** A list of runs of pages, first and last page number each, that grows without an object per run. */
class Runs {
  #numbers = new Float64Array(4096);
  #closed = 0;
  length = 0;

  clear(): void {
    this.length = 0;
    this.#closed = 0;
  }

  /** Ends the last run: what is added from here on does not extend it. */
  close(): void {
    this.#closed = this.length;
  }

  add(start: number, end: number): void {
    const numbers = this.#numbers;
    if (this.length > this.#closed && numbers[this.length * 2 - 1] === start) {
      numbers[this.length * 2 - 1] = end;
      return;
    }
    if (this.length * 2 === numbers.length) {
      this.#numbers = new Float64Array(numbers.length * 2);
      this.#numbers.set(numbers);
    }
    this.#numbers[this.length * 2] = start;
    this.#numbers[this.length++ * 2 + 1] = end;
  }

  start(index: number): number {
    return this.#numbers[index * 2]!;
  }

  end(index: number): number {
    return this.#numbers[index * 2 + 1]!;
  }
}

/** A mapping that was there when the bits were last cleared. */
interface Earlier {
  readonly start: number;
  readonly end: number;
  readonly inode: number;
  readonly offset: number;
}

/** Tracks by soft-dirty bits. Made by `trackProcess` where the kernel lacks write protection. */
export class SoftDirtyTracker implements ProcessTracker {
  readonly provider = 'fallback';
  readonly stopMs: number;
  readonly #pagemap: FallbackPagemap;
  readonly #stopper: ProcessStopper;
  readonly #clearRefs: number;
  readonly #zeroFrame = fallbackKnowledge().zeroFrame;
  readonly #words = new Uint32Array(AT_ONCE * 2);
  readonly #runs = new Runs();
  readonly #clock: IntervalClock;
  #earlier: readonly Earlier[] = [];
  #skipped: readonly SkippedMapping[] = [];
  #open = true;

  /**
   * Takes over the pagemap. Use `trackProcess`.
   *
   * @throws PagemapError EOPNOTSUPP where the kernel keeps no soft-dirty bits
   * @throws ProcessError 'traced' when another tracker of this kind is at work on it, and as `ProcessStopper`
   */
  constructor(pagemap: FallbackPagemap, options: AttachOptions = {}) {
    this.#pagemap = pagemap;
    const { pid, process } = pagemap;
    if (!fallbackKnowledge().softDirty) throw softDirtyMissing(pid);
    this.#stopper = new ProcessStopper(process, options);
    try {
      this.#clearRefs = openSync(process.path('clear_refs'), constants.O_WRONLY);
    } catch (error) {
      throw process.problem(error, `open /proc/${pid}/clear_refs`);
    }
    try {
      if (!lockFile(this.#clearRefs)) {
        throw new ProcessError(
          'traced',
          pid,
          'another tracker clears its soft-dirty bits; only one can',
          `track the writes of process ${pid}`,
        );
      }
      this.stopMs = this.#round(undefined).stopMs;
    } catch (error) {
      closeSync(this.#clearRefs);
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

  get skipped(): readonly SkippedMapping[] {
    return this.#skipped;
  }

  collect(visit?: RegionVisitor): Interval {
    if (!this.#open) throw disposedError(`collect writes of process ${this.pid}`, 'read(pagemap)');
    const before = performance.now();
    const { rows, writtenPages, stopMs } = this.#round(visit);
    return {
      ...this.#clock.end(before),
      stopMs,
      writtenPages,
      faultCount: rows.reduce((sum, row) => sum + (row.isNew ? 0 : row.writtenPages), 0),
      mappings: rows,
    };
  }

  #round(visit: RegionVisitor | undefined): { rows: MappingWrites[]; writtenPages: number; stopMs: number } {
    this.#runs.clear();
    const candidates: Mapping[] = [];
    const others: Mapping[] = [];
    const candidateRuns: { end: number; grown: boolean }[] = [];
    let stopMs: number;
    {
      using stopped = this.#stopper.stop();
      const mappings = this.#pagemap.mappings();
      // Asked after the list was taken: had it been another program's by then, this would tell.
      this.#pagemap.checkAlive();
      for (const mapping of mappings) {
        // One that was writable at the last look may hold writes from before that was taken from it.
        if (isKernelMade(mapping) || !(mayBeWritten(mapping) || this.#wasWritable(mapping))) continue;
        if (isDevice(mapping) || !isPrivate(mapping)) {
          others.push(mapping);
          continue;
        }
        const grown = this.#read(mapping.start / PAGE_SIZE, mapping.end / PAGE_SIZE);
        candidates.push(mapping);
        candidateRuns.push({ end: this.#runs.length, grown });
      }
      this.#clear();
      stopMs = stopped.elapsedMs;
    }

    const skipped = others.map(({ start, end, name, perms }): SkippedMapping => {
      return { start, end, name, reason: isPrivate({ perms }) ? 'device' : 'shared' };
    });
    const hugetlb = this.#pagemap.hugetlbMappings(candidates);
    const rows: MappingWrites[] = [];
    const earlier: Earlier[] = [];
    let writtenPages = 0;
    let run = 0;
    candidates.forEach((mapping, index) => {
      const { start, end, name, inode } = mapping;
      const { end: lastRun, grown } = candidateRuns[index]!;
      const offset = mapping.offset - start;
      if (hugetlb.has(mapping)) {
        skipped.push({ start, end, name, reason: 'hugetlb' });
        run = lastRun;
        return;
      }
      earlier.push({ start, end, inode, offset });
      const row: MappingWrites = {
        start,
        end,
        name,
        writtenPages: 0,
        isNew: grown || !this.#isKnown(mapping),
      };
      rows.push(row);
      for (; run < lastRun; run++) {
        const [from, to] = [this.#runs.start(run), this.#runs.end(run)];
        row.writtenPages += to - from;
        visit?.(from * PAGE_SIZE, to * PAGE_SIZE, PAGE_IS_WRITTEN);
      }
      writtenPages += row.writtenPages;
    });
    this.#earlier = earlier;
    this.#skipped = skipped.sort((a, b) => a.start - b.start);
    return { rows, writtenPages, stopMs };
  }

  /**
   * Notes the pages from `page` to `end` that exist and were written. True when the kernel takes all of the mapping for written,
   * as it does when it is new, has grown, or grown together with another: it shows in pages that do not exist.
   */
  #read(page: number, end: number): boolean {
    const words = this.#words;
    const zeroFrame = this.#zeroFrame;
    const runs = this.#runs;
    // A run ends with its mapping.
    runs.close();
    let grown = false;
    for (; page < end; page += AT_ONCE) {
      const wanted = Math.min(AT_ONCE, end - page);
      const pages = this.#pagemap.readWords(page * PAGE_SIZE, words.subarray(0, wanted * 2));
      for (let index = 0; index < pages; index++) {
        const high = words[index * 2 + 1]!;
        if ((high & SOFT_DIRTY) === 0 || (high & GUARD) !== 0) continue;
        if ((high & PRESENT_OR_SWAPPED) === 0) {
          grown = true;
          continue;
        }
        if ((high & PRESENT) !== 0) {
          // Of private memory that is the file's own page, or the huge zero page: nobody has written it.
          if ((high & FILE) !== 0) continue;
          if (words[index * 2] === zeroFrame && (high & FRAME) === 0) continue;
        }
        runs.add(page + index, page + index + 1);
      }
    }
    return grown;
  }

  #clear(): void {
    try {
      writeSync(this.#clearRefs, '4');
    } catch (error) {
      throw this.#pagemap.process.problem(error, `write to /proc/${this.pid}/clear_refs`);
    }
  }

  #wasWritable({ start, end }: Mapping): boolean {
    const overlaps = (earlier: { readonly start: number; readonly end: number }) =>
      earlier.start < end && earlier.end > start;
    return this.#earlier.some(overlaps) || this.#skipped.some(overlaps);
  }

  /** Whether all of it was there when the bits were cleared. */
  #isKnown({ start, end, inode, offset }: Mapping): boolean {
    let at = start;
    for (const earlier of this.#earlier) {
      if (earlier.end <= at) continue;
      if (earlier.start > at) return false;
      if (earlier.inode !== inode || (inode !== 0 && earlier.offset !== offset - start)) return false;
      at = earlier.end;
      if (at >= end) return true;
    }
    return false;
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#clearRefs);
    this.#pagemap[Symbol.dispose]();
  }
}
