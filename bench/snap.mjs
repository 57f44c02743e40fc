import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openSnapshots, startSnapshots } from '../dist/snapshot/index.js';
import { compile } from '../test/soak/program.mjs';
import { startTorn } from '../test/support/torn.mjs';
import { FOLDER, finish, header, median, record } from './harness.mjs';
import { makeStore } from './snap-store.mjs';

const PAGES_PER_SECOND = 1000;
const TURNS = 30;
const EVERY_MS = 1000;

const program = compile('torn');
const mebibytes = Number(process.argv.slice(2).find((argument) => /^\d+$/.test(argument)) ?? 1024);
const folder = mkdtempSync(join(FOLDER, 'pagemap-scan-bench-'));

/** Milliseconds of some turns of `work`, the median. */
async function medianOf(turns, work) {
  const times = [];
  for (let turn = 0; turn < turns; turn++) {
    const before = performance.now();
    await work();
    times.push(performance.now() - before);
  }
  return median(times);
}

/** Writes as many bytes, and brings them to the disk, milliseconds. */
function writePlainly(file, bytes) {
  const piece = Buffer.alloc(4 << 20, 1);
  const before = performance.now();
  const fd = openSync(file, 'w');
  for (let done = 0; done < bytes; done += piece.length) writeSync(fd, piece);
  fsyncSync(fd);
  closeSync(fd);
  rmSync(file);
  return performance.now() - before;
}

/** What is read from stores of a made-up process: it needs none that runs. */
async function readRows() {
  const many = mkdtempSync(join(FOLDER, 'pagemap-scan-bench-'));
  try {
    const { start } = await makeStore(many, { count: 10_000, pages: 16_384, written: 100, contents: 4096 });
    const snapshots = openSnapshots(many);
    const rarely = start + 500 * 4096 + 64;
    const entries = snapshots.history(rarely, 8).length;
    record({
      name: 'history of 8 bytes over 10,000 snapshots, of a page that few of them touch',
      value: await medianOf(5, () => snapshots.history(rarely, 8)),
      unit: 'ms',
      limit: 100,
      detail: `${entries} values; 100 of 16,384 pages change from each snapshot to the next`,
    });
    record({
      name: 'the same of 16 pages, which 16 times as many touch',
      value: await medianOf(5, () => snapshots.history(rarely - 64, 16 * 4096)),
      unit: 'ms',
      detail: `${snapshots.history(rarely - 64, 16 * 4096).length} values`,
    });
    snapshots[Symbol.dispose]();
  } finally {
    rmSync(many, { recursive: true });
  }
  for (const compression of ['none', 'auto']) {
    const large = mkdtempSync(join(FOLDER, 'pagemap-scan-bench-'));
    try {
      const pages = mebibytes * 256;
      const written = Math.floor(pages / 10);
      await makeStore(large, { count: 2, pages, written, contents: pages, compression });
      const snapshots = openSnapshots(large);
      const ms = await medianOf(3, () => snapshots.diff(1, 2));
      record({
        name: `diff of two snapshots, a tenth of their pages changed, for each GiB, compression ${compression}`,
        value: (ms / 1000 / mebibytes) * 1024,
        unit: 's',
        limit: compression === 'none' ? 1 : undefined,
        detail: `${(await snapshots.diff(1, 2)).changedPages} of ${pages} pages changed`,
      });
      const file = join(large, 'core');
      const turns = [];
      // In turns: others use the disk, too.
      for (let turn = 0; turn < 3; turn++) {
        const plainMs = writePlainly(file, mebibytes * 2 ** 20);
        const before = performance.now();
        // It ends once all of it is on the disk.
        await snapshots.open(2).writeCore(file);
        turns.push({ plainMs, coreMs: performance.now() - before });
        rmSync(file);
      }
      const mibs = (key) =>
        `${Math.round(mebibytes / (median(turns.map((each) => each[key])) / 1000))} MiB/s`;
      record({
        name: `core file of a snapshot / as many bytes written to the same disk, compression ${compression}`,
        value: median(turns.map(({ plainMs, coreMs }) => coreMs / plainMs)),
        limit: compression === 'none' ? 1.1 : undefined,
        detail: `${mibs('coreMs')}, ${mibs('plainMs')}`,
      });
      snapshots[Symbol.dispose]();
    } finally {
      rmSync(large, { recursive: true });
    }
  }
}

header();
const target = await startTorn(program, mebibytes, 2, PAGES_PER_SECOND);
const stops = [];
const gaps = [];
let busyMs = 0;
let storedBytes = 0;
let changedBytes = 0;
try {
  // What the machine's other work alone keeps a thread from running.
  await target.gap();
  await sleep(3000);
  const idleMs = await target.gap();
  const snapshotter = await startSnapshots(target.pid, folder, { compression: 'none' });
  const began = performance.now();
  await snapshotter.take();
  const firstMs = performance.now() - began;
  const from = performance.now();
  for (let turn = 1; turn <= TURNS; turn++) {
    await sleep(Math.max(0, from + turn * EVERY_MS - performance.now()));
    await target.gap();
    const before = process.cpuUsage();
    const info = await snapshotter.take();
    const { user, system } = process.cpuUsage(before);
    gaps.push(await target.gap());
    stops.push(info.pauseMs);
    busyMs += (user + system) / 1000;
    storedBytes += info.storedBytes;
    changedBytes += info.changedPages * 4096;
  }
  const elapsedMs = performance.now() - from;
  snapshotter[Symbol.dispose]();
  const what = `${mebibytes} MiB, ${PAGES_PER_SECOND} pages/s, a snapshot a second`;
  const at = (share) => [...stops].sort((a, b) => a - b)[Math.floor(share * (stops.length - 1))].toFixed(1);
  record({
    name: `${what}: stop, median`,
    value: median(stops),
    unit: 'ms',
    limit: 10,
    detail: `from ${at(0)} to ${at(1)} ms; heartbeat's gaps ${median(gaps).toFixed(1)} ms median, ${Math.max(...gaps).toFixed(1)} ms longest, ${idleMs.toFixed(1)} ms without`,
  });
  record({
    name: `${what}: stop, longest`,
    value: Math.max(...stops),
    unit: 'ms',
    limit: 30,
    detail: `of ${TURNS}`,
  });
  record({
    name: `${what}: growth of the store, uncompressed / changed bytes`,
    value: storedBytes / changedBytes,
    limit: 1.1,
    detail: `${(storedBytes / 2 ** 20).toFixed(1)} MiB, ${(changedBytes / 2 ** 20).toFixed(1)} MiB`,
  });
  record({
    name: `${what}: share of a processor`,
    value: (busyMs / elapsedMs) * 100,
    unit: '%',
    limit: 10,
    detail: `${(busyMs / TURNS).toFixed(1)} ms a snapshot; the first took ${(firstMs / 1000).toFixed(1)} s`,
  });
} finally {
  await target.stop();
  rmSync(folder, { recursive: true });
}
await readRows();
finish();
