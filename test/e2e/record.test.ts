/** `pmscan record` on real processes: exact, ends in order however it ends, and clear about what goes wrong. */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/abi/index.js';
import { aggregateRecording, openRecording } from '../../src/record/internal.js';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { duckdb } from '../support/duckdb.js';
import { testWhere } from '../support/needs.js';
import { startTarget } from '../support/target.js';
import { until } from '../support/until.js';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-record-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Starts to record, and waits until writes count. */
async function recording(...args: string[]) {
  const output = args[args.indexOf('-o') + 1]!;
  const child = startPmscan(['record', '--flush', '10ms', '--budget', '100%', ...args]);
  const finished = finish(child);
  const source = output.endsWith('.parquet') ? output : `${output}/**/*.parquet`;
  const query = `SELECT count(*) AS n FROM '${source}' WHERE record = 'interval'`;
  while (((await duckdb(query).catch(() => []))[0]?.['n'] ?? 0) === 0) {
    if (child.exitCode !== null) throw new Error((await finished).stderr);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { child, finished };
}

describe('what was written', () => {
  live('page by page, and what the pages are', async () => {
    await using target = await startWrites();
    // 4 MiB: parts of 64 KiB, that is 16 pages.
    const { start, end } = await target.order('map 1 memfd 1024');
    await target.order('write 1 0 1024 1');
    const file = join(folder, 'exact.parquet');
    const { child, finished } = await recording(
      String(target.pid),
      '-o',
      file,
      '--interval',
      '50ms',
      // At the beginning and at the end, however long it takes.
      '--layout',
      '1h',
      '--json',
    );
    await target.order('write 1 0 1 1');
    await target.order('write 1 100 30 1');
    await target.order('write 1 1000 3 8');
    // `timeout` and the like send it to the process and to its group: that is one request.
    child.kill('SIGINT');
    child.kill('SIGINT');
    const { code, stdout, stderr } = await finished;
    expect(code).toBe(130);
    expect(stderr).toMatch(/pmscan: recorded [\d,]+ rows, .* in .*exact\.parquet\n$/);
    const writes = await duckdb(`
      SELECT bucket_offset / bucket_bytes AS bucket, sum(written_pages) AS pages, any_value(size_bytes) AS size, any_value(kind) AS kind
      FROM '${file}' WHERE record = 'write' AND start_address = ${start} AND bucket_bytes = 65536 GROUP BY 1 ORDER BY 1`);
    const of = { size: end - start, kind: 'shared' };
    // A collect that comes between a page fault and its store has the page told once more: see `ProcessTracker.collect`.
    const twice = writes.reduce((sum, row) => sum + Number(row['pages']), 0) - (1 + 12 + 16 + 2 + 1 + 2);
    expect([0, 1, 2, 3, 4]).toContain(twice);
    const least = [
      { bucket: 0, pages: 1, ...of },
      { bucket: 6, pages: 12, ...of },
      { bucket: 7, pages: 16, ...of },
      { bucket: 8, pages: 2, ...of },
      { bucket: 62, pages: 1, ...of },
      { bucket: 63, pages: 2, ...of },
    ];
    const pagesIn = (index: number) => Number(writes[index]?.['pages']);
    expect(writes).toEqual(
      least.map((part, index) => ({ ...part, pages: Math.max(part.pages, pagesIn(index)) })),
    );
    const [sums] = await duckdb(`
      SELECT sum(written_pages) FILTER (record = 'interval') AS intervals, sum(written_pages) FILTER (record = 'write') AS writes,
             count(*) FILTER (record = 'interval') AS count, max(distinct_pages) AS distinct_pages,
             max(working_set_10m_pages) AS working_set FROM '${file}'`);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({
      schema: 'pagemap-scan/record@1',
      pid: target.pid,
      end: 'interrupt',
      intervals: sums!['count'],
      writtenPages: sums!['intervals'],
      writtenBytes: (sums!['intervals'] as number) * PAGE_SIZE,
      files: [file],
    });
    expect(sums!['writes']).toBe(sums!['intervals']);
    expect(sums!['working_set']).toBe(sums!['distinct_pages']);

    const layouts = await duckdb(`
      SELECT prot, kind, owner_kind, present_pages, file_pages, kind_file_pages, cell_bytes, octet_length(cells) AS bytes
      FROM '${file}' WHERE record = 'layout' AND start_address = ${start}`);
    // A cell is four pages.
    const layout = {
      prot: 'rw-s',
      kind: 'shared',
      owner_kind: 'shared',
      present_pages: 1024,
      file_pages: 1024,
      kind_file_pages: 1024,
    };
    expect(layouts).toEqual([
      { ...layout, cell_bytes: 16_384, bytes: 512 },
      { ...layout, cell_bytes: 16_384, bytes: 512 },
    ]);

    const owners = await duckdb(
      `SELECT DISTINCT owner FROM '${file}' WHERE record = 'layout' AND owner_kind IN ('stack', 'malloc') ORDER BY 1`,
    );
    expect(owners.map(({ owner }) => owner)).toEqual(
      expect.arrayContaining(['[heap]', expect.stringMatching(/^\[stack: writes \d+\]$/)]),
    );

    const opened = await openRecording(file);
    expect(opened.info).toMatchObject({
      pid: target.pid,
      process: 'writes',
      end: 'interrupt',
      intervalMs: 50,
    });
    expect(opened.info.commandLine).toMatch(/\/writes$/);
    const { heat, layout: shown } = await aggregateRecording(opened);
    const band = heat!.bands.find((band) => band.start === start)!;
    const pages = band.cells.filter((_, index) => index % 3 === 2).reduce((sum, count) => sum + count, 0);
    expect(pages).toBe(34 + twice);
    const mapping = shown!.mappings.find((mapping) => mapping.start === start)!;
    expect(Buffer.from(mapping.grid!.cells, 'base64').length).toBe(512);
  });

  live('into a folder, rotated', async () => {
    await using target = await startWrites();
    const range = await target.order('map 1 anon 16');
    const output = join(folder, 'rotated');
    const { child, finished } = await recording(
      String(target.pid),
      '-o',
      output,
      '--interval',
      '20ms',
      '--rotate',
      '1s',
      '--host',
      '../web/1',
    );
    const files = () =>
      readdirSync(output, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.parquet'));
    // The second file may be there by now.
    do await target.order('write 1 0 16 1');
    while (files().length < 2);
    await target.order('write 1 3 1 1');
    child.kill('SIGTERM');
    // A service is ended like that.
    expect((await finished).code).toBe(0);
    for (const name of files())
      expect(name).toMatch(/^host=%2E\.%2Fweb%2F1\/date=\d{4}-\d\d-\d\d\/pid=\d+\/\w+-[0-9a-f]{8}\.parquet$/);
    expect(readdirSync(output)).toEqual(['host=%2E.%2Fweb%2F1']);
    const [answer] = await duckdb(`
      SELECT count(DISTINCT recording) AS recordings, any_value(host) AS host, sum(written_pages) AS pages
      FROM read_parquet('${output}/**/*.parquet', hive_partitioning = false) WHERE record = 'write' AND start_address = ${range.start}`);
    expect(answer).toMatchObject({ recordings: 1, host: '../web/1' });
    expect(answer!['pages']).toBeGreaterThanOrEqual(16);
    const opened = await openRecording(output);
    expect([opened.files.length, opened.info.end]).toEqual([files().length, 'interrupt']);
  });
});

describe('what pages are', () => {
  live('also while a long interval goes on: what comes and goes in it is there', async () => {
    await using target = await startWrites();
    const file = join(folder, 'between.parquet');
    const child = startPmscan([
      ...[
        'record',
        String(target.pid),
        '-o',
        file,
        '--interval',
        '1h',
        '--layout',
        '200ms',
        '--flush',
        '10ms',
      ],
    ]);
    const finished = finish(child);
    const seen = (where: string) =>
      until(`a layout where ${where}`, async () => {
        const query = `SELECT 1 FROM '${file}' WHERE record = 'layout' AND ${where}`;
        return (await duckdb(query).catch(() => [])).length > 0;
      });
    await seen('elapsed_ms = 0');
    const { start } = await target.order('map 1 memfd 1024');
    await seen(`start_address = ${start}`);
    await target.order('unmap 1');
    child.kill('SIGTERM');
    expect((await finished).code).toBe(0);
    const intervals = await duckdb(`SELECT elapsed_ms FROM '${file}' WHERE record = 'interval'`);
    expect(intervals.length).toBe(1);
  });

  live.each([[], ['--layout-only']])('each time once, at the end, too %s', async (...more) => {
    await using target = await startWrites();
    const file = join(folder, `layouts${more.length}.parquet`);
    const { code, stderr } = await pmscan([
      'record',
      target.pid,
      '-o',
      file,
      ...['--interval', '100ms', '--layout', '100ms', '--duration', '1s'],
      ...more,
    ]);
    expect(code, stderr).toBe(0);
    const looks = await duckdb(`
      SELECT elapsed_ms, count(DISTINCT time) AS times, count(DISTINCT start_address) AS mappings, count(*) AS rows
      FROM '${file}' WHERE record = 'layout' GROUP BY 1 ORDER BY 1`);
    expect(looks.length).toBeGreaterThan(2);
    for (const look of looks) expect([look['times'], look['rows']]).toEqual([1, look['mappings']]);
  });
});

describe('how it ends', () => {
  live('with the process', async () => {
    const target = await startWrites();
    const file = join(folder, 'ended.parquet');
    const { finished } = await recording(String(target.pid), '-o', file, '--interval', '20ms');
    await target[Symbol.asyncDispose]();
    const { code, stderr } = await finished;
    expect(code).toBe(0);
    expect(stderr).toContain('has ended');
    expect((await openRecording(file)).info.end).toBe('process ended');
    expect(readdirSync(folder).filter((name) => name.startsWith('.ended'))).toEqual([]);
  });

  live('with a command that it runs itself', async () => {
    const file = join(folder, 'command.parquet');
    const flag = join(folder, 'enough');
    const script = `echo hello; while [ ! -e '${flag}' ]; do sleep 0.02; done`;
    const { finished } = await recording('-o', file, '--interval', '20ms', '--', 'sh', '-c', script);
    writeFileSync(flag, '');
    const { code, stderr } = await finished;
    expect(code).toBe(0);
    expect(stderr).toMatch(/^hello\n/);
    const { info, rows } = await openRecording(file);
    expect(info).toMatchObject({ process: 'sh', end: 'process ended' });
    expect(rows).toBeGreaterThan(0);
  });

  live('after its duration', async () => {
    await using target = await startWrites();
    const file = join(folder, 'duration.parquet');
    const { code } = await pmscan([
      'record',
      target.pid,
      '-o',
      file,
      '--interval',
      '20ms',
      '--duration',
      '100ms',
    ]);
    expect(code).toBe(0);
    expect((await openRecording(file)).info.end).toBe('duration');
  });
});

describe('what goes wrong', () => {
  test.each([
    { args: ['record'], says: 'Cannot tell what to record' },
    { args: ['record', '1'], says: 'Cannot tell where to record to' },
    { args: ['record', '1', '-o', 'x.parquet', '--', 'true'], says: 'Cannot tell what to record' },
    { args: ['record', '1', '-o', 'x.parquet', '--flush', '0'], says: 'Give a time' },
  ])('$args', async ({ args, says }) => {
    const { code, stdout, stderr } = await pmscan(args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain(says);
  });

  testWhere('pagemap-scan', 'kernel-threads')(
    'of a process that cannot be tracked nothing is left',
    async () => {
      const file = join(folder, 'none.parquet');
      const { code, stderr } = await pmscan(['record', 2, '-o', file]);
      expect(code).toBe(1);
      expect(stderr).toContain('kernel thread');
      expect(readdirSync(folder).filter((name) => name.includes('none'))).toEqual([]);
    },
  );

  live('a file that is there is kept', async () => {
    await using target = await startWrites();
    const file = join(folder, 'there.parquet');
    writeFileSync(file, 'mine');
    const refused = await pmscan(['record', target.pid, '-o', file]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('replace it with --force');
    expect(readFileSync(file, 'utf8')).toBe('mine');
    const forced = await pmscan([
      'record',
      target.pid,
      '-o',
      file,
      '--force',
      '--duration',
      '50ms',
      '--interval',
      '20ms',
    ]);
    expect(forced.code).toBe(0);
    expect((await openRecording(file)).rows).toBeGreaterThan(0);
  });

  live('a folder that is not there, or is a file', async () => {
    await using target = await startWrites();
    const missing = await pmscan(['record', target.pid, '-o', join(folder, 'no/such/x.parquet')]);
    expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('there is no such folder')]);
    writeFileSync(join(folder, 'plain'), '');
    const plain = await pmscan(['record', target.pid, '-o', join(folder, 'plain')]);
    expect([plain.code, plain.stderr]).toEqual([1, expect.stringContaining('end in .parquet')]);
    const other = await pmscan(['record', target.pid, '-o', join(folder, 'data.csv'), '--duration', '20ms']);
    expect([other.code, other.stderr]).toEqual([0, expect.stringMatching(/data\.csv becomes a folder/)]);
  });

  test('what is no recording', async () => {
    const file = join(folder, 'text.parquet');
    writeFileSync(file, 'This is a text, and long enough to have a footer');
    await expect(openRecording(file)).rejects.toThrow('it is not Parquet, or only a part of a file');
    const other = join(folder, 'other.parquet');
    await duckdb(`COPY (SELECT 1 AS one) TO '${other}'`);
    await expect(openRecording(other)).rejects.toThrow('no `pmscan record` wrote it');
    await expect(openRecording(join(folder, 'missing'))).rejects.toThrow('there is no such file or folder');
  });
});

describe('a process that can no longer be looked at', () => {
  const USER = 65534;
  const asUser = testWhere('root', 'pagemap-scan', 'wp-async', 'ptrace', 'compiler');

  asUser.each([
    ['with its writes', []],
    ['without them', ['--layout-only', '--layout', '20ms']],
  ])('%s: what was recorded is kept, and the end told', async (_, more) => {
    const place = join(folder, `hides-${more.length}`);
    mkdirSync(place);
    chownSync(place, USER, USER);
    chmodSync(folder, 0o755);
    await using target = await startTarget('refuse', ['hides'], { uid: USER });
    // So long until a flush, that nothing but the end writes the rows.
    const file = join(place, 'one.parquet');
    const child = startPmscan(
      ['record', String(target.pid), '-o', file, '--interval', '20ms', '--flush', '1h', ...more],
      { uid: USER },
    );
    const finished = finish(child);
    await until('the recording', () => existsSync(file));
    await sleep(500);
    target.child.stdin.write('h');
    const { code, stderr } = await finished;
    expect(stderr).toMatch(/hides its memory|non-dumpable/);
    expect(code).toBe(4);
    const recorded = await openRecording(file);
    expect(recorded.info.end).toBe('failed');
    expect(recorded.rows).toBeGreaterThan(more.length === 0 ? 5 : 0);
    expect(readdirSync(place)).toEqual(['one.parquet']);
  });
});
