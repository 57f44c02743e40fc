/** Writes of a sample of the pages, by watch and by record: estimates, with their error told. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { aggregateRecording, openRecording } from '../../src/record/internal.js';
import { pmscan } from '../support/cli.js';
import { duckdb } from '../support/duckdb.js';
import { testWhere } from '../support/needs.js';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-sample-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Line {
  sampled?: number;
  errorPages?: number;
  targetCostMs: number;
  writtenPages: number;
}

/** A target that has written so many pages of its memory. */
async function startWritten(pages: number) {
  const target = await startWrites();
  const range = await target.order(`map 1 anon ${pages}`);
  await target.order(`write 1 0 ${pages} 1`);
  return { target, range };
}

/** Lets the target write all of its pages, again and again, until the command has ended. */
async function writeUntil<T>(done: Promise<T>, write: () => Promise<unknown>): Promise<T> {
  let isDone = false;
  const ended = done.finally(() => {
    isDone = true;
  });
  while (!isDone) await write();
  return await ended;
}

const linesOf = (stdout: string): Line[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('watch', () => {
  live('tells estimates and their error', async () => {
    const { target, range } = await startWritten(20_000);
    await using _ = target;
    const args = ['--sample', '10%', '--interval', '200ms', '--duration', '2s', '--json', '--regions'];
    const { code, stdout, stderr } = await writeUntil(pmscan(['watch', target.pid, ...args]), () =>
      target.order('write 1 0 20000 1'),
    );
    expect(code).toBe(0);
    expect(stderr).toContain('cost to the process');
    const lines = linesOf(stdout);
    // In one of them at least all was written, and two thousand pages tell how many those are.
    const most = lines.reduce((a, b) => (b.writtenPages > a.writtenPages ? b : a));
    expect(most.writtenPages).toBeGreaterThan(15_000);
    expect(most.writtenPages).toBeLessThan(25_000);
    expect(most.errorPages).toBeGreaterThan(300);
    expect(most.errorPages).toBeLessThan(2000);
    for (const { sampled } of lines) expect(sampled).toBe(0.1);
    const [, distinct] = /distinct pages ([\d,]+)/.exec(stderr)!;
    const pages = Number(distinct!.replaceAll(',', ''));
    expect(pages).toBeGreaterThan(15_000);
    expect(pages).toBeLessThan(25_000);
    expect(range.end - range.start).toBe(20_000 * 4096);
  });

  live('keeps within a budget by a sample of what writes much', async () => {
    const { target } = await startWritten(20_000);
    await using _ = target;
    const watch = (...args: string[]) =>
      writeUntil(
        pmscan(['watch', target.pid, '--interval', '50ms', '--duration', '1s', '--json', ...args]),
        () => target.order('write 1 0 20000 1'),
      );
    // Twenty thousand page faults take longer than ten times a thousandth of 50 ms on any machine.
    const bounded = await watch('--budget', '0.1%');
    expect([bounded.code, bounded.stderr]).toEqual([
      0,
      expect.stringMatching(
        /to stay within --budget 0\.1 %, a random [\d.]+ % of the pages is looked at, and numbers are estimates; --sample 100% /,
      ),
    ]);
    for (const { sampled, errorPages } of linesOf(bounded.stdout)) {
      expect(sampled).toBeLessThan(0.1);
      expect(errorPages).toBeGreaterThan(3);
    }
    // All pages, if that is asked for: intervals get longer.
    const stretched = await watch('--budget', '0.1%', '--sample', '100%');
    expect([stretched.code, stretched.stderr]).toEqual([
      0,
      expect.stringMatching(
        /to stay within --budget 0\.1 %, the next interval takes [\d.]+ s; --sample [\d.]+% looks at a random share of the pages/,
      ),
    ]);
    for (const args of [['--budget', '100%'], []]) {
      const exact = await watch(...args);
      expect([args, exact.code, exact.stderr]).toEqual([
        args,
        0,
        expect.not.stringContaining('to stay within'),
      ]);
      expect(linesOf(exact.stdout).length).toBeGreaterThan(linesOf(stretched.stdout).length);
      for (const line of linesOf(exact.stdout)) expect(line).not.toHaveProperty('sampled');
    }
  });

  live('tells the ranges of all pages, whatever the budget', async () => {
    const { target } = await startWritten(20_000);
    await using _ = target;
    const how = ['--budget', '0.1%', '--interval', '50ms', '--duration', '1s', '--json', '--regions'];
    const { code, stdout } = await writeUntil(pmscan(['watch', target.pid, ...how]), () =>
      target.order('write 1 0 20000 1'),
    );
    expect(code).toBe(0);
    for (const line of linesOf(stdout)) expect(line).not.toHaveProperty('sampled');
  });
});

describe('record', () => {
  live('keeps estimates and their error, and the report says what they are', async () => {
    const { target, range } = await startWritten(20_000);
    await using _ = target;
    const file = join(folder, 'sample.parquet');
    const args = [
      '-o',
      file,
      '--sample',
      '10%',
      '--budget',
      '100%',
      '--interval',
      '200ms',
      '--duration',
      '2s',
    ];
    const { code, stderr } = await writeUntil(pmscan(['record', target.pid, ...args]), () =>
      target.order('write 1 0 20000 1'),
    );
    expect([code, stderr]).toEqual([0, expect.stringContaining('recorded ')]);
    const [row] = await duckdb(`
      SELECT max(written_pages) AS pages, max(written_error_pages) AS error, max(distinct_pages) AS distinct_pages
      FROM '${file}' WHERE record = 'interval'`);
    for (const name of ['pages', 'distinct_pages']) {
      expect(row![name]).toBeGreaterThan(15_000);
      expect(row![name]).toBeLessThan(25_000);
    }
    expect(row!['error']).toBeGreaterThan(300);
    // Rows are of parts of 64 KiB, each rounded.
    const [sums] = await duckdb(`
      SELECT sum(written_pages) FILTER (record = 'interval') AS intervals, sum(written_pages) FILTER (record = 'write') AS writes
      FROM '${file}'`);
    expect(Math.abs(Number(sums!['writes']) / Number(sums!['intervals']) - 1)).toBeLessThan(0.05);
    const opened = await openRecording(file);
    expect(opened.info).toMatchObject({ sampled: 0.1, end: 'duration' });
    expect(opened.info.subject).toBeUndefined();
    const { notes, heat } = await aggregateRecording(opened);
    expect(notes).toEqual(expect.arrayContaining([expect.stringMatching(/^A random 10 % of the pages/)]));
    expect(heat!.bands.some(({ start }) => start === range.start)).toBe(true);
  });

  live('costs the process 2 % of a processor by itself, and tells what that takes', async () => {
    const { target } = await startWritten(20_000);
    await using _ = target;
    const file = join(folder, 'bounded.parquet');
    const how = ['-o', file, '--interval', '10ms', '--duration', '1s', '--json'];
    const { code, stderr } = await writeUntil(pmscan(['record', target.pid, ...how]), () =>
      target.order('write 1 0 20000 1'),
    );
    expect([code, stderr]).toEqual([
      0,
      expect.stringContaining('to stay within --budget 2 %, the next interval'),
    ]);
    expect((await openRecording(file)).info.sampled).toBeUndefined();
    const [row] = await duckdb(`
      SELECT max(interval_ms) AS longest, count_if(late) AS late, max(written_error_pages) AS error
      FROM '${file}' WHERE record = 'interval'`);
    expect(row!['longest']).toBeGreaterThan(100);
    expect(row!['error']).toBe(0);
  });
});
