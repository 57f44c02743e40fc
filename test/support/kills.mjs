// Kills trackers at random moments and looks at what they leave in their target. Shared by the tests and the soak
// programs, on the built package.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { openPagemap, PAGE_IS_WPALLOWED, RegionBuffer, userSpaceEnd } from '../../dist/index.js';
import { firstOutput } from './output.mjs';

function linkOf(path) {
  try {
    return readlinkSync(path);
  } catch (error) {
    // The process has closed the descriptor since it was listed.
    if (error.code === 'ENOENT') return '';
    throw error;
  }
}

/** What is not as it was before, as a sentence; undefined when all is well. */
export function leftovers(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const state = /^State:\s+(\S)/m.exec(status)[1];
  if (state !== 'R' && state !== 'S') return `its state is ${state}`;
  if (!/^TracerPid:\s+0$/m.test(status)) return 'it is traced';
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    if (linkOf(`/proc/${pid}/fd/${fd}`).includes('userfaultfd')) return `descriptor ${fd} is a userfaultfd`;
  }
  // Registered for write protection, or for read-write protection, which no scan shows.
  if (/^VmFlags:.*\bu[mrw]\b/m.test(readFileSync(`/proc/${pid}/smaps`, 'utf8')))
    return 'it has registered memory';
  const pagemap = openPagemap(pid);
  try {
    const masks = { categoryMask: PAGE_IS_WPALLOWED, returnMask: PAGE_IS_WPALLOWED };
    const { regions } = pagemap.scan({ start: 0, end: userSpaceEnd(), ...masks }, new RegionBuffer(1));
    return regions === 0 ? undefined : 'it has registered memory';
  } finally {
    pagemap[Symbol.dispose]();
  }
}

/** Starts a tracker that is to be killed, and gives it when it begins to attach. */
async function startTracker(pid, accesses) {
  const tracker = spawn(
    process.execPath,
    [join(import.meta.dirname, 'tracker.mjs'), String(pid), accesses ? 'accesses' : 'writes'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const exited = once(tracker, 'exit');
  return { tracker, exited, said: await firstOutput(tracker) };
}

async function kill({ tracker, exited }) {
  tracker.kill('SIGKILL');
  await exited;
}

/** How long a tracker takes here from when it begins to attach until it begins to attach again, ms. */
async function measureTracker(pid, accesses) {
  const started = await startTracker(pid, accesses);
  const before = performance.now();
  try {
    for (let { said } = started; said.lastIndexOf('a') < 1; ) said += await firstOutput(started.tracker);
    return performance.now() - before;
  } finally {
    await kill(started);
  }
}

/**
 * Kills `count` trackers of a target in `mode`, each at a random moment between when it begins to attach and when it has tracked. Throws
 * when anything is left behind; gives what the target says in the end.
 *
 * @param options.progress called after each kill with its number, and with what the tracker said last: `a` when it was attaching, `t` when it
 *   was tracking
 */
export async function killTrackers(
  program,
  mode,
  threads,
  count,
  { progress = () => {}, accesses = false } = {},
) {
  const target = spawn(program, [mode, String(threads)], { stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  target.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  await firstOutput(target);
  const closed = once(target, 'close');
  try {
    const mostMs = await measureTracker(target.pid, accesses);
    for (let number = 0; number < count; number++) {
      const started = await startTracker(target.pid, accesses);
      let doing = started.said;
      started.tracker.stdout.on('data', (said) => {
        doing = said;
      });
      const after = Math.random() * mostMs;
      await new Promise((resolve) => setTimeout(resolve, after));
      await kill(started);
      // An attacher that was at work finishes by itself.
      let left;
      for (let wait = 0; wait < 400; wait++) {
        left = leftovers(target.pid);
        if (left === undefined) break;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      if (left !== undefined)
        throw new Error(`After a kill at ${after.toFixed(1)} of ${mostMs.toFixed(1)} ms, ${left}`);
      progress(number, doing.at(-1));
    }
  } finally {
    target.stdin.on('error', () => {});
    target.stdin.end('q');
  }
  const [, signal] = await closed;
  return signal === null ? text.split('\n').slice(1).join(' ').trim() : `killed by ${signal}`;
}
