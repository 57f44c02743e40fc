/** `pmscan record --accesses` on a process whose accesses are known; where the kernel cannot tell them, that it says so. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { aggregateRecording, openRecording } from '../../src/record/internal.js';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { available, testWhere } from '../support/needs.js';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'ptrace', 'compiler');
const canTell = available('category-accessed');
const byPage = canTell ? live : (test.skip as unknown as typeof test);
const refusing = canTell ? (test.skip as unknown as typeof test) : live;

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-accesses-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

byPage('where each page lies that is accessed, and how long the others were left alone', async () => {
  await using target = await startWrites();
  const { start } = await target.order('map 1 anon 1024');
  await target.order('write 1 0 1024 1');
  const file = join(folder, 'exact.parquet');
  const child = startPmscan([
    ...['record', String(target.pid), '-o', file, '--accesses', '--exact', '--budget', '100%', '--json'],
    ...['--interval', '100ms', '--layout', '300ms', '--duration', '3s'],
  ]);
  const result = finish(child);
  let ended = false;
  result.finally(() => {
    ended = true;
  });
  while (!ended) {
    // The first 16 pages all the time: one part of 64 KiB.
    await target.order('read 1 0 16 1');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const { code, stdout } = await result;
  expect(code).toBe(0);
  const { accessedPages, writtenPages } = JSON.parse(stdout);
  expect(writtenPages).toBeUndefined();
  expect(accessedPages).toBeGreaterThan(16);

  const recording = await openRecording(file);
  expect(recording.info).toMatchObject({ subject: 'accesses' });
  expect(recording.info.sampled).toBeUndefined();
  const parts = new Map<number, number>();
  for await (const group of recording.groups('access', [
    'start_address',
    'bucket_offset',
    'bucket_bytes',
    'accessed_pages',
  ])) {
    const starts = await group.numbers('start_address');
    const offsets = await group.numbers('bucket_offset');
    const pages = await group.numbers('accessed_pages');
    for (let row = 0; row < group.rows; row++)
      if (starts[row] === start)
        parts.set(offsets[row]!, Math.max(parts.get(offsets[row]!) ?? 0, pages[row]!));
  }
  expect([...parts]).toEqual([[0, 16]]);

  const model = await aggregateRecording(recording);
  expect(model.about.subject).toBe('accesses');
  const mapping = model.layout!.mappings.find((one) => one.start === start)!;
  const words = new Uint16Array(new Uint8Array(Buffer.from(mapping.grid!.ages!, 'base64')).buffer);
  const classOf = (page: number) => (words[Math.floor((page * 4096) / mapping.grid!.cellBytes)]! >> 4) & 15;
  // What is read all the time is younger than what was never touched, all of which is as old as the recording: three seconds or more.
  expect(classOf(0)).toBeLessThan(classOf(512));
  expect(classOf(1023)).toBe(classOf(512));
  for await (const group of recording.groups('layout', ['idle_1m_pages']))
    expect((await group.numbers('idle_1m_pages')).every(Number.isNaN)).toBe(true);
});

refusing('where the kernel cannot tell, that is exit code 5, and no file is left', async () => {
  await using target = await startWrites();
  const file = join(folder, 'none.parquet');
  const { code, stderr } = await pmscan(['record', String(target.pid), '-o', file, '--accesses']);
  expect(code).toBe(5);
  expect(stderr).toContain('Linux 7.3');
  expect(existsSync(file)).toBe(false);
});

test.each([
  [['--accesses', '--layout-only'], 'not both'],
  [['--accesses', '--sample', '5%', '--exact'], '--exact here: it needs --accesses, and no --sample'],
  [['--exact'], 'it needs --accesses'],
  [['--layout-only', '--sample', '5%'], 'leave out --sample, --exact and --budget, or --layout-only'],
  [['--layout-only', '--budget', '5%'], 'leave out --sample, --exact and --budget, or --layout-only'],
])('%s is refused', async (args, why) => {
  const { code, stderr } = await pmscan(['record', 'self', '-o', join(folder, 'x.parquet'), ...args]);
  expect(code).toBe(2);
  expect(stderr).toContain(why);
});
