/** Rows to Parquet: row groups of one kind of rows each, of which the last ones are provisional. */
import { gzipSync } from 'node:zlib';
import type { RowGroup } from 'hyparquet';
import { ByteWriter, ParquetWriter } from 'hyparquet-writer';
import {
  COLUMNS,
  type Column,
  type ColumnName,
  INFO_KEY,
  PARQUET_SCHEMA,
  RECORDS,
  type RecordingInfo,
  type RecordKind,
  type Row,
} from './schema.js';

/**
 * Rows of a row group: enough for good compression, and few enough that encoding those that are not yet complete, at each
 * flush, keeps nobody waiting.
 */
const GROUP_ROWS: Readonly<Record<RecordKind, number>> = {
  interval: 4096,
  write: 32_768,
  access: 32_768,
  layout: 16_384,
};

/** With so many rows `settle` ends a row group early, so that they are not encoded anew at each flush until it is full. */
const SETTLED_ROWS = 4096;

/** More does not pay: the columns are mostly indices into dictionaries. */
const GZIP_LEVEL = 6;

/** Values of one column, of rows that are not yet encoded for good. */
interface Values {
  readonly column: Column;
  /** Numbers, NaN for none: unboxed, they take a third of the room. */
  numbers: Float64Array | undefined;
  readonly others: unknown[];
}

const NUMERIC: ReadonlySet<string> = new Set(['int32', 'int64', 'double', 'timestamp']);

/** Rows that are not yet encoded for good, by columns. */
class Pending {
  readonly kind: RecordKind;
  readonly #values: readonly Values[];
  rows = 0;

  constructor(kind: RecordKind) {
    this.kind = kind;
    this.#values = COLUMNS.filter((column: Column) => column.of.includes(kind)).map((column) => ({
      column,
      numbers: NUMERIC.has(column.type) ? new Float64Array(1024) : undefined,
      others: [],
    }));
  }

  /** Columns are taken from the first that has them. */
  add(common: Row, own: Row): void {
    const index = this.rows++;
    for (const values of this.#values) {
      const { name } = values.column as { name: ColumnName };
      const value = own[name] ?? common[name] ?? null;
      if (values.numbers === undefined) {
        values.others.push(name === 'record' ? this.kind : value);
        continue;
      }
      if (index === values.numbers.length) {
        const longer = new Float64Array(index * 2);
        longer.set(values.numbers);
        values.numbers = longer;
      }
      values.numbers[index] = value === null ? Number.NaN : (value as number);
    }
  }

  clear(): void {
    for (const { others } of this.#values) others.length = 0;
    this.rows = 0;
  }

  /** As Parquet's writer takes them. Each column is made when it is asked for, which is once, so that not all are there at once. */
  columnData() {
    const { rows } = this;
    const own = new Map(this.#values.map((values) => [values.column.name, values]));
    const nothing = new Array<null>(rows).fill(null);
    return COLUMNS.map((column: Column) => {
      const values = own.get(column.name);
      return {
        name: column.name,
        get data(): unknown[] {
          if (values === undefined) return nothing;
          const { numbers, others } = values;
          return numbers === undefined ? others : physical(column, numbers.subarray(0, rows));
        },
        offsetIndex: false,
        statistics: column.statistics === true,
      };
    });
  }
}

/** Whole numbers of 64 bits are bigints there; ours are all far below 2^53. */
function physical({ type }: Column, numbers: Float64Array): unknown[] {
  const big = type === 'int64' || type === 'timestamp';
  const result = new Array<unknown>(numbers.length);
  let last = Number.NaN;
  let converted: bigint | number | null = null;
  for (let index = 0; index < numbers.length; index++) {
    const value = numbers[index]!;
    // Values come in runs.
    if (value !== last) {
      last = value;
      converted = Number.isNaN(value) ? null : big ? BigInt(value) : value;
    }
    result[index] = converted;
  }
  return result;
}

/** What one flush writes: the head stays as it is, the tail is replaced by the next flush. */
export interface Encoded {
  readonly head: Uint8Array;
  readonly tail: Uint8Array;
}

/** The table of one file. Its memory is bounded by the rows of three row groups. */
export class Table {
  readonly #pending: Readonly<Record<RecordKind, Pending>>;
  readonly #writer: ParquetWriter;
  /** Row groups that are encoded for good. */
  #groups: RowGroup[] = [];
  #groupRows = 0n;
  #headBytes = 0;
  /** Bytes of the head that no flush has taken yet. */
  #head: ByteWriter;
  /** Rows in all. */
  rows = 0;

  constructor() {
    const kinds = RECORDS.map((kind) => [kind, new Pending(kind)] as const);
    this.#pending = Object.fromEntries(kinds) as Record<RecordKind, Pending>;
    this.#head = new ByteWriter();
    // This writes the four bytes that a Parquet file begins with.
    this.#writer = new ParquetWriter({
      writer: this.#head,
      schema: PARQUET_SCHEMA,
      codec: 'GZIP',
      compressors: { GZIP: (input) => gzipSync(input, { level: GZIP_LEVEL }) },
      createdBy: 'pagemap-scan',
    });
  }

  /** Adds a row, of which `common` is what many have in common. */
  add(kind: RecordKind, common: Row, own: Row): void {
    const pending = this.#pending[kind];
    pending.add(common, own);
    this.rows++;
    if (pending.rows === GROUP_ROWS[kind]) this.#complete(pending);
  }

  /** For rows of which no more will come for some time. */
  settle(kind: RecordKind): void {
    const pending = this.#pending[kind];
    if (pending.rows >= SETTLED_ROWS) this.#complete(pending);
  }

  #complete(pending: Pending): void {
    this.#encode(pending, this.#head);
    this.#groups = this.#writer.row_groups;
    this.#groupRows = this.#writer.num_rows;
    pending.clear();
  }

  /** Encodes what came since the last call. With `last` all rows are in row groups for good. */
  flush(info: RecordingInfo): Encoded {
    const head = this.#head.getBytes();
    const headBytes = this.#headBytes + head.length;
    const tail = new ByteWriter();
    tail.offset = headBytes;
    const kept = [...this.#groups];
    for (const kind of RECORDS) this.#encode(this.#pending[kind], tail);
    this.#writer.kvMetadata = [{ key: INFO_KEY, value: JSON.stringify(info) }];
    this.#writer.writer = tail;
    this.#writer.finish();

    this.#groups = kept;
    this.#writer.row_groups = kept;
    this.#writer.num_rows = this.#groupRows;
    this.#headBytes = headBytes;
    this.#head = new ByteWriter();
    this.#head.offset = headBytes;
    return { head, tail: tail.getBytes() };
  }

  #encode(pending: Pending, to: ByteWriter): void {
    if (pending.rows === 0) return;
    this.#writer.writer = to;
    this.#writer.write({ columnData: pending.columnData(), rowGroupSize: pending.rows });
    // They would make indexes at the end of the file, of groups that are not all there.
    this.#writer.pendingIndexes.length = 0;
  }
}
