/** Recordings read back: files and folders, row group by row group. */

import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import {
  type AsyncBuffer,
  type FileMetaData,
  type ParquetScan,
  parquetMetadataAsync,
  parquetScan,
} from 'hyparquet';
import { codeOf } from '../abi/internal.js';
import { RecordingError } from './errors.js';
import {
  type ColumnName,
  INFO_KEY,
  RECORDING_SCHEMA,
  type RecordingInfo,
  type RecordKind,
} from './schema.js';

/** The end of a file, in which the footer is most of the time. */
const FOOTER_BYTES = 1 << 16;

/** A file of a recording. */
interface Part {
  readonly path: string;
  readonly info: RecordingInfo;
  readonly metadata: FileMetaData;
}

/** Some rows of one kind, in the order of recording. Valid until the next group is asked for. */
export interface RowGroup {
  readonly rows: number;
  /** A column as numbers, NaN for null: addresses and sizes in bytes, times in milliseconds (since 1970, or of elapsed time). */
  numbers(column: ColumnName): Promise<Float64Array>;
  /** A column of text, booleans or bytes, as it is. */
  values(column: ColumnName): Promise<ArrayLike<unknown>>;
}

class OpenFile implements AsyncBuffer, AsyncDisposable {
  readonly byteLength: number;
  readonly #file: FileHandle;

  private constructor(file: FileHandle, byteLength: number) {
    this.#file = file;
    this.byteLength = byteLength;
  }

  static async open(path: string): Promise<OpenFile> {
    const file = await open(path, 'r');
    try {
      return new OpenFile(file, (await file.stat()).size);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async slice(start: number, end: number = this.byteLength): Promise<ArrayBuffer> {
    const bytes = new Uint8Array(end - start);
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await this.#file.read(bytes, done, bytes.length - done, start + done);
      if (bytesRead === 0) throw new Error('the file ends too early');
      done += bytesRead;
    }
    return bytes.buffer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

async function readPart(path: string): Promise<Part> {
  const fail = (why: string, cause?: unknown) => new RecordingError('format', `read ${path}`, why, { cause });
  let metadata: FileMetaData;
  {
    await using file = await OpenFile.open(path);
    try {
      metadata = await parquetMetadataAsync(file, { initialFetchSize: FOOTER_BYTES });
    } catch (error) {
      throw fail('it is not Parquet, or only a part of a file', error);
    }
  }
  const text = metadata.key_value_metadata?.find(({ key }) => key === INFO_KEY)?.value;
  if (text === undefined) throw fail('it is not a recording: no `pmscan record` wrote it');
  let info: RecordingInfo;
  try {
    info = JSON.parse(text);
  } catch (error) {
    throw fail('its metadata are damaged', error);
  }
  if (info.schema !== RECORDING_SCHEMA) {
    throw fail(`it is of version ${String(info.schema)}, and this program knows ${RECORDING_SCHEMA}`);
  }
  return { path, info, metadata };
}

/** The files of recordings in a folder and those below, or the one file. */
async function filesOf(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const found: string[] = [];
  const walk = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      // Hidden folders are recorders' own, and come and go.
      if (entry.name.startsWith('.')) continue;
      const below = join(folder, entry.name);
      if (entry.isDirectory()) await walk(below);
      else if (entry.name.endsWith('.parquet')) found.push(below);
    }
  };
  await walk(path);
  return found.sort();
}

async function openParts(path: string, recording?: string): Promise<Part[]> {
  let files: string[];
  try {
    files = await filesOf(path);
  } catch (error) {
    const missing = codeOf(error) === 'ENOENT';
    const why = missing ? 'there is no such file or folder' : (error as Error).message;
    throw new RecordingError('io', `read ${path}`, why, { cause: error });
  }
  const parts: Part[] = [];
  for (const file of files) {
    const part = await readPart(file);
    if (recording === undefined || part.info.recording === recording) parts.push(part);
  }
  return parts;
}

/** What `listRecordings` finds. */
export interface FoundRecording {
  readonly info: RecordingInfo;
  readonly files: readonly string[];
  readonly rows: number;
}

/**
 * The recordings in a file, or in a folder and its subfolders, in the order of their start.
 *
 * @throws RecordingError
 * @example
 * ```ts
 * import { mkdtempSync, rmSync } from 'node:fs';
 * import { listRecordings, Recorder } from 'pagemap-scan/record';
 * const folder = mkdtempSync('/tmp/recordings-');
 * const init = { pid: 1, name: 'init', commandLine: 'init' };
 * const recorder = await Recorder.create(folder, init, { intervalMs: 1000, toolVersion: '1.0.0' });
 * await recorder.close('interrupt');
 * const [found] = await listRecordings(folder);
 * console.assert(found?.info.recording === recorder.recording && found.info.end === 'interrupt');
 * rmSync(folder, { recursive: true });
 * ```
 */
export async function listRecordings(path: string): Promise<FoundRecording[]> {
  const found = new Map<string, { info: RecordingInfo; files: string[]; rows: number }>();
  for (const { path: file, info, metadata } of await openParts(path)) {
    const known = found.get(info.recording) ?? { info, files: [], rows: 0 };
    known.files.push(file);
    known.rows += Number(metadata.num_rows);
    // The last file knows how it ended.
    known.info = info;
    found.set(info.recording, known);
  }
  return [...found.values()].sort((a, b) => (a.info.startedAt < b.info.startedAt ? -1 : 1));
}

/**
 * A recording, open for reading. It opens its files one at a time, when they are read.
 *
 * @example
 * ```ts
 * import { mkdtempSync, rmSync } from 'node:fs';
 * import { openRecording, Recorder, type Recording } from 'pagemap-scan/record';
 * const folder = mkdtempSync('/tmp/recordings-');
 * const init = { pid: 1, name: 'init', commandLine: 'init' };
 * const recorder = await Recorder.create(folder, init, { intervalMs: 1000, toolVersion: '1.0.0' });
 * await recorder.interval(
 *   { elapsedMs: 1000, intervalMs: 1000, scanMs: 1, writtenPages: 2, mappings: [] },
 *   { late: false, distinctPages: 2, workingSet: [2, 2, 2] },
 * );
 * await recorder.close('duration');
 * const recording: Recording = await openRecording(folder);
 * for await (const group of recording.groups('interval', ['written_pages']))
 *   console.assert((await group.numbers('written_pages')).join() === '2');
 * console.assert(recording.info.process === 'init' && recording.rows === 1);
 * rmSync(folder, { recursive: true });
 * ```
 */
export class Recording {
  /** The metadata of its last file. */
  readonly info: RecordingInfo;
  readonly files: readonly string[];
  readonly rows: number;
  readonly #parts: readonly Part[];

  /** @internal Use {@link openRecording}. */
  constructor(parts: readonly Part[]) {
    this.#parts = parts;
    this.info = parts.at(-1)!.info;
    this.files = parts.map(({ path }) => path);
    this.rows = parts.reduce((sum, { metadata }) => sum + Number(metadata.num_rows), 0);
  }

  /**
   * The rows of one kind in pieces, in time order. It holds one row group in memory.
   *
   * @param columns the columns that will be read
   * @param since an `elapsed_ms`: row groups that end before it are left out
   * @throws RecordingError 'format' where a file is damaged
   */
  async *groups(
    kind: RecordKind,
    columns: readonly ColumnName[],
    since = Number.NEGATIVE_INFINITY,
  ): AsyncGenerator<RowGroup, void, undefined> {
    for (const part of this.#parts) {
      await using file = await OpenFile.open(part.path);
      const scan = await parquetScan({
        file,
        metadata: part.metadata,
        columns: [...new Set<string>(['record', ...columns])],
        pruningFilter: { record: { $eq: kind } },
        compressors: { GZIP: (input) => gunzipSync(input) },
        // Text says that it is text; the cells of a layout are bytes.
        utf8: false,
        // Milliseconds as a number: a Date each would only cost.
        parsers: { timestampFromMilliseconds: Number },
      });
      for (const { rowStart, rowEnd } of scan.ranges) {
        if (lastElapsed(part.metadata, rowStart) < since) continue;
        const group = new Group(scan, rowStart, rowEnd, part.path);
        if ((await group.values('record'))[0] === kind) yield group;
      }
    }
  }
}

/** The largest `elapsed_ms` in the row group that begins with a row; infinite where the file does not tell. */
function lastElapsed(metadata: FileMetaData, row: number): number {
  let first = 0;
  for (const group of metadata.row_groups) {
    if (first === row) {
      const column = group.columns.find(
        ({ meta_data }) => meta_data?.path_in_schema[0] === ('elapsed_ms' satisfies ColumnName),
      );
      const most = column?.meta_data?.statistics?.max_value;
      return typeof most === 'number' ? most : Number.POSITIVE_INFINITY;
    }
    first += Number(group.num_rows);
  }
  return Number.POSITIVE_INFINITY;
}

class Group implements RowGroup {
  readonly rows: number;
  readonly #scan: ParquetScan;
  readonly #start: number;
  readonly #path: string;

  constructor(scan: ParquetScan, start: number, end: number, path: string) {
    this.rows = end - start;
    this.#scan = scan;
    this.#start = start;
    this.#path = path;
  }

  async values(column: ColumnName): Promise<ArrayLike<unknown>> {
    const [rowStart, rowEnd] = [this.#start, this.#start + this.rows];
    try {
      return await this.#scan.readColumn({ column, rowStart, rowEnd });
    } catch (error) {
      throw new RecordingError(
        'format',
        `read ${this.#path}`,
        `it is damaged, or is being written just now: then try again (${(error as Error).message})`,
        {
          cause: error,
        },
      );
    }
  }

  async numbers(column: ColumnName): Promise<Float64Array> {
    const values = await this.values(column);
    const result = new Float64Array(this.rows);
    let last: unknown;
    let number = Number.NaN;
    for (let index = 0; index < result.length; index++) {
      const value = values[index];
      // Values come in runs, and making numbers of bigints takes its time.
      if (value !== last) {
        last = value;
        number = value === null || value === undefined ? Number.NaN : Number(value);
      }
      result[index] = number;
    }
    return result;
  }
}

/**
 * Opens a recording: a file, or a folder that `pmscan record` wrote to. In a folder with several recordings, choose
 * one.
 *
 * @param recording its eight digits, from `listRecordings`
 * @throws RecordingError 'io' or 'format', or when there are several
 * @example
 * ```ts
 * import { openRecording, RecordingError } from 'pagemap-scan/record';
 * const reason = await openRecording('/no/such/folder').catch((error: RecordingError) => error.reason);
 * console.assert(reason === 'io');
 * ```
 */
export async function openRecording(path: string, recording?: string): Promise<Recording> {
  const parts = await openParts(path, recording);
  const all = new Map(parts.map(({ info }) => [info.recording, info]));
  if (parts.length === 0) {
    const what = recording === undefined ? 'a recording' : `recording ${recording}`;
    throw new RecordingError('io', `read ${path}`, `there is no file of ${what} in it`);
  }
  if (all.size > 1) {
    const list = [...all.values()]
      .slice(0, 10)
      .map((info) => `  ${info.recording}  ${info.startedAt}  process ${info.pid} on ${info.host}`);
    throw new RecordingError(
      'io',
      `choose one of ${all.size} recordings in ${path}`,
      `name one:\n${list.join('\n')}${all.size > 10 ? '\n  ...' : ''}`,
    );
  }
  return new Recording(parts);
}
