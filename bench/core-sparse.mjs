// Core dumps of sparse giants: 20 TiB of address space of which some thousand pages were written, 165 GB without access, and 64 MiB
// that are full. A dump of the running process beside one that stops it throughout, in turns.
//   npm run build && node bench/core-sparse.mjs [--json]
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { compile } from '../test/soak/program.mjs';
import { FOLDER, finish, header, MAIN, median, record } from './harness.mjs';

const TURNS = Number(process.env.PMSCAN_BENCH_TURNS ?? 5);

const program = compile('sparse');
const file = join(FOLDER, `pagemap-scan-sparse.${process.pid}`);

/** Milliseconds of the processor that this process's children took, as /proc/self/stat counts them. */
function processorMs() {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

function dump(pid, options) {
  const [before, processorBefore] = [performance.now(), processorMs()];
  const text = execFileSync(process.execPath, [MAIN, 'core', String(pid), ...options, '-o', file, '--json'], {
    encoding: 'utf8',
  });
  const total = performance.now() - before;
  rmSync(file);
  return { total, processor: processorMs() - processorBefore, pauseMs: JSON.parse(text).pauseMs };
}

header();
for (const pages of [4096, 16_384]) {
  const child = spawn(program, ['20', String(pages), '64'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const running = [];
  const stopped = [];
  try {
    for (let turn = 0; turn < TURNS; turn++) {
      running.push(dump(child.pid, []));
      stopped.push(dump(child.pid, ['--stop']));
    }
  } finally {
    rmSync(file, { force: true });
    child.stdin.end();
    await once(child, 'exit');
  }
  const of = (list, key) => median(list.map((one) => one[key]));
  const spread = (list, key) => list.map((one) => one[key].toFixed(0)).join(', ');
  const compare = (name, key, limit) =>
    record({
      name: `${name} / --stop's, 20 TiB, ${pages} pages in it`,
      value: of(running, key) / of(stopped, key),
      limit,
      detail: `${spread(running, key)} ms, --stop ${spread(stopped, key)} ms`,
    });
  compare('whole time', 'total', 2);
  compare("processor's time", 'processor', undefined);
  compare('stop', 'pauseMs', 0.5);
}
finish();
