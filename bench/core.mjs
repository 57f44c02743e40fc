// Core dumps of a process that writes all the time: pmscan's way beside gdb's gcore, on the same process in one run. A thread
// of the target measures for how long at most it was kept from running.
//   npm run build && node bench/core.mjs [--json] [MEBIBYTES...]
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fsyncSync, openSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { attachUserfaultfd } from '../dist/live/attach.js';
import { ProcessHandle } from '../dist/live/process.js';
import { measureFaultCost } from '../dist/track/index.js';
import { compile } from '../test/soak/program.mjs';
import { CoreReader, findTear, startTorn } from '../test/support/torn.mjs';
import { compile as compileHere, FOLDER, finish, header, MAIN, median, record } from './harness.mjs';

const TURNS = Number(process.env.PMSCAN_BENCH_TURNS ?? 5);
/** As many as there are processors where it is promised. */
const LOOPS = 2;

const program = compile('torn');
/** Where page tables are not the hardware's own, a page fault takes ten times as long, and so does all that is done to them. */
const isDear = (measureFaultCost() ?? 0) > 5;
const giveBack = compileHere('give-back');

/**
 * The yardstick: a C program that protects the same memory once and gives it back, and does nothing else. The longest gaps of the target
 * in the two halves, milliseconds.
 */
async function protectOnly(target) {
  await target.gap();
  const handle = new ProcessHandle(target.pid);
  const { fd } = await attachUserfaultfd(handle).finally(() => handle[Symbol.dispose]());
  const child = spawn(
    giveBack,
    [target.start, target.end].map((address) => address.toString(16)),
    { stdio: ['pipe', 'pipe', 'inherit', fd] },
  );
  closeSync(fd);
  await once(child.stdout, 'data');
  const protecting = await target.gap();
  // As long as a dump copies.
  await sleep(500);
  const meanwhile = await target.gap();
  child.stdin.end();
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`The C program gave ${code}`);
  return { protecting, meanwhile, back: await target.gap() };
}

/** How long as many bytes take that nobody has to look for, until the file is on the disk, past the page cache as ours go: milliseconds. */
function writeAsMuch(mebibytes) {
  const before = performance.now();
  const args = [
    'if=/dev/zero',
    `of=${file}`,
    'bs=4M',
    `count=${Math.ceil(mebibytes / 4)}`,
    'oflag=direct',
    'conv=fsync',
  ];
  execFileSync('dd', args, { stdio: 'ignore' });
  const total = performance.now() - before;
  rmSync(file);
  return total;
}

/** One dump of ours, which is checked. */
async function dump(target, mebibytes) {
  await target.gap();
  const before = performance.now();
  const args = [MAIN, 'core', String(target.pid), '-o', file, '--json'];
  const text = execFileSync(process.execPath, args, { encoding: 'utf8' });
  const total = performance.now() - before;
  const gap = await target.gap();
  const core = new CoreReader(file);
  const tear = findTear(core, target);
  core.close();
  if (tear !== undefined) throw new Error(`The dump is torn: ${tear}`);
  if (statSync(file).size < mebibytes * 2 ** 20) throw new Error('The file is too short');
  rmSync(file);
  return { ...JSON.parse(text), total, gap };
}

/** Dumps while programs that compute want every processor, at the priority that all have. */
async function dumpBeside(target, mebibytes) {
  const loops = Array.from({ length: LOOPS }, () =>
    spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' }),
  );
  try {
    await sleep(500);
    await target.gap();
    await sleep(3000);
    const idle = await target.gap();
    const dumps = [];
    for (let turn = 0; turn < TURNS; turn++) dumps.push(await dump(target, mebibytes));
    return { idle, dumps };
  } finally {
    for (const loop of loops) loop.kill('SIGKILL');
  }
}

if (spawnSync('gcore', ['-h']).error !== undefined)
  throw new Error('Cannot compare: gcore (gdb) is not installed');

const sizes = process.argv
  .slice(2)
  .filter((argument) => /^\d+$/.test(argument))
  .map(Number);
header();
const file = join(FOLDER, `pagemap-scan-bench.${process.pid}`);
for (const mebibytes of sizes.length > 0 ? sizes : [1024, 4096]) {
  for (const rate of [1000, 100_000]) {
    const target = await startTorn(program, mebibytes, 3, rate);
    console.log(`\n${mebibytes / 1024} GiB, 4 threads, ${rate} pages/s written, ${TURNS} dumps each`);
    // What the machine's other work alone keeps a thread from running.
    await target.gap();
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const idle = await target.gap();
    const ours = [];
    const theirs = [];
    const least = [];
    const disk = [];
    let beside;
    try {
      for (let turn = 0; turn < TURNS; turn++) {
        await target.gap();
        const before = performance.now();
        execFileSync('gcore', ['-o', file, String(target.pid)], { stdio: ['ignore', 'ignore', 'ignore'] });
        // Both until the file is on the disk, which pmscan sees to by itself.
        const alone = performance.now() - before;
        const fd = openSync(`${file}.${target.pid}`, 'r');
        fsyncSync(fd);
        closeSync(fd);
        theirs.push({ total: performance.now() - before, alone, gap: await target.gap() });
        rmSync(`${file}.${target.pid}`);
        const { protecting, meanwhile, back } = await protectOnly(target);
        least.push({ protecting, meanwhile, back, gap: Math.max(protecting, meanwhile, back) });
        disk.push(writeAsMuch(mebibytes));
        ours.push(await dump(target, mebibytes));
      }
      if (rate === 1000) beside = await dumpBeside(target, mebibytes);
    } finally {
      rmSync(file, { force: true });
      rmSync(`${file}.${target.pid}`, { force: true });
      await target.stop();
    }
    const of = (list, key) => median(list.map((one) => one[key]));
    const spread = (list, key) => list.map((one) => one[key].toFixed(1)).join(', ');
    const name = `${mebibytes / 1024} GiB, ${rate} pages/s`;
    record({
      name: `longest gap / gcore's, ${name}`,
      value: of(ours, 'gap') / of(theirs, 'gap'),
      // A gap is much the same for less memory, and gcore's is shorter.
      limit: mebibytes < 1024 ? undefined : rate > 1000 ? 0.5 : isDear ? 0.05 : 0.01,
      detail: `${spread(ours, 'gap')} ms, gcore ${spread(theirs, 'gap')} ms; of it stopped ${spread(ours, 'pauseMs')} ms, for ${of(ours, 'stoppedPages')} pages after ${of(
        ours.map(({ rounds }) => ({ count: rounds.length })),
        'count',
      )} rounds; without a dump ${idle.toFixed(1)} ms`,
    });
    record({
      name: `longest gap without the stop / of a C program that only protects and gives back, ${name}`,
      // A gap that comes without any tool, too, is no measure.
      value:
        median(ours.map(({ gap, pauseMs }) => Math.max(gap - pauseMs, 0))) / Math.max(of(least, 'gap'), idle),
      limit: rate > 1000 ? undefined : 1.5,
      detail: `${spread(least, 'gap')} ms: protecting ${spread(least, 'protecting')} ms, giving back ${spread(least, 'back')} ms`,
    });
    if (rate === 1000) {
      record({
        name: `longest gap, ${name}`,
        value: of(ours, 'gap'),
        unit: 'ms',
        limit: isDear ? undefined : 20,
        detail: 'median',
      });
      record({
        name: `longest gap beside ${LOOPS} busy loops / without them, ${name}`,
        value: of(beside.dumps, 'gap') / of(ours, 'gap'),
        limit: 2,
        detail: `${spread(beside.dumps, 'gap')} ms, of it stopped ${spread(beside.dumps, 'pauseMs')} ms; without a dump ${beside.idle.toFixed(1)} ms`,
      });
    }
    const spent = `${spread(ours, 'total')} ms`;
    record({
      name: `whole time less 0.5 s / dd of as much, ${name}`,
      value: (of(ours, 'total') - 500) / median(disk),
      limit: rate > 1000 || mebibytes < 1024 ? undefined : 1.2,
      detail: `${spent}, dd ${disk.map((one) => one.toFixed(1)).join(', ')} ms`,
    });
    record({
      name: `whole time / gcore's, ${name}`,
      value: of(ours, 'total') / of(theirs, 'total'),
      limit: rate > 1000 || isDear ? undefined : 1,
      detail: `${spent}, gcore ${spread(theirs, 'total')} ms; without waiting for the disk ${spread(theirs, 'alone')} ms`,
    });
  }
}
finish();
