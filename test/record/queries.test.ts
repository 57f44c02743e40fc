/** The questions in the guide, asked of recordings of which the answers are known; and readers beside DuckDB. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { parquetReadObjects } from 'hyparquet';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/abi/index.js';
import { aggregateRecording, COLUMNS, listRecordings, openRecording } from '../../src/record/internal.js';
import { duckdb } from '../support/duckdb.js';
import { ACCESSED, DEPLOYED_AT, FLEET, recordAccesses, recordFleet } from '../support/fleet.js';

const GUIDE = readFileSync(join(import.meta.dirname, '../../docs/guide/fleet.md'), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-fleet-'));
const idleFolder = mkdtempSync(join(tmpdir(), 'pagemap-scan-idle-'));
beforeAll(() => recordFleet(folder));
beforeAll(() => recordAccesses(idleFolder));
afterAll(() => {
  for (const made of [folder, idleFolder]) rmSync(made, { recursive: true, force: true });
});

/** A query of the guide, over the recordings of this test. */
const here = (sql: string) =>
  duckdb(sql.replaceAll("'recordings/", `'${folder}/`).replaceAll("'accesses/", `'${idleFolder}/`));

/** The guide's queries, by the name of a column that only one of them has. */
const queries = [...GUIDE.matchAll(/^```sql\n([\s\S]*?)^```$/gm)].map((match) => match[1]!);
const ask = (pattern: RegExp) => {
  const found = queries.filter((sql) => pattern.test(sql));
  expect(found).toHaveLength(1);
  return here(found[0]!);
};

const INTERVALS = 4 * 360;

describe("the guide's questions", () => {
  test('are ten, and none is without an answer', async () => {
    expect(queries).toHaveLength(10);
    for (const sql of queries) expect(await here(sql)).not.toHaveLength(0);
  });

  test('what nobody touched for an hour', async () => {
    const rows = await ask(/AS idle_bytes/);
    expect(rows).toEqual(
      ACCESSED.map(({ host, process, pid, present, idleHour }) => ({
        ...{ host, process, pid, name: '[heap]' },
        resident_bytes: present * PAGE_SIZE,
        idle_bytes: idleHour * PAGE_SIZE,
      })),
    );
  });

  test('what each process needs', async () => {
    const rows = await ask(/AS needed_bytes/);
    expect(rows).toEqual(
      ACCESSED.map(({ process, needed, present }) => ({
        ...{ process, processes: 1, needed_bytes: needed * PAGE_SIZE, most_bytes: needed * PAGE_SIZE },
        resident_bytes: present * PAGE_SIZE,
      })).sort((a, b) => b.needed_bytes - a.needed_bytes),
    );
  });

  test('of a sample, rows are estimates for all', async () => {
    const [row] = await here(`
      SELECT sum(accessed_pages) FILTER (record = 'interval') AS intervals, sum(accessed_pages) FILTER (record = 'access') AS parts,
             max(accessed_error_pages) AS error, count(written_pages) AS written
      FROM 'accesses/**/*.parquet'`);
    const pages = ACCESSED.reduce((sum, { needed }) => sum + (120 * needed) / 5, 0);
    expect(row).toEqual({ intervals: pages, parts: pages, error: 7, written: 0 });
  });

  test('hottest mappings', async () => {
    const rows = await ask(/SELECT name, kind/);
    const file = INTERVALS * 520 * PAGE_SIZE;
    const before = INTERVALS / 2 - 1;
    const heap = (before * 225 + (INTERVALS - before) * 105) * PAGE_SIZE;
    expect(rows).toEqual([
      { name: '/var/lib/data; DROP TABLE "x"', kind: 'file', written_bytes: file },
      { name: '[heap]', kind: 'heap', written_bytes: heap },
    ]);
  });

  test('rate and write working set over time', async () => {
    const rows = await ask(/AS minute/);
    expect(rows).toHaveLength(4 * 60 + 1);
    expect(rows[1]).toMatchObject({
      bytes_per_second: (110 * PAGE_SIZE) / 10,
      working_set_bytes: 160 * PAGE_SIZE,
    });
    expect(rows.at(-2)).toMatchObject({ bytes_per_second: (50 * PAGE_SIZE) / 10 });
  });

  test('before and after a deployment', async () => {
    const [before, after] = await ask(/AS deployment/);
    expect(before).toMatchObject({ deployment: 'before', bytes_per_second: 12 * PAGE_SIZE });
    expect(after).toMatchObject({ deployment: 'after', bytes_per_second: 6 * PAGE_SIZE });
  });

  test('top ten', async () => {
    const rows = await ask(/AS distinct_bytes/);
    expect(rows.map(({ host, pid }) => [host, pid])).toEqual([
      ['db 1/ö%', 7],
      ['web-2', 202],
      ['web-1', 101],
    ]);
    expect(rows[0]).toMatchObject({ distinct_bytes: (1000 + INTERVALS) * PAGE_SIZE });
  });

  test('where in the heap', async () => {
    const rows = await ask(/any_value\(bucket_bytes\)/);
    expect(rows[0]).toEqual({ bucket_offset: 0, bucket_bytes: 131_072, written_pages: INTERVALS * 2 * 32 });
    expect(rows.length).toBe(4);
  });

  test('what memory was at the end', async () => {
    const rows = await ask(/AS present_bytes/);
    expect(rows).toHaveLength(FLEET.length * 2);
    expect(rows[0]).toMatchObject({
      kind: 'file',
      present_bytes: 32 * 2 ** 20,
      swapped_bytes: 3 * PAGE_SIZE,
    });
  });

  test('late intervals', async () => {
    for (const row of await ask(/AS longest_scan_ms/)) {
      expect(row).toMatchObject({ intervals: INTERVALS, late: 14, longest_scan_ms: 2 });
    }
  });

  test('one day of one machine', async () => {
    const before = INTERVALS / 2 - 1;
    expect(await ask(/hive_partitioning/)).toEqual([
      { recordings: 1, written_bytes: (before * 110 + (INTERVALS - before) * 50) * PAGE_SIZE },
    ]);
  });
});

describe('files', () => {
  const files = () =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.parquet'));

  test('have names that are safe, whatever the host is called', () => {
    for (const name of files())
      expect(name).toMatch(/^host=[\w.%-]+\/date=2026-01-01\/pid=\d+\/20260101T\d{6}Z-[0-9a-f]{8}\.parquet$/);
    expect(files().filter((name) => name.startsWith('host=db%201%2F%C3%B6%25/'))).not.toHaveLength(0);
    // Rotated by the hour, and the last interval ends with the fourth hour.
    expect(files()).toHaveLength(FLEET.length * 5);
  });

  test('have the columns that are documented, in all of them', async () => {
    const reference = readFileSync(join(import.meta.dirname, '../../docs/reference/recording.md'), 'utf8');
    const documented = [...reference.matchAll(/^\| `(\w+)` \| ([\w()]+) \|/gm)].map((match) => [
      match[1],
      match[2],
    ]);
    const described = await duckdb(
      `DESCRIBE SELECT * FROM read_parquet('${folder}/**/*.parquet', hive_partitioning = false)`,
    );
    expect(described.map((row) => [row['column_name'], row['column_type']])).toEqual(documented);
    expect(documented.map(([name]) => name)).toEqual(COLUMNS.map(({ name }) => name));
  });

  test('can be read by another reader', async () => {
    const bytes = readFileSync(join(folder, files()[0]!));
    const rows = await parquetReadObjects({
      file: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
      compressors: { GZIP: (input) => gunzipSync(input) },
    });
    const intervals = rows.filter(({ record }) => record === 'interval');
    expect(intervals.length).toBeGreaterThan(300);
    expect(intervals[0]).toMatchObject({
      host: 'db 1/ö%',
      pid: 7,
      process: 'postgres',
      written_pages: 505,
      name: null,
    });
    expect(intervals[0]!['time']).toBeInstanceOf(Date);
    const writes = rows.filter(({ record }) => record === 'write');
    expect(writes.reduce((sum, row) => sum + row['written_pages'], 0)).toBe(intervals.length * 505);
  });
});

describe('read back', () => {
  test('recordings are listed, and one must be chosen', async () => {
    const found = await listRecordings(folder);
    expect(found.map(({ info }) => info.host).sort()).toEqual(FLEET.map(({ host }) => host).sort());
    for (const { info, files } of found) expect([info.end, files.length]).toEqual(['duration', 5]);
    await expect(openRecording(folder)).rejects.toThrow('Cannot choose one of 3 recordings');
    await expect(openRecording(folder, '00000000')).rejects.toThrow('no file of recording 00000000');
  });

  test('the model has every written page, and says how it was made', async () => {
    const { info } = (await listRecordings(folder)).find(({ info }) => info.pid === 101)!;
    const model = await aggregateRecording(await openRecording(folder, info.recording));
    expect(model.about).toMatchObject({ pid: 101, name: 'web', source: 'recording', intervalMs: 10_000 });
    expect(model.about.beganAt).toBe(DEPLOYED_AT - 2 * 3_600_000);
    const { columns, bands, windows } = model.heat!;
    expect(columns.length).toBeLessThanOrEqual(600);
    expect(columns.reduce((sum, { intervals = 1 }) => sum + intervals, 0)).toBe(INTERVALS);
    expect(columns[0]).toEqual({ startMs: 0, endMs: 30_000, intervals: 3, workingSet: [110, 160, 1000] });
    expect(windows).toEqual([10_000, 60_000, 600_000]);
    expect(bands.map(({ name, perms, kind }) => [name, perms, kind])).toEqual([
      ['[heap]', 'rw-p', 'heap'],
      ['/var/lib/data; DROP TABLE "x"', 'rw-s', 'file'],
    ]);
    const pages = bands.map(({ cells }) =>
      cells.filter((_, index) => index % 3 === 2).reduce((sum, count) => sum + count, 0),
    );
    const before = INTERVALS / 2 - 1;
    expect(pages).toEqual([before * 100 + (INTERVALS - before) * 40, INTERVALS * 10]);
    // All of the heap's first bucket in the first column: three intervals of 32 pages.
    expect(bands[0]!.cells.slice(0, 3)).toEqual([0, 0, 96]);
    expect(model.layout!.mappings).toHaveLength(2);
    expect(model.layout!.mappings[0]!.pages).toEqual([0, 2048, 0, 0, 3, 0, 2045]);
    expect(model.notes[0]).toBe(
      'A step in time is 3 intervals, about 30 s; a page counts once in each interval.',
    );
  });

  test.each([
    { bands: 2, heatCells: 40, notes: /^(?!.*told apart).*more coarsely/ },
    {
      bands: 1,
      heatCells: 20,
      notes: /Of 2 mappings that were written, the 0 with most writes are told apart: 0\.0 %/,
    },
  ])('within any limits: $bands bands, $heatCells cells', async ({ bands: mostBands, heatCells, notes }) => {
    const { info } = (await listRecordings(folder)).find(({ info }) => info.pid === 7)!;
    const limits = {
      columns: 20,
      bands: mostBands,
      bucketsPerBand: 8,
      heatCells,
      mappings: 1,
      gridCells: 10,
    };
    const progress: number[] = [];
    const model = await aggregateRecording(await openRecording(folder, info.recording), {
      limits,
      progress: (done, all) => progress.push(done / all),
    });
    const { columns, bands } = model.heat!;
    expect([columns.length <= 20, bands.length, model.layout!.mappings.length]).toEqual([true, mostBands, 1]);
    expect(bands.reduce((sum, { cells }) => sum + cells.length / 3, 0)).toBeLessThanOrEqual(heatCells);
    // What is not told apart is in the band of the rest: nothing is missing.
    const total = bands
      .flatMap(({ cells }) => cells.filter((_, index) => index % 3 === 2))
      .reduce((sum, count) => sum + count, 0);
    expect(total).toBe(INTERVALS * 505);
    expect(model.notes.join(' ')).toMatch(notes);
    expect(progress.at(-1)).toBe(1);
  });
});
