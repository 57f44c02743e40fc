// Snapshots of processes that write all the time, at length: `npm run build`, then
//   node test/soak/snap.mjs [SNAPSHOTS [KILLS]]     1,000 snapshots, none torn; then 200 writers that are killed
// Of some snapshots, the core file is compared with the bytes of the process at the stop. Prints a line each; exit code 1 when
// anything was torn, other than it was, or left behind. Takes about half an hour.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bufferAddress, ProcessMemory } from '../../dist/live/internal.js';
import { startSnapshots } from '../../dist/snapshot/hooks.js';
import { openSnapshots } from '../../dist/snapshot/index.js';
import { leftovers } from '../support/kills.mjs';
import { CoreReader, findTear, startTorn } from '../support/torn.mjs';
import { argument, compile } from './program.mjs';

const MAIN = join(import.meta.dirname, '../../dist/cli/main.js');
const count = argument(0, 1000);
const kills = argument(1, 200);
/** One in so many is compared byte for byte: more than 50 of 1,000. */
const COMPARED = 19;
const KEPT = 50;
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-soak-'));
const program = compile('torn');

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** What is wrong with the newest snapshot, as a sentence. */
async function problemOf(store, number, target, memory) {
  const snapshots = openSnapshots(store);
  try {
    const snapshot = snapshots.open(number);
    const tear = findTear(
      { memory: (address, length) => Buffer.from(snapshot.read(address, length)) },
      target,
    );
    if (tear !== undefined) return `snapshot ${number}: ${tear}`;
    if (memory === undefined) return undefined;
    const file = join(folder, 'core');
    await snapshot.writeCore(file);
    const core = new CoreReader(file);
    const bytes = core.memory(target.start, target.end - target.start);
    core.close();
    return Buffer.compare(bytes, memory) === 0
      ? undefined
      : `snapshot ${number}: its core file is other than the process was`;
  } finally {
    snapshots[Symbol.dispose]();
  }
}

/** Snapshots of one target, `pauseMs` apart. */
async function take(turns, mebibytes, rate, kinds, pauseMs) {
  const target = await startTorn(program, mebibytes, 3, rate, kinds);
  const store = join(folder, 'store');
  let memory;
  let isCompared = false;
  const snapshotter = await startSnapshots(
    target.pid,
    store,
    { keep: KEPT },
    {
      whileStopped({ handle }) {
        memory = undefined;
        if (!isCompared) return;
        const reader = new ProcessMemory(handle);
        const bytes = new Uint8Array(new ArrayBuffer(target.end - target.start));
        reader.read([target.start, target.end], bytes, bufferAddress(bytes.buffer), () => undefined);
        reader[Symbol.dispose]();
        memory = Buffer.from(bytes.buffer);
      },
    },
  );
  const stops = [];
  let problems = 0;
  let compared = 0;
  for (let turn = 0; turn < turns; turn++) {
    isCompared = turn % COMPARED === COMPARED - 1;
    const { number, pauseMs: stopMs } = await snapshotter.take();
    if (isCompared) compared++;
    // Not the first, nor those that were made longer here.
    else if (turn > 0) stops.push(stopMs);
    const problem = await problemOf(store, number, target, memory);
    if (problem !== undefined) {
      problems++;
      console.log(problem);
    }
    await sleep(pauseMs);
  }
  snapshotter[Symbol.dispose]();
  const snapshots = openSnapshots(store);
  const { problems: damage } = await snapshots.verify();
  snapshots[Symbol.dispose]();
  for (const problem of damage) console.log(problem);
  await target.stop();
  rmSync(store, { recursive: true });
  const what = `${mebibytes} MiB, ${rate || 'as many as it can'} pages/s ${kinds}`;
  const stop = `stop ${median(stops).toFixed(1)} ms median, ${Math.max(...stops).toFixed(1)} ms longest`;
  console.log(
    `${what}: ${turns} snapshots, ${problems} torn or other; ${compared} core files compared; ${stop}`,
  );
  if (problems + damage.length > 0) process.exitCode = 1;
}

async function kill() {
  const target = await startTorn(program, 16, 2, 5000, 'tm');
  const store = join(folder, 'killed');
  let whole = 0;
  for (let turn = 0; turn < kills; turn++) {
    const child = spawn(
      process.execPath,
      [MAIN, 'snap', String(target.pid), '-o', store, '--every', '1ms', '--keep', '10'],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const exited = once(child, 'exit');
    // Some while the first snapshot is taken, some at those behind it.
    if (turn % 3 > 0) await once(child.stdout, 'data');
    await sleep(turn % 3 > 0 ? Math.random() * 500 : 50 + Math.random() * 1500);
    child.kill('SIGKILL');
    await exited;
    let left;
    for (let wait = 0; wait < 400; wait++) {
      left = leftovers(target.pid);
      if (left === undefined) break;
      await sleep(5);
    }
    if (left !== undefined) throw new Error(`After kill ${turn}, ${left}`);
    let names = [];
    try {
      names = readdirSync(store);
    } catch {
      // It was killed before it began.
    }
    if (!names.some((name) => /^snapshot-\d+$/.test(name))) continue;
    const snapshots = openSnapshots(store);
    const { problems } = await snapshots.verify();
    whole = snapshots.numbers().at(-1);
    snapshots[Symbol.dispose]();
    if (problems.length > 0 || !(whole > 0)) throw new Error(`After kill ${turn}: ${problems.join('; ')}`);
  }
  await target.gap();
  await sleep(50);
  if (!((await target.gap()) > 0)) throw new Error('The target does not run any more');
  await target.stop();
  console.log(`${kills} kills, ${whole} snapshots, all whole, nothing left`);
}

try {
  for (const [mebibytes, rate, kinds, pauseMs] of [
    [64, 1000, '', 1000],
    [64, 5000, 'dmt', 300],
    [8, 0, 'd', 100],
    [256, 5000, 't', 1000],
  ])
    await take(Math.max(3, Math.ceil(count / 4)), mebibytes, rate, kinds, pauseMs);
  await kill();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
