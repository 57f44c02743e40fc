/** A recorder that is killed, at any moment, leaves files that anything can read. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { openRecording, Recorder } from '../../src/record/index.js';
import { duckdb } from '../support/duckdb.js';

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-killed-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SEED = Math.floor(Math.random() * 2 ** 31);
const KILLS = 8;
/** Each kill has a process to start; on a busy machine that takes its time. */
const PATIENCE_MS = 240_000;

/** Starts a recorder that writes all the time, and lets it do some rounds. */
async function start(target: string, seed: number, rounds = 1) {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, '../support/recorder.mjs'), target, String(seed)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  for (let done = 0; done < rounds; ) done += ((await once(child.stdout, 'data')) as [Buffer])[0].length;
  return child;
}

/** Whether the rows are those of all intervals up to some point, and nothing else. */
async function isWhole(source: string): Promise<number> {
  const [answer] = await duckdb(`
    WITH i AS (SELECT elapsed_ms, written_pages FROM ${source} WHERE record = 'interval'),
         w AS (SELECT elapsed_ms, count(*) AS n, bool_and(name LIKE '/lib/%') AS named FROM ${source} WHERE record = 'write' GROUP BY 1)
    SELECT (SELECT count(*) FROM i) AS intervals,
           (SELECT coalesce(max(elapsed_ms), 0) FROM i) AS last,
           (SELECT count(*) FROM i JOIN w USING (elapsed_ms) WHERE n = 40 AND named) AS complete`);
  const { intervals, last, complete } = answer as Record<string, number>;
  expect([last, complete]).toEqual([intervals! * 1000, intervals]);
  return intervals!;
}

/** What holds while the recorder stands still, wherever it was: with a flush a millisecond, no reader is fast enough for it. */
async function halted<T>(child: ChildProcess, work: () => Promise<T>): Promise<T> {
  child.kill('SIGSTOP');
  const tasks = `/proc/${child.pid}/task`;
  const stopped = () =>
    readdirSync(tasks).every((task) => / T [^)]*$/.test(readFileSync(join(tasks, task, 'stat'), 'latin1')));
  while (!stopped()) await setImmediate();
  try {
    return await work();
  } finally {
    child.kill('SIGCONT');
  }
}

describe('killed at random', { timeout: PATIENCE_MS }, () => {
  test(`a file is whole, seed ${SEED}`, async () => {
    let state = SEED;
    const next = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    for (let kill = 0; kill < KILLS; kill++) {
      const file = join(folder, `${kill}.parquet`);
      const child = await start(file, Math.floor(next() * 1e9), 1 + Math.floor(next() * 60));
      // Not at the end of a round, but anywhere in the next ones.
      await setTimeout(next() * 20);
      // The disk takes its time: some die with what they have by then, others live until that is a lot.
      if (kill % 3 === 0)
        while ((await halted(child, () => isWhole(`'${file}'`))) <= 10) await setTimeout(20);
      child.kill('SIGKILL');
      await once(child, 'exit');
      const intervals = await isWhole(`'${file}'`);
      if (kill % 3 === 0) expect(intervals).toBeGreaterThan(10);
      const recording = await openRecording(file);
      expect(recording.info.end).toBeUndefined();
    }
  });

  test('a folder is whole, and the next recorder clears away what is left', async () => {
    const target = join(folder, 'many');
    const child = await start(target, 7);
    const files = () => readdirSync(target, { recursive: true, encoding: 'utf8' });
    while (files().filter((name) => name.endsWith('.parquet')).length < 3) await setTimeout(20);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await isWhole(`'${target}/**/*.parquet'`)).toBeGreaterThan(100);
    const working = () => files().filter((name) => /^\.recording-[0-9a-f]+$/.test(name));
    expect(working()).toHaveLength(1);
    const about = { pid: 1, name: 'x', commandLine: 'x' };
    const recorder = await Recorder.create(target, about, { intervalMs: 1000, toolVersion: 'test' });
    expect(working()).toEqual([`.recording-${recorder.recording}`]);
    await recorder.close('interrupt');
    expect(working()).toEqual([]);
  });

  test('a file can be recorded to again, but not by two at once', async () => {
    const file = join(folder, 'again.parquet');
    const child = await start(file, 3);
    const about = { pid: 1, name: 'x', commandLine: 'x' };
    const options = { intervalMs: 1000, toolVersion: 'test', force: true };
    await expect(Recorder.create(file, about, options)).rejects.toThrow(`process ${child.pid} on `);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await isWhole(`'${file}'`);
    await expect(Recorder.create(file, about, { ...options, force: false })).rejects.toThrow(
      'there is such a file already',
    );
    const recorder = await Recorder.create(file, about, options);
    await recorder.close('duration');
    expect((await openRecording(file)).info.end).toBe('duration');
    expect(existsSync(join(folder, '.again.parquet.recording'))).toBe(false);
  });
});
