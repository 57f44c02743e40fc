/**
 * Around every test: what it leaves is a failure. Processes that it started and that are still there are ended, so that
 * what one test leaves is in no other's way; descriptors that it opened must be closed.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeEach } from 'vitest';
import { allProcesses, hasInEnvironment, type Stat, signal } from './processes.js';

/** How long something that is ending may take: ends are told by the kernel and by programs when they come to it. */
const GRACE_MS = 10_000;

/** In the environment of all that this process starts. */
const MARKER = 'PMSCAN_TEST_WORKER';
process.env[MARKER] = String(process.pid);
const setting = `${MARKER}=${process.pid}`;

/** Descriptors that come and go by themselves: connections that are kept for later, the event loops' own. */
const FLEETING = /^(socket:|anon_inode:\[(eventpoll|eventfd|timerfd|io_uring)\])/;

/** What the process's descriptors point to, and how many to each. */
function descriptors(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const link = readlinkSync(`/proc/self/fd/${fd}`);
      if (!FLEETING.test(link)) counts.set(link, (counts.get(link) ?? 0) + 1);
    } catch {
      // The descriptor that the list itself took.
    }
  }
  return counts;
}

/**
 * Processes that are none of ours. They do not become ours, and there are many of them: whoever asks for them around every test spends
 * seconds in a run. A number that the kernel gives out again, after all others, to a process that a test leaves would hide that one.
 */
const strangers = new Set<number>();

/** Processes that descend from this one, and those whose parents have ended meanwhile. */
function descendants(): Map<number, Stat> {
  const all = allProcesses(strangers);
  const found = new Map<number, Stat>();
  for (let more = true; more; ) {
    more = false;
    for (const [pid, stat] of all) {
      if (found.has(pid) || pid === process.pid) continue;
      if (stat.parent !== process.pid && !found.has(stat.parent) && !hasInEnvironment(pid, setting)) continue;
      found.set(pid, stat);
      more = true;
    }
  }
  for (const pid of all.keys()) if (!found.has(pid) && pid !== process.pid) strangers.add(pid);
  return found;
}

interface Owned {
  readonly processes: ReadonlyMap<number, Stat>;
  readonly descriptors: ReadonlyMap<string, number>;
}

const owned = (): Owned => ({ processes: descendants(), descriptors: descriptors() });

/** What there is more than there was, in words, with the processes' numbers. */
function added(before: Owned): { texts: string[]; pids: number[] } {
  const now = owned();
  // What one that was there before starts, a browser for instance, is its own business.
  const isNew = (pid: number): boolean => {
    const stat = now.processes.get(pid);
    if (stat === undefined) return true;
    if (before.processes.get(pid)?.started === stat.started) return false;
    return stat.parent === process.pid || isNew(stat.parent);
  };
  const pids = [...now.processes].filter(([pid]) => isNew(pid));
  const running = pids.map(([pid, { name, state }]) => `process ${pid} (${name}, state ${state})`);
  const open = [...now.descriptors]
    .filter(([link, count]) => count > (before.descriptors.get(link) ?? 0))
    .map(([link]) => `a descriptor of ${link}`);
  // One that was there before may have been stopped, or be traced by what was left.
  const stopped = [...now.processes]
    .filter(([pid, { state }]) => /[Tt]/.test(state) && before.processes.get(pid)?.state === 'S')
    .map(([pid, { name }]) => `process ${pid} (${name}) stopped`);
  return { texts: [...running, ...open, ...stopped], pids: pids.map(([pid]) => pid) };
}

/** Waits until nothing is left, and ends what is. */
async function whatIsLeft(before: Owned, graceMs: number): Promise<string[]> {
  for (const until = performance.now() + graceMs; ; await sleep(10)) {
    const { texts, pids } = added(before);
    if (texts.length > 0 && performance.now() < until) continue;
    for (const pid of pids) signal(pid, 'SIGKILL');
    return texts;
  }
}

async function expectNothingLeft(who: string, before: Owned, graceMs: number): Promise<void> {
  const left = await whatIsLeft(before, graceMs);
  if (left.length > 0 && graceMs > 0) throw new Error(`${who} leaves ${left.join(', ')}`);
}

const atFirst = owned();
let before = atFirst;

// What a test that runs beside others leaves is found at the file's end: nobody could tell whose it is.
beforeEach(({ task }) => {
  if (!task.concurrent) before = owned();
});

afterEach(({ task }) => {
  if (task.concurrent) return undefined;
  // A test that has failed has said what is wrong: it is cleaned up after, and nothing is waited for.
  const failed = task.result?.state === 'fail';
  return expectNothingLeft('The test', before, failed ? 0 : GRACE_MS);
});

afterAll(() => expectNothingLeft('This file', { ...atFirst, descriptors: descriptors() }, GRACE_MS));
