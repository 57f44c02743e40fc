import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { until } from '../../test/support/until.js';
import { openRecording, Recorder } from './index.js';

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-recorder-'));
afterAll(() => rmSync(folder, { recursive: true }));

const HOUR_MS = 3_600_000;
const INIT = { pid: 1, name: 'init', commandLine: 'init' };
const OPTIONS = { intervalMs: 1000, toolVersion: 'test', host: 'h' };

/** Second number `second` of a recording in which nothing is written. */
const interval = (recorder: Recorder, second: number) =>
  recorder.interval(
    { elapsedMs: second * 1000, intervalMs: 1000, scanMs: 1, writtenPages: 0, mappings: [] },
    { late: false, distinctPages: 0, workingSet: [0, 0, 0] },
  );

/** Rows that are on the disk. */
const rowsOf = async (path: string) => (await openRecording(path)).rows;

test('a clock that is set back keeps nothing from the disk, nor files from being rotated', async () => {
  let now = Date.UTC(2026, 10, 29, 12);
  const path = join(folder, 'back');
  const recorder = await Recorder.create(path, INIT, { ...OPTIONS, rotateMs: 60_000, now: () => now });
  await interval(recorder, 1);
  now -= HOUR_MS;
  for (let second = 2; second <= 100; second++) {
    now += 1000;
    await interval(recorder, second);
  }
  expect(recorder.totals.files.length).toBe(2);
  // Of the last 30 seconds, none need to be there; the second file has had its first flush.
  await until('the rows', async () => (await rowsOf(path)) > 70);
  await recorder.close('duration');
  expect(await rowsOf(path)).toBe(100);
});

test('rows are flushed in time, also when no more come', async () => {
  const path = join(folder, 'waits.parquet');
  const recorder = await Recorder.create(path, INIT, { ...OPTIONS, flushMs: 20 });
  await interval(recorder, 1);
  await until('the row', async () => (await rowsOf(path)) === 1);
  await recorder.abandon();
});

test('what is flushed when it is asked for stays, whatever comes then', async () => {
  const path = join(folder, 'flushed.parquet');
  const recorder = await Recorder.create(path, INIT, OPTIONS);
  await interval(recorder, 1);
  expect(await rowsOf(path)).toBe(0);
  await recorder.flush();
  expect(await rowsOf(path)).toBe(1);
  await interval(recorder, 2);
  await recorder.abandon();
  expect(await rowsOf(path)).toBe(1);
});
