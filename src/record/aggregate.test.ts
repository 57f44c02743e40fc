import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { PAGE_SIZE } from '../abi/index.js';
import { aggregateRecording } from './aggregate.js';
import { openRecording } from './read.js';
import { Recorder } from './recorder.js';

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-aggregate-'));
afterAll(() => rmSync(folder, { recursive: true }));

const PART = 16 * PAGE_SIZE;
const SIZE = 128 * PART;
const MAPPINGS = 40;
const mappings = Array.from({ length: MAPPINGS }, (_, index) => ({
  start: (index + 1) * 2 * SIZE,
  end: (index + 1) * 2 * SIZE + SIZE,
  name: `m${index}`,
}));

/** Intervals in which one part of each mapping is written whole, and some in which a page of every part is. */
async function recorded(name: string, fine: number, coarse: number) {
  const file = join(folder, name);
  const recorder = await Recorder.create(
    file,
    { pid: 1, name: 'p', commandLine: 'p' },
    {
      intervalMs: 1000,
      toolVersion: 'test',
    },
  );
  for (let interval = 1; interval <= fine + coarse; interval++) {
    let writtenPages = 0;
    for (const { start } of mappings) {
      for (let part = 0; part < 128; part++) {
        const pages = interval > fine ? 1 : part === interval % 128 ? 16 : 0;
        if (pages > 0) recorder.region(start + part * PART, start + part * PART + pages * PAGE_SIZE);
        writtenPages += pages;
      }
    }
    await recorder.interval(
      { elapsedMs: interval * 1000, intervalMs: 1000, scanMs: 1, writtenPages, mappings },
      { late: false, distinctPages: 0, workingSet: [0, 0, 0] },
    );
  }
  await recorder.close('duration');
  return aggregateRecording(await openRecording(file));
}

test('parts are as large as they were recorded, none finer', async () => {
  const { heat, notes } = await recorded('fine.parquet', 10, 0);
  expect(new Set(heat!.bands.map(({ bucketBytes }) => bucketBytes))).toEqual(new Set([PART]));
  // Column, part, pages.
  expect(heat!.bands[0]!.cells).toEqual(
    Array.from({ length: 10 }, (_, index) => [index, index + 1, 16]).flat(),
  );
  expect(notes).toContain('Writes by parts of 64 KiB: where in a part is not known.');
});

test('what was recorded more coarsely, with very many rows, is spread over its part, and said', async () => {
  const { heat, notes } = await recorded('spread.parquet', 100, 1);
  const [band] = heat!.bands;
  expect(band!.bucketBytes).toBe(PART);
  const last = band!.cells.filter((_, at) => band!.cells[at - (at % 3)] === 100);
  expect(last).toEqual(Array.from({ length: 128 }, (_, part) => [100, part, 1]).flat());
  const share = ((128 / (128 + 1600)) * 100).toFixed(1);
  expect(notes).toContain(
    `Writes by parts of 64 KiB: where in a part is not known; ${share} % of them were recorded in larger parts, and are spread evenly over these.`,
  );
});

test('where much of it was recorded coarsely, all is shown so', async () => {
  const { heat, notes } = await recorded('coarse.parquet', 10, 10);
  expect(new Set(heat!.bands.map(({ bucketBytes }) => bucketBytes))).toEqual(new Set([2 * PART]));
  expect(notes).toContain('Writes by parts of 128 KiB: where in a part is not known.');
});

test('a layout counts however long ago it was taken', async () => {
  const file = join(folder, 'layout.parquet');
  const recorder = await Recorder.create(
    file,
    { pid: 1, name: 'p', commandLine: 'p' },
    { intervalMs: 1000, toolVersion: 'test' },
  );
  const mapping = {
    start: SIZE,
    end: 2 * SIZE,
    perms: 'rw-p',
    offset: 0,
    device: { major: 0, minor: 0 },
    inode: 0,
    name: '[heap]',
    deleted: false,
  };
  const counts = { pages: 128 * 16, present: 1, swapped: 0, file: 0, pfnzero: 0, huge: 0, guard: 0 };
  await recorder.layout([{ mapping, kinds: [0, 1, 0, 0, 0, 0], ...counts }], 0);
  await recorder.interval(
    { elapsedMs: 3_600_000, intervalMs: 1000, scanMs: 1, writtenPages: 0, mappings: [] },
    { late: false, distinctPages: 0, workingSet: [0, 0, 0] },
  );
  await recorder.close('process ended');
  const { layout } = await aggregateRecording(await openRecording(file));
  expect(layout?.mappings.map(({ name }) => name)).toEqual(['[heap]']);
});
