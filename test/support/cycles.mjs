// Attaches to a target again and again while it watches itself (test/native/harmless.c). Plain JavaScript on the built
// package, so that the tests and the soak programs share it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import {
  ASYNC_RWP_FEATURES,
  Attacher,
  openPagemap,
  ProcessHandle,
  Userfaultfd,
} from '../../dist/live/internal.js';
import { AccessTracker, spaceOf, WriteProtectTracker } from '../../dist/track/internal.js';
import { firstOutput } from './output.mjs';

function processorHas(feature) {
  return readFileSync('/proc/cpuinfo', 'latin1').includes(` ${feature} `);
}

export const MODES = [
  ...['nanosleep', 'absolute', 'epoll', 'epoll_pwait2', 'poll', 'ppoll', 'select', 'futex', 'sigtimedwait'],
  ...['semtimedop', 'recv', 'io_uring', 'read', 'epoll-forever', 'poll-forever'],
  ...[
    'checksum',
    'syscalls',
    'storm',
    'alarm',
    'trap-default',
    'trap-ignored',
    'trap-handled',
    'trap-blocked',
    'rseq',
  ],
  // Registers that are not on every processor: vectors, and those of streaming mode.
  ...['sve', 'sme'].filter((feature) => process.arch === 'arm64' && processorHas(feature)),
];

/**
 * Starts `program MODE THREADS`, attaches to it `cycles` times with a whole tracker each time, and gives what the target
 * says in the end, with the longest stop.
 *
 * @param accesses whether what it accesses is tracked, instead of what it writes
 */
export async function attachCycles(program, mode, threads, cycles, pauseMs = 12, accesses = false) {
  // Two hundred threads that compute would get all of the processor: they have a low priority.
  const command = threads > 1 ? ['nice', '-n', '10', program] : [program];
  const [first, ...args] = [...command, mode, String(threads)];
  const child = spawn(first, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  await firstOutput(child);
  const closed = once(child, 'close');
  const stops = [];
  let failure;
  const handle = new ProcessHandle(child.pid);
  const attacher = await Attacher.start(handle, { stopTimeoutMs: 60_000 });
  try {
    for (let cycle = 0; cycle < cycles; cycle++) {
      const { fd, stopMs } = await attacher.attach();
      stops.push(stopMs);
      const pagemap = openPagemap(child.pid);
      const tracker = accesses
        ? new AccessTracker(spaceOf({ pagemap }), Userfaultfd.adopt(fd, ASYNC_RWP_FEATURES), stopMs)
        : new WriteProtectTracker(pagemap, Userfaultfd.adopt(fd), stopMs);
      if (cycle % 3 === 0) tracker.collect();
      await new Promise((resolve) => setTimeout(resolve, Math.random() * pauseMs));
      if (cycle % 3 === 1) tracker.collect();
      tracker[Symbol.dispose]();
    }
  } catch (error) {
    failure = error;
  } finally {
    await attacher[Symbol.asyncDispose]();
    handle[Symbol.dispose]();
    child.stdin.on('error', () => {});
    child.stdin.end('q');
  }
  const [code, signal] = await closed;
  const said = text.split('\n').slice(1).join(' ').trim();
  // A target that was disturbed ends: what it says tells more than that it is gone.
  if (failure !== undefined && said.startsWith('ok')) throw failure;
  return { said: signal === null ? said : `killed by ${signal}`, code, stops };
}
