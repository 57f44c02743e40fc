// Write tracking: how long attaching stops a process, and what collecting costs beside the bare ioctl in C.
//   npm run build && node bench/track.mjs [--json]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { trackProcess } from 'pagemap-scan/track';
import { attachUserfaultfd, ProcessHandle } from '../dist/live/internal.js';
import { compile, finish, header, median, milliseconds, pin, record } from './harness.mjs';

const MEBIBYTES = 4096;

/** A program that answers each byte with a line. */
async function start(mode, mebibytes) {
  const child = spawn(compile('track'), [mode, String(mebibytes)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  return {
    pid: child.pid,
    async order() {
      child.stdin.write('g');
      return (await lines.next()).value.split(' ').map(Number);
    },
    async stop() {
      child.stdin.end();
      await once(child, 'exit');
    },
  };
}

header();
console.log('Attaching to another process, 50 times');
for (const [name, program, args] of [
  ['a process that waits', 'track', ['target', '16']],
  ['a process that computes', '/bin/sh', ['-c', 'while :; do :; done']],
]) {
  const child = spawn(program === 'track' ? compile('track') : program, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child, 'spawn');
  await new Promise((resolve) => setTimeout(resolve, 300));
  const handle = new ProcessHandle(child.pid);
  const stops = [];
  const wholes = [];
  for (let attach = 0; attach < 50; attach++) {
    const before = performance.now();
    const { fd, stopMs } = await attachUserfaultfd(handle);
    wholes.push(performance.now() - before);
    stops.push(stopMs);
    closeSync(fd);
  }
  handle[Symbol.dispose]();
  child.kill();
  await once(child, 'exit');
  const sorted = stops.toSorted((a, b) => a - b);
  record({
    name: `attach stops ${name}, median of 50`,
    value: median(stops),
    unit: 'ms',
    limit: 2,
    detail: `from ${sorted[0].toFixed(2)} to ${sorted.at(-1).toFixed(2)} ms; attaching as a whole ${median(wholes).toFixed(0)} ms`,
  });
}

console.log(`\nCollecting over ${MEBIBYTES / 1024} GiB of small pages, 1 % written in each interval`);
pin(cpus().length - 1);
{
  const target = await start('target', MEBIBYTES);
  const tracker = await trackProcess(target.pid);
  const expected = (round) => Math.ceil((MEBIBYTES * 256 - (round % 101)) / 101);
  // The fast path treats all that does not exist as written, so it is not what collecting can ask for; for comparison only.
  for (const [mode, name, limit] of [
    ['existing', 'the same masks', 1.5],
    ['all', "the kernel's fast path, WRITTEN only", undefined],
  ]) {
    const reference = await start(mode, MEBIBYTES);
    const turns = [];
    // The best of a few each, in turns: what else the machine does can only slow things down.
    for (let turn = 0, round = 0; turn < 11; turn++) {
      let c = Number.POSITIVE_INFINITY;
      let node = Number.POSITIVE_INFINITY;
      for (let repeat = 0; repeat < 5; repeat++, round++) {
        const [nanoseconds, pages] = await reference.order();
        await target.order();
        const { scanMs, writtenPages } = tracker.collect();
        if (pages !== expected(round)) throw new Error(`C found ${pages} pages, expected ${expected(round)}`);
        if (Math.abs(writtenPages - pages) > 40)
          throw new Error(`Collected ${writtenPages} pages, C ${pages}`);
        c = Math.min(c, nanoseconds);
        node = Math.min(node, scanMs * 1e6);
      }
      turns.push({ c, node, ratio: node / c });
    }
    await reference.stop();
    const of = (key) => median(turns.map((turn) => turn[key]));
    record({
      name: `collect / the bare ioctl in C, ${name}`,
      value: of('ratio'),
      limit,
      detail: `collect ${milliseconds(of('node'))}, C ${milliseconds(of('c'))}, ${expected(0)} pages written`,
    });
  }
  tracker[Symbol.dispose]();
  await target.stop();
}

finish();
