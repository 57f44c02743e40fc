/** Intervals and layouts into Parquet files. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, statSync } from 'node:fs';
import { hostname, release } from 'node:os';
import { dirname, join } from 'node:path';
import { codeOf, PAGE_SIZE } from '../abi/internal.js';
import { requireSmallPages } from '../live/internal.js';
import { mappingKind } from '../model/index.js';
import type { Owner } from '../owners/index.js';
import { ownerText } from '../owners/internal.js';
import type { AddressRange } from '../query/index.js';
import type { SkippedMapping, Subject } from '../track/internal.js';
import { Buckets } from './buckets.js';
import { CompleteFile } from './complete-file.js';
import { RecordingError } from './errors.js';
import type { MappingLayout } from './layout.js';
import { dateOf, partPath, WorkingFolder } from './place.js';
import {
  PART_ROWS,
  RECORDING_SCHEMA,
  type RecordingEnd,
  type RecordingInfo,
  type Row,
  WORKING_SET_WINDOWS_MS,
} from './schema.js';
import { Table } from './table.js';

/** The process that is recorded. */
export interface RecordedProcess {
  readonly pid: number;
  /** As in /proc/PID/comm. */
  readonly name: string;
  readonly commandLine: string;
}

export interface RecorderOptions {
  /** The interval between two collects, milliseconds. It is only noted for readers. */
  readonly intervalMs: number;
  readonly toolVersion: string;
  /** This machine's name by default. */
  readonly host?: string | undefined;
  /** How long rows may wait before they are written to the file, milliseconds; 30 s by default. */
  readonly flushMs?: number | undefined;
  /**
   * Only for folders: the longest time that one file covers, milliseconds; an hour by default. A file also ends at
   * midnight UTC.
   */
  readonly rotateMs?: number | undefined;
  /** Only for folders: a file is ended when it is larger than this, bytes; 64 MiB by default. */
  readonly rotateBytes?: number | undefined;
  /**
   * What the intervals count; writes by default. In a recording of accesses, "written" stands for "accessed" in all
   * numbers.
   */
  readonly subject?: Subject | undefined;
  /**
   * The share of all pages that is tracked, from 0 to 1. Regions are those of the sample; counts are estimates for all
   * pages.
   */
  readonly sampled?: number | undefined;
  /** Gives the owner of a mapping, as in `OwnedMapping`; undefined where none is known. */
  readonly ownerOf?: ((mapping: AddressRange) => Owner | undefined) | undefined;
  /** Writes are not tracked, so no intervals will come. Noted for readers. */
  readonly layoutOnly?: boolean | undefined;
  /** Only for files: replace one that is there. */
  readonly force?: boolean | undefined;
  /** Milliseconds since 1970; the clock, unless a test has another one. */
  readonly now?: (() => number) | undefined;
}

/** The writes or accesses of one interval: an `Interval` of a tracker is one. */
export interface RecordedInterval {
  readonly elapsedMs: number;
  readonly intervalMs: number;
  readonly scanMs: number;
  readonly writtenPages: number;
  /** With a sample: the error of `writtenPages`, pages. */
  readonly errorPages?: number | undefined;
  /** In address order. */
  readonly mappings: readonly {
    readonly start: number;
    readonly end: number;
    readonly name: string;
    readonly isNew?: boolean | undefined;
  }[];
}

/** Details of an interval that the tracker does not give. */
export interface IntervalDetails {
  readonly late: boolean;
  /** Distinct pages since the beginning. */
  readonly distinctPages: number;
  /** Distinct pages in the windows of `WORKING_SET_WINDOWS_MS` that end here. */
  readonly workingSet: readonly number[];
  readonly skipped?: readonly SkippedMapping[] | undefined;
  /** An estimate of what the interval cost the process, milliseconds: page faults and stops. */
  readonly targetCostMs?: number | undefined;
}

/** Flushing may take this share of the time: a large file is flushed less often. */
const FLUSH_SHARE = 0.02;

const DAY_MS = 86_400_000;

/** A file that is being written. */
interface Part {
  readonly path: string;
  readonly file: CompleteFile;
  readonly table: Table;
  beganAt: number;
}

/** The totals of a recording so far. */
export interface RecorderTotals {
  readonly intervals: number;
  readonly rows: number;
  readonly writtenPages: number;
  /** The size of all files. */
  readonly bytes: number;
  /** The files that were written, in order. */
  readonly files: readonly string[];
}

/** A path that ends so is a file, any other one a folder. */
export function isRecordingFile(path: string): boolean {
  return path.endsWith('.parquet');
}

/**
 * Writes a recording: to one file, whose name ends in `.parquet`, or to a folder, in which files are rotated and their paths
 * say host, date and process as Hive's partitions do (`host=web-1/date=2026-11-22/pid=1234/…`).
 *
 * Each file is complete at every moment: after a kill or a power failure, it has everything up to the last flush.
 * Memory is bounded by the rows of three row groups.
 *
 * @example
 * ```ts
 * import { mkdtempSync, rmSync } from 'node:fs';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { openRecording, Recorder } from 'pagemap-scan/record';
 * const folder = mkdtempSync(join(tmpdir(), 'recording-'));
 * const file = join(folder, 'one.parquet');
 * const recorder = await Recorder.create(file, { pid: 1, name: 'init', commandLine: 'init' }, {
 *   intervalMs: 1000,
 *   toolVersion: '1.0.0',
 * });
 * recorder.region(0x1000, 0x3000);
 * const mappings = [{ start: 0x1000, end: 0x9000, name: '[heap]' }];
 * await recorder.interval(
 *   { elapsedMs: 1000, intervalMs: 1000, scanMs: 1, writtenPages: 2, mappings },
 *   { late: false, distinctPages: 2, workingSet: [2, 2, 2] },
 * );
 * await recorder.close('duration');
 * const recording = await openRecording(file);
 * console.assert(recording.info.pid === 1 && recording.rows === 2);
 * rmSync(folder, { recursive: true });
 * ```
 */
export class Recorder {
  readonly recording = randomBytes(4).toString('hex');
  readonly #target: string;
  readonly #process: RecordedProcess;
  readonly #options: RecorderOptions;
  readonly #host: string;
  readonly #now: () => number;
  readonly #startedAt: number;
  readonly #folder: WorkingFolder;
  readonly #inFolder: boolean;
  readonly #buckets = new Buckets();
  /** Of the last layout, by start: intervals do not tell. */
  #prots = new Map<number, string>();
  #skipped: readonly SkippedMapping[] = [];
  #part: Part | undefined;
  /** The clock's time at the last look at it. */
  #latest = 0;
  #flushDue = 0;
  /** Flushes what waits when nothing comes that would. */
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> = Promise.resolve();
  #failure: unknown;
  #closed = false;
  #doneBytes = 0;
  #doneRows = 0;
  #intervals = 0;
  #writtenPages = 0;
  readonly #files: string[] = [];

  private constructor(target: string, recorded: RecordedProcess, options: RecorderOptions) {
    this.#target = target;
    this.#process = recorded;
    this.#options = options;
    this.#host = options.host ?? hostname();
    this.#now = options.now ?? Date.now;
    this.#startedAt = this.#time();
    this.#inFolder = !isRecordingFile(target);
    if (this.#inFolder) mkdirSync(target, { recursive: true });
    else if (!options.force && statSync(target, { throwIfNoEntry: false }) !== undefined) {
      throw new RecordingError(
        'exists',
        `record to ${target}`,
        'there is such a file already; give another name, or a folder, or replace it with --force',
      );
    }
    this.#folder = this.#inFolder
      ? WorkingFolder.inFolder(target, this.recording)
      : WorkingFolder.forFile(target);
  }

  /**
   * Begins a recording. Its file exists from now on, without rows.
   *
   * @throws RecordingError when it cannot be written there
   */
  static async create(
    target: string,
    recorded: RecordedProcess,
    options: RecorderOptions,
  ): Promise<Recorder> {
    requireSmallPages(`record to ${target}`);
    let recorder: Recorder | undefined;
    try {
      recorder = new Recorder(target, recorded, options);
      recorder.#part = await recorder.#begin(recorder.#startedAt);
      await recorder.#write(recorder.#part, undefined);
      return recorder;
    } catch (error) {
      await recorder?.abandon();
      throw ioError(error, `record to ${target}`);
    }
  }

  get totals(): RecorderTotals {
    return {
      intervals: this.#intervals,
      rows: this.#doneRows + (this.#part?.table.rows ?? 0),
      writtenPages: this.#writtenPages,
      bytes: this.#doneBytes + (this.#part?.file.bytes ?? 0),
      files: this.#files,
    };
  }

  /** Takes a run of pages that was written in the current interval, bytes. Pass it to a tracker's `collect`. */
  region(start: number, end: number): void {
    this.#buckets.add(start, end);
  }

  /** Ends an interval. @throws RecordingError when what came before could not be written */
  async interval(interval: RecordedInterval, details: IntervalDetails): Promise<void> {
    const time = this.#beginRows();
    await this.#rotateAt(time);
    const { elapsedMs, intervalMs, scanMs, writtenPages, errorPages, mappings } = interval;
    const { subject = 'writes', sampled = 1 } = this.#options;
    const [part, column] = PART_ROWS[subject];
    if (details.skipped !== undefined) this.#skipped = details.skipped;
    const { table } = this.#part!;
    const common = { ...this.#common(time, elapsedMs), interval_ms: rounded(intervalMs) };
    this.#intervals++;
    this.#writtenPages += writtenPages;
    const [tenSeconds, minute, tenMinutes] = details.workingSet;
    table.add('interval', common, {
      scan_ms: rounded(scanMs),
      target_cost_ms: details.targetCostMs === undefined ? null : rounded(details.targetCostMs),
      late: details.late,
      [column]: writtenPages,
      [subject === 'writes' ? 'written_error_pages' : 'accessed_error_pages']: errorPages ?? 0,
      distinct_pages: details.distinctPages,
      working_set_10s_pages: tenSeconds ?? null,
      working_set_1m_pages: minute ?? null,
      working_set_10m_pages: tenMinutes ?? null,
    });
    this.#buckets.deal(mappings, (index, offset, bytes, pages) => {
      const { start, end, name, isNew } = mappings[index]!;
      const prot = this.#prots.get(start);
      table.add(part, common, {
        start_address: start,
        size_bytes: end - start,
        name,
        kind: mappingKind(name, prot ?? ''),
        ...this.#ownerOf(mappings[index]!),
        is_new: isNew === true,
        bucket_offset: offset,
        bucket_bytes: bytes,
        [column]: Math.round(pages / sampled),
      });
    });
    await this.#flushAt(time);
  }

  #ownerOf(mapping: AddressRange): Pick<Row, 'owner' | 'owner_kind'> {
    const owner = this.#options.ownerOf?.(mapping);
    return owner === undefined ? {} : { owner: ownerText(owner), owner_kind: owner.kind };
  }

  /** Takes the pages of all mappings as of now. */
  async layout(mappings: readonly MappingLayout[], elapsedMs: number): Promise<void> {
    const time = this.#beginRows();
    await this.#rotateAt(time);
    const common = this.#common(time, elapsedMs);
    this.#prots = new Map(mappings.map(({ mapping }) => [mapping.start, mapping.perms]));
    for (const { mapping, kinds, grid, idle, ...counts } of mappings) {
      const { start, end, name, perms, deleted } = mapping;
      const [huge, anonymous, file, zero, swapped, guard] = kinds;
      this.#part!.table.add('layout', common, {
        start_address: start,
        size_bytes: end - start,
        name,
        kind: mappingKind(name, perms),
        ...this.#ownerOf(mapping),
        prot: perms,
        deleted: deleted === true,
        present_pages: counts.present,
        swapped_pages: counts.swapped,
        file_pages: counts.file,
        pfnzero_pages: counts.pfnzero,
        huge_pages: counts.huge,
        guard_pages: counts.guard,
        kind_huge_pages: huge ?? null,
        kind_anonymous_pages: anonymous ?? null,
        kind_file_pages: file ?? null,
        kind_zero_pages: zero ?? null,
        kind_swapped_pages: swapped ?? null,
        kind_guard_pages: guard ?? null,
        idle_1m_pages: idle?.[0] ?? null,
        idle_10m_pages: idle?.[1] ?? null,
        idle_1h_pages: idle?.[2] ?? null,
        cell_bytes: grid === undefined ? null : grid.cellBytes,
        cells: grid === undefined ? null : new Uint8Array(grid.cells.buffer),
        age_cells: grid?.ages === undefined ? null : new Uint8Array(grid.ages.buffer),
      });
    }
    this.#part!.table.settle('layout');
    // Where there are no intervals nobody else does.
    if (this.#options.layoutOnly) await this.#flushAt(time);
    await this.#flushing;
    this.#check();
    this.#flushLater(time);
  }

  /** Writes all rows to the file; the recording goes on. @throws RecordingError when it cannot be written */
  async flush(): Promise<void> {
    this.#beginRows();
    await this.#flushing;
    this.#check();
    if (this.#part !== undefined) this.#startFlush(this.#part);
    await this.#flushing;
    this.#check();
  }

  /** Writes all rows to the file and ends the recording. */
  async close(end: RecordingEnd): Promise<void> {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    await this.#flushing;
    const part = this.#part;
    try {
      this.#check();
      if (part !== undefined) await this.#write(part, end);
    } catch (error) {
      throw ioError(error, `write ${part?.path ?? this.#target}`);
    } finally {
      await this.abandon();
    }
  }

  /** Ends the recording without a flush; rows that were flushed before stay. Not needed after `close`. */
  async abandon(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#flushing;
    if (this.#part !== undefined) await this.#end(this.#part);
    this.#part = undefined;
    this.#folder[Symbol.dispose]();
  }

  /**
   * The clock's time. When the clock was set back, due times move back by as much, so that nothing waits for the clock
   * to catch up.
   */
  #time(): number {
    const time = this.#now();
    const back = time - this.#latest;
    this.#latest = time;
    if (back < 0) {
      this.#flushDue += back;
      if (this.#part !== undefined) this.#part.beganAt += back;
    }
    return time;
  }

  /** Rows are coming: whoever flushes until they are all there would flush some of them. */
  #beginRows(): number {
    clearTimeout(this.#timer);
    return this.#time();
  }

  #common(time: number, elapsedMs: number): Row {
    return {
      time,
      host: this.#host,
      pid: this.#process.pid,
      process: this.#process.name,
      recording: this.recording,
      elapsed_ms: rounded(elapsedMs),
    };
  }

  #check(): void {
    if (this.#failure !== undefined)
      throw ioError(this.#failure, `write ${this.#part?.path ?? this.#target}`);
  }

  #info(end: RecordingEnd | undefined): RecordingInfo {
    return {
      schema: RECORDING_SCHEMA,
      recording: this.recording,
      host: this.#host,
      pid: this.#process.pid,
      process: this.#process.name,
      commandLine: this.#process.commandLine,
      startedAt: new Date(this.#startedAt).toISOString(),
      intervalMs: this.#options.intervalMs,
      pageSize: PAGE_SIZE,
      workingSetWindowsMs: WORKING_SET_WINDOWS_MS,
      kernel: release(),
      toolVersion: this.#options.toolVersion,
      ...(this.#options.subject === 'accesses' ? { subject: 'accesses' } : {}),
      ...(this.#options.sampled === undefined ? {} : { sampled: this.#options.sampled }),
      ...(this.#options.ownerOf === undefined ? {} : { owners: true }),
      ...(this.#options.layoutOnly ? { layoutOnly: true } : {}),
      skipped: this.#skipped.map(({ name, start, reason }) => ({ name, start, reason })),
      ...(end === undefined ? {} : { end }),
    };
  }

  async #begin(time: number): Promise<Part> {
    const path = this.#inFolder
      ? join(this.#target, partPath(this.#host, this.#process.pid, this.recording, new Date(time)))
      : this.#target;
    mkdirSync(dirname(path), { recursive: true });
    const file = await CompleteFile.create(path, this.#folder.path);
    this.#files.push(path);
    this.#flushDue = time + (this.#options.flushMs ?? 30_000);
    return { path, file, table: new Table(), beganAt: time };
  }

  async #end(part: Part): Promise<void> {
    this.#doneBytes += part.file.bytes;
    this.#doneRows += part.table.rows;
    await part.file.close();
  }

  async #write({ file, table }: Part, end: RecordingEnd | undefined): Promise<void> {
    const { head, tail } = table.flush(this.#info(end));
    await file.append(head, tail);
  }

  /** Ends the file and begins the next one when it is time to. */
  async #rotateAt(time: number): Promise<void> {
    const part = this.#part;
    if (!this.#inFolder || part === undefined || part.table.rows === 0) return;
    const { rotateMs = 3_600_000, rotateBytes = 64 * 2 ** 20 } = this.#options;
    const newDay = dateOf(new Date(time)) !== dateOf(new Date(part.beganAt));
    const due = newDay || time - part.beganAt >= Math.min(rotateMs, DAY_MS) || part.file.bytes >= rotateBytes;
    // Names tell seconds.
    if (!due || time - part.beganAt < 1000) return;
    await this.#flushing;
    this.#check();
    try {
      await this.#write(part, 'rotated');
      await this.#end(part);
      this.#part = undefined;
      this.#part = await this.#begin(time);
    } catch (error) {
      throw ioError(error, `write ${part.path}`);
    }
  }

  async #flushAt(time: number): Promise<void> {
    this.#check();
    if (time < this.#flushDue) {
      this.#flushLater(time);
      return;
    }
    // A disk that cannot keep up slows us down, instead of filling our memory.
    await this.#flushing;
    this.#check();
    this.#startFlush(this.#part!);
  }

  #startFlush(part: Part): void {
    const before = performance.now();
    this.#flushing = this.#write(part, undefined).then(
      () => {
        const tookMs = performance.now() - before;
        this.#flushDue = this.#time() + Math.max(this.#options.flushMs ?? 30_000, tookMs / FLUSH_SHARE);
      },
      (error) => {
        this.#failure = error;
      },
    );
    this.#flushDue = Number.POSITIVE_INFINITY;
  }

  /** Flushes in time, if nothing comes before that does. What fails is told at the next call. */
  #flushLater(time: number): void {
    // One that is going on sets the time of the next.
    if (this.#flushDue === Number.POSITIVE_INFINITY || this.#part === undefined) return;
    const flush = () => {
      if (!this.#closed && this.#part !== undefined) this.#startFlush(this.#part);
    };
    this.#timer = setTimeout(flush, Math.min(this.#flushDue - time, DAY_MS)).unref();
  }
}

/** Clocks tell microseconds; more digits would only look exact, and take room. */
function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000;
}

/** What to do about the most frequent ones. */
const WHY: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full; what was flushed before is complete',
  EDQUOT: 'the quota is used up; what was flushed before is complete',
  EACCES: 'it may not be written; give a folder that is yours',
  EPERM: 'it may not be written; give a folder that is yours',
  EROFS: 'the file system can only be read',
  ENOENT: 'there is no such folder',
  ENOTDIR: 'a part of the path is a file, not a folder; files to record to end in .parquet',
  EEXIST: 'it is a file; files to record to end in .parquet',
  EISDIR: 'it is a folder; folders to record to do not end in .parquet',
};

function ioError(error: unknown, action: string): unknown {
  const code = codeOf(error);
  if (error instanceof RecordingError || code === undefined) return error;
  return new RecordingError('io', action, WHY[code] ?? (error as Error).message, { cause: error });
}
