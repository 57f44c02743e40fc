// Core dumps of a process that writes all the time: pmscan's way beside gdb's gcore, on the same process in one run. A thread
// of the target measures for how long at most it was kept from running.
//   npm run build && node bench/core.mjs [--json] [MEBIBYTES...]
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, fsyncSync, openSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { compile } from '../test/soak/program.mjs';
import { CoreReader, findTear, startTorn } from '../test/support/torn.mjs';
import { FOLDER, finish, header, MAIN, median, record } from './harness.mjs';

const TURNS = Number(process.env.PMSCAN_BENCH_TURNS ?? 5);

const program = compile('torn');
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
    try {
      for (let turn = 0; turn < TURNS; turn++) {
        await target.gap();
        let before = performance.now();
        execFileSync('gcore', ['-o', file, String(target.pid)], { stdio: ['ignore', 'ignore', 'ignore'] });
        // Both until the file is on the disk, which pmscan sees to by itself.
        const alone = performance.now() - before;
        const fd = openSync(`${file}.${target.pid}`, 'r');
        fsyncSync(fd);
        closeSync(fd);
        theirs.push({ total: performance.now() - before, alone, gap: await target.gap() });
        rmSync(`${file}.${target.pid}`);
        await target.gap();
        before = performance.now();
        const text = execFileSync(
          process.execPath,
          [MAIN, 'core', String(target.pid), '-o', file, '--json'],
          {
            encoding: 'utf8',
          },
        );
        const total = performance.now() - before;
        ours.push({ ...JSON.parse(text), total, gap: await target.gap() });
        const core = new CoreReader(file);
        const tear = findTear(core, target);
        core.close();
        if (tear !== undefined) throw new Error(`The dump is torn: ${tear}`);
        if (statSync(file).size < mebibytes * 2 ** 20) throw new Error('The file is too short');
        rmSync(file);
      }
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
      limit: rate > 1000 ? 0.5 : 0.01,
      detail: `${spread(ours, 'gap')} ms, gcore ${spread(theirs, 'gap')} ms; of it stopped ${spread(ours, 'pauseMs')} ms, for ${of(ours, 'stoppedPages')} pages after ${of(
        ours.map(({ rounds }) => ({ count: rounds.length })),
        'count',
      )} rounds; without a dump ${idle.toFixed(1)} ms`,
    });
    if (rate === 1000)
      record({
        name: `longest gap, ${name}`,
        value: of(ours, 'gap'),
        unit: 'ms',
        limit: 20,
        detail: 'median',
      });
    record({
      name: `whole time / gcore's, ${name}`,
      value: of(ours, 'total') / of(theirs, 'total'),
      limit: rate > 1000 ? undefined : 1,
      detail: `${spread(ours, 'total')} ms, gcore ${spread(theirs, 'total')} ms; without waiting for the disk ${spread(theirs, 'alone')} ms`,
    });
  }
}
finish();
