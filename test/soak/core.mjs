// Core dumps of a process that writes all the time, at length: `npm run build`, then
//   node test/soak/core.mjs [DUMPS [KILLS]]     200 dumps, none torn; then 200 dumps that are killed in the middle
// Prints a line each; exit code 1 when a dump was torn, or a kill left anything behind. Takes about ten minutes.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { dumpCore } from '../../dist/core/index.js';
import { leftovers } from '../support/kills.mjs';
import { CoreReader, findTear, startTorn } from '../support/torn.mjs';
import { argument, compile } from './program.mjs';

const MAIN = join(import.meta.dirname, '../../dist/cli/main.js');
const dumps = argument(0, 200);
const kills = argument(1, 200);
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-soak-'));
const file = join(folder, 'core');
const program = compile('torn');

/** Dumps of one target; how many were torn. */
async function dump(count, mebibytes, rate, kinds) {
  const target = await startTorn(program, mebibytes, 3, rate, kinds);
  let torn = 0;
  let longest = 0;
  for (let turn = 0; turn < count; turn++) {
    const { pauseMs } = await dumpCore(target.pid, { file });
    longest = Math.max(longest, pauseMs);
    const core = new CoreReader(file);
    const tear = findTear(core, target);
    core.close();
    if (tear === undefined) continue;
    torn++;
    console.log(`torn: ${tear}`);
  }
  await target.stop();
  return { torn, longest };
}

try {
  for (const [mebibytes, rate, kinds] of [
    [64, 1000, ''],
    [64, 50_000, 'dmt'],
    [16, 0, 'd'],
    [256, 20_000, ''],
  ]) {
    const share = Math.ceil(dumps / 4);
    const { torn, longest } = await dump(share, mebibytes, rate, kinds);
    const what = `${mebibytes} MiB, ${rate || 'as many as it can'} pages/s ${kinds}`;
    console.log(`${what}: ${share} dumps, ${torn} torn, longest pause ${longest.toFixed(1)} ms`);
    if (torn > 0) process.exitCode = 1;
  }

  const target = await startTorn(program, 128, 2, 20_000, 't');
  rmSync(file, { force: true });
  let whole = 0;
  const dumping = (...more) =>
    spawn(process.execPath, [MAIN, 'core', String(target.pid), '-o', file, ...more], { stdio: 'ignore' });
  // Killed at any moment from their start to their end, however fast the machine is.
  const before = performance.now();
  await once(dumping(), 'exit');
  const mostMs = performance.now() - before;
  rmSync(file);
  for (let kill = 0; kill < kills; kill++) {
    const child = dumping(...(kill % 4 ? [] : ['--stop']));
    const exited = once(child, 'exit');
    await sleep(Math.random() * mostMs);
    child.kill('SIGKILL');
    await exited;
    let left;
    for (let wait = 0; wait < 400; wait++) {
      left = leftovers(target.pid);
      if (left === undefined) break;
      await sleep(5);
    }
    if (existsSync(file)) {
      whole++;
      rmSync(file);
    }
    if (left === undefined && readdirSync(folder).length > 0) left = 'a file';
    if (left !== undefined) throw new Error(`After kill ${kill}, ${left}`);
  }
  await target.gap();
  await sleep(50);
  if (!((await target.gap()) > 0)) throw new Error('The target does not run any more');
  await target.stop();
  console.log(`${kills} kills, nothing left; ${whole} came too late`);
} finally {
  rmSync(folder, { recursive: true });
}
