/**
 * `record`, `report` and `serve` on this kernel, without a browser and DuckDB, which a guest has not: a target writes known pages, and each
 * of them tells of these. `test/e2e` has the rest.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { parquetReadObjects } from 'hyparquet';
import { afterAll, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/abi/index.js';
import type { StreamMessage } from '../../src/model/index.js';
import { aggregateRecording, openRecording } from '../../src/record/internal.js';
import { finish, MAIN, startPmscan } from '../support/cli.js';
import { firstOutput } from '../support/output.mjs';
import { until } from '../support/until.js';
import { startWrites, type Writes } from '../support/writes.js';

/** An emulated machine that has much else to do takes its time, and to look is work for it, too. */
const PATIENT = { timeoutMs: 400_000, everyMs: 500 };
const TEST_MS = 900_000;

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-services-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** How many pages `write` has the target write. */
const WRITTEN = 1 + 30 + 3;

/** The pages of mapping 1 that the target writes: 16 of them in the part of 64 KiB from page 112 on. */
async function write(target: Writes): Promise<void> {
  await target.order('write 1 0 1 1');
  await target.order('write 1 100 30 1');
  await target.order('write 1 1000 3 8');
}

async function rowsOf(file: string): Promise<Record<string, unknown>[]> {
  const bytes = readFileSync(file);
  return parquetReadObjects({
    file: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
    compressors: { GZIP: (input) => gunzipSync(input) },
  });
}

/** Takes the messages of a stream until it is let go of. */
async function listen(body: ReadableStream<Uint8Array>, messages: StreamMessage[]): Promise<void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    const parts = rest.split('\n\n');
    rest = parts.pop()!;
    for (const part of parts) if (part.startsWith('data: ')) messages.push(JSON.parse(part.slice(6)));
  }
}

/** How many pages `messages` say were written in the mapping at `start`; bands are named in any of `all`. */
function pagesOf(messages: readonly StreamMessage[], all: readonly StreamMessage[], start: number): number {
  const bands = all.flatMap((message) =>
    message.type === 'model'
      ? (message.model.heat?.bands ?? [])
      : message.type === 'column'
        ? message.bands
        : [],
  );
  const ids = new Set(bands.filter((band) => band.start === start).map(({ id }) => id));
  let pages = 0;
  for (const message of messages) {
    if (message.type !== 'column') continue;
    for (const [id, ...pairs] of message.cells) {
      if (ids.has(id!)) pages += pairs.reduce((sum, value, index) => sum + (index % 2 === 1 ? value : 0), 0);
    }
  }
  return pages;
}

test(
  'record, and report of what was recorded',
  async () => {
    await using target = await startWrites();
    const { start, end } = await target.order('map 1 memfd 1024');
    await target.order('write 1 0 1024 1');
    const file = join(folder, 'exact.parquet');
    const args = [
      'record',
      String(target.pid),
      '-o',
      file,
      '--interval',
      '200ms',
      '--budget',
      '100%',
      '--flush',
      '1s',
      // Emulated machines are slow: one at the beginning, one at the end.
      '--layout',
      '1h',
      '--json',
    ];
    const child = startPmscan(args);
    const finished = finish(child);
    const isRecording = async () => {
      if (child.exitCode !== null) throw new Error((await finished).stderr);
      // Not there yet, or not whole.
      const rows = await rowsOf(file).catch(() => []);
      return rows.some(({ record }) => record === 'interval');
    };
    try {
      await until('the first interval', isRecording, PATIENT);
      await write(target);
    } finally {
      child.kill('SIGINT');
    }
    const { code, stdout } = await finished;
    expect(code).toBe(130);

    const rows = await rowsOf(file);
    const parts = new Map<number, number>();
    for (const row of rows) {
      if (row['record'] !== 'write' || Number(row['start_address']) !== start) continue;
      const part = Number(row['bucket_offset']) / Number(row['bucket_bytes']);
      parts.set(part, (parts.get(part) ?? 0) + Number(row['written_pages']));
    }
    // A collect that comes between a page fault and its store has the page told once more: see `ProcessTracker.collect`.
    const twice = [...parts.values()].reduce((all, pages) => all + pages, 0) - WRITTEN;
    expect([0, 1, 2, 3, 4]).toContain(twice);
    const least = [
      [0, 1],
      [6, 12],
      [7, 16],
      [8, 2],
      [62, 1],
      [63, 2],
    ] as const;
    expect([...parts].sort(([a], [b]) => a - b)).toEqual(
      least.map(([part, pages]) => [part, Math.max(pages, parts.get(part) ?? 0)]),
    );
    const sum = (record: string) =>
      rows
        .filter((row) => row['record'] === record)
        .reduce((all, row) => all + Number(row['written_pages']), 0);
    const { writtenPages, writtenBytes } = JSON.parse(stdout);
    expect([sum('write'), sum('interval'), writtenBytes / PAGE_SIZE]).toEqual(Array(3).fill(writtenPages));
    const layouts = rows.filter(
      (row) => row['record'] === 'layout' && Number(row['start_address']) === start,
    );
    expect(layouts.map((row) => Number(row['present_pages']))).toEqual([1024, 1024]);

    const opened = await openRecording(file);
    expect(opened.info).toMatchObject({ pid: target.pid, process: 'writes', end: 'interrupt' });
    const band = (await aggregateRecording(opened)).heat!.bands.find((each) => each.start === start)!;
    const inHeat = band.cells.filter((_, index) => index % 3 === 2).reduce((all, pages) => all + pages, 0);
    expect(inHeat).toBe(WRITTEN + twice);

    const page = join(folder, 'recorded.html');
    expect((await finish(startPmscan(['report', file, '-o', page]))).code).toBe(0);
    expect(readFileSync(page, 'utf8')).toContain(String(target.pid));
    expect(end - start).toBe(1024 * PAGE_SIZE);
  },
  TEST_MS,
);

test(
  'report of a process',
  async () => {
    await using target = await startWrites();
    await target.order('map 1 anon 1024');
    await target.order('write 1 0 1024 1');
    const page = join(folder, 'live.html');
    const { code, stderr } = await finish(
      startPmscan(['report', String(target.pid), '-o', page, '--duration', '2s', '--interval', '500ms']),
    );
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/live\.html: .* columns? of time, [\d,]+ mappings/),
    ]);
    expect(readFileSync(page, 'utf8')).toContain('/writes');
  },
  TEST_MS,
);

test(
  'serve: the page, and a stream of what is written',
  async () => {
    await using target = await startWrites();
    const { start } = await target.order('map 1 anon 1024');
    await target.order('write 1 0 1024 1');
    const child = spawn(
      process.execPath,
      [MAIN, 'serve', String(target.pid), '--port', '0', '--interval', '200ms'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const ended = once(child, 'exit');
    const leave = new AbortController();
    try {
      const [url] = /http:\S+/.exec(await firstOutput(child))!;
      expect(await (await fetch(url)).text()).toContain('<html');
      const { body } = await fetch(new URL(`stream?pid=${target.pid}`, url), { signal: leave.signal });
      const messages: StreamMessage[] = [];
      const listening = listen(body!, messages).catch(() => undefined);
      const isTracked = (message: StreamMessage) =>
        (message.type === 'tracking' && message.tracking.state === 'on') ||
        (message.type === 'model' && message.model.tracking?.state === 'on');
      await until('the tracking', () => messages.some(isTracked), PATIENT);
      const model = messages.find((message) => message.type === 'model')!.model;
      expect(model.layout!.mappings.some((mapping) => mapping.start === start)).toBe(true);
      const before = messages.length;
      await write(target);
      const arrived = () => pagesOf(messages.slice(before), messages, start) >= WRITTEN;
      await until(`${WRITTEN} pages of that mapping`, arrived, PATIENT);
      expect(pagesOf(messages.slice(before), messages, start)).toBeLessThan(WRITTEN + 5);
      leave.abort();
      await listening;
    } finally {
      leave.abort();
      child.kill('SIGTERM');
      await ended;
    }
    expect(child.exitCode === 130 || child.exitCode === 0 || child.signalCode === 'SIGTERM').toBe(true);
  },
  TEST_MS,
);
