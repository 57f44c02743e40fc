/** The table that a recording is: its columns, their units, and what is in which kind of row. */
import type { SchemaElement } from 'hyparquet';

export const RECORDING_SCHEMA = 'pagemap-scan/recording@1';

/** The kinds of rows; column `record` tells them apart. A row group holds rows of one kind. */
export const RECORDS = ['interval', 'write', 'access', 'layout'] as const;
export type RecordKind = (typeof RECORDS)[number];

export type ColumnType = 'string' | 'int32' | 'int64' | 'double' | 'boolean' | 'timestamp' | 'bytes';

export interface Column {
  readonly name: string;
  readonly type: ColumnType;
  /** The kinds of rows that have this column; null in others. */
  readonly of: readonly RecordKind[];
  /** Each row group has the column's smallest and largest value, so that readers can skip groups. */
  readonly statistics?: boolean | undefined;
}

const ALL = RECORDS;
/** Rows of parts of mappings. */
const PARTS: readonly RecordKind[] = ['write', 'access'];
const MAPPED: readonly RecordKind[] = [...PARTS, 'layout'];

/** The kinds of rows for writes and accesses, each with its column of pages. */
export const PART_ROWS = {
  writes: ['write', 'written_pages'],
  accesses: ['access', 'accessed_pages'],
} as const;

/** How long the windows of the working set are, milliseconds; in the order of their columns. */
export const WORKING_SET_WINDOWS_MS = [10_000, 60_000, 600_000] as const;

/** In the order of the file; docs/reference/recording.md explains them. */
export const COLUMNS = [
  { name: 'record', type: 'string', of: ALL, statistics: true },
  { name: 'time', type: 'timestamp', of: ALL, statistics: true },
  { name: 'host', type: 'string', of: ALL, statistics: true },
  { name: 'pid', type: 'int32', of: ALL, statistics: true },
  { name: 'process', type: 'string', of: ALL, statistics: true },
  { name: 'recording', type: 'string', of: ALL },
  { name: 'elapsed_ms', type: 'double', of: ALL, statistics: true },
  { name: 'interval_ms', type: 'double', of: ['interval', ...PARTS] },
  { name: 'written_pages', type: 'int32', of: ['interval', 'write'] },
  { name: 'written_error_pages', type: 'int32', of: ['interval'] },
  { name: 'accessed_pages', type: 'int32', of: ['interval', 'access'] },
  { name: 'accessed_error_pages', type: 'int32', of: ['interval'] },
  { name: 'scan_ms', type: 'double', of: ['interval'] },
  { name: 'target_cost_ms', type: 'double', of: ['interval'] },
  { name: 'late', type: 'boolean', of: ['interval'] },
  { name: 'distinct_pages', type: 'int64', of: ['interval'] },
  { name: 'working_set_10s_pages', type: 'int64', of: ['interval'] },
  { name: 'working_set_1m_pages', type: 'int64', of: ['interval'] },
  { name: 'working_set_10m_pages', type: 'int64', of: ['interval'] },
  { name: 'start_address', type: 'int64', of: MAPPED },
  { name: 'size_bytes', type: 'int64', of: MAPPED },
  { name: 'name', type: 'string', of: MAPPED },
  { name: 'kind', type: 'string', of: MAPPED },
  { name: 'owner', type: 'string', of: MAPPED },
  { name: 'owner_kind', type: 'string', of: MAPPED },
  { name: 'is_new', type: 'boolean', of: PARTS },
  { name: 'bucket_offset', type: 'int64', of: PARTS },
  { name: 'bucket_bytes', type: 'int64', of: PARTS },
  { name: 'prot', type: 'string', of: ['layout'] },
  { name: 'deleted', type: 'boolean', of: ['layout'] },
  { name: 'present_pages', type: 'int64', of: ['layout'] },
  { name: 'swapped_pages', type: 'int64', of: ['layout'] },
  { name: 'file_pages', type: 'int64', of: ['layout'] },
  { name: 'pfnzero_pages', type: 'int64', of: ['layout'] },
  { name: 'huge_pages', type: 'int64', of: ['layout'] },
  { name: 'guard_pages', type: 'int64', of: ['layout'] },
  { name: 'kind_huge_pages', type: 'int64', of: ['layout'] },
  { name: 'kind_anonymous_pages', type: 'int64', of: ['layout'] },
  { name: 'kind_file_pages', type: 'int64', of: ['layout'] },
  { name: 'kind_zero_pages', type: 'int64', of: ['layout'] },
  { name: 'kind_swapped_pages', type: 'int64', of: ['layout'] },
  { name: 'kind_guard_pages', type: 'int64', of: ['layout'] },
  { name: 'idle_1m_pages', type: 'int64', of: ['layout'] },
  { name: 'idle_10m_pages', type: 'int64', of: ['layout'] },
  { name: 'idle_1h_pages', type: 'int64', of: ['layout'] },
  { name: 'cell_bytes', type: 'int64', of: ['layout'] },
  { name: 'cells', type: 'bytes', of: ['layout'] },
  { name: 'age_cells', type: 'bytes', of: ['layout'] },
] as const satisfies readonly Column[];

export type ColumnName = (typeof COLUMNS)[number]['name'];

/** A row: what is missing is null. Addresses and sizes are bytes, times milliseconds. */
export type Row = { readonly [name in ColumnName]?: string | number | boolean | Uint8Array | null };

/** Columns that no row lacks. */
export function isRequired(column: Column): boolean {
  return column.of.length === RECORDS.length;
}

const PARQUET: Readonly<Record<ColumnType, Pick<SchemaElement, 'type' | 'converted_type'>>> = {
  string: { type: 'BYTE_ARRAY', converted_type: 'UTF8' },
  int32: { type: 'INT32' },
  int64: { type: 'INT64' },
  double: { type: 'DOUBLE' },
  boolean: { type: 'BOOLEAN' },
  // Of the two ways to say so the one that all engines take for a plain timestamp, in no zone: it is UTC.
  timestamp: { type: 'INT64', converted_type: 'TIMESTAMP_MILLIS' },
  bytes: { type: 'BYTE_ARRAY' },
};

/** The same for Parquet. */
export const PARQUET_SCHEMA: SchemaElement[] = [
  { name: 'recording', num_children: COLUMNS.length },
  ...COLUMNS.map(
    (column): SchemaElement => ({
      name: column.name,
      ...PARQUET[column.type],
      repetition_type: isRequired(column) ? 'REQUIRED' : 'OPTIONAL',
    }),
  ),
];

/** The metadata of a recording: JSON in the file's key-value metadata, under the key `pagemap-scan`. */
export interface RecordingInfo {
  readonly schema: typeof RECORDING_SCHEMA;
  /** A random ID of the recording: eight hexadecimal digits. */
  readonly recording: string;
  readonly host: string;
  readonly pid: number;
  /** The process's name as in /proc/PID/comm. Chosen by the process, as is the command line: escape it before showing it. */
  readonly process: string;
  readonly commandLine: string;
  /** When recording began, ISO 8601, UTC: `elapsed_ms` counts from there. */
  readonly startedAt: string;
  readonly intervalMs: number;
  readonly pageSize: number;
  readonly workingSetWindowsMs: readonly number[];
  /** Release of the kernel. */
  readonly kernel: string;
  readonly toolVersion: string;
  /**
   * Accesses were tracked: there are `access` rows instead of `write` rows, and working sets are of accesses. Left out
   * for writes.
   */
  readonly subject?: 'accesses' | undefined;
  /**
   * The share of all pages that was tracked, from 0 to 1; numbers of written or accessed pages are estimates. Left out
   * when all pages were tracked.
   */
  readonly sampled?: number | undefined;
  /** Owners of mappings were looked for. Left out in files without columns for owners. */
  readonly owners?: boolean | undefined;
  /** Writes were not tracked: there are only rows of layouts. */
  readonly layoutOnly?: boolean | undefined;
  /** Writable mappings that were not tracked, as of the last flush. */
  readonly skipped: readonly { readonly name: string; readonly start: number; readonly reason: string }[];
  /** How it ended; missing while the recording goes on, and when it was killed. */
  readonly end?: RecordingEnd | undefined;
}

/** Why a recording, or a file of it, ended. */
export type RecordingEnd = 'duration' | 'interrupt' | 'process ended' | 'rotated' | 'failed';

/** The key under which the metadata stands. */
export const INFO_KEY = 'pagemap-scan';
