// Snapshots of a process that writes all the time: what they cost it, the store, and the processor.
//   npm run build && node bench/snap.mjs [--json] [MEBIBYTES]
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openSnapshots, startSnapshots } from '../dist/snapshot/index.js';
import { startTorn } from '../test/support/torn.mjs';
import { finish, header, median, record } from './harness.mjs';

const BUILD = join(import.meta.dirname, '../.build/bench');
const PAGES_PER_SECOND = 1000;
const TURNS = 30;
const EVERY_MS = 1000;

mkdirSync(BUILD, { recursive: true });
const program = join(BUILD, 'torn');
execFileSync('cc', [
  '-O2',
  '-Wall',
  '-pthread',
  '-o',
  program,
  join(import.meta.dirname, '../test/native/torn.c'),
]);
const mebibytes = Number(process.argv.slice(2).find((argument) => /^\d+$/.test(argument)) ?? 1024);
const folder = mkdtempSync(join(process.env.PMSCAN_BENCH_FOLDER ?? '/var/tmp', 'pagemap-scan-bench-'));

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

  const snapshots = openSnapshots(folder);
  const numbers = snapshots.numbers();
  let before = performance.now();
  const { changedPages } = snapshots.diff(numbers.at(1), numbers.at(-1));
  record({
    name: 'diff of two snapshots, for each GiB looked at',
    value: ((performance.now() - before) / 1000 / mebibytes) * 1024,
    unit: 's',
    detail: `${changedPages} pages changed`,
  });
  before = performance.now();
  const entries = snapshots.history(target.start, 8).length;
  record({
    name: 'history of 8 bytes, for 1,000 snapshots',
    value: ((performance.now() - before) / numbers.length) * 1000,
    unit: 'ms',
    detail: `${entries} values in ${numbers.length} snapshots`,
  });
  snapshots[Symbol.dispose]();
} finally {
  await target.stop();
  rmSync(folder, { recursive: true });
}
finish();
