// All that the project promises about speed, measured, as one table: npm run bench
//   npm run bench -- --quick        smaller and fewer, some 5 minutes: what has got much worse shows
//   npm run bench -- engine snap    some of them
//   npm run bench -- --write-docs   the table goes into docs/reference/performance.md, too
// Every benchmark runs, whatever the others gave. The exit code is 1 when a promise is missed or a benchmark fails.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { insertBetween, table } from './table.mjs';

/** What each takes; `quick` undefined: it is left out then. */
const BENCHMARKS = {
  main: { is: 'scans, beside C', full: [], quick: [] },
  engine: { is: 'the engine, beside the kernel', full: [], quick: [] },
  track: { is: 'tracking', full: [], quick: [] },
  start: { is: 'the start of the command', full: [], quick: [], turns: 5 },
  core: { is: 'core dumps, beside gcore', full: [], quick: ['256'], turns: 3 },
  'core-sparse': { is: 'core dumps of reserved terabytes', full: [], quick: [], turns: 2 },
  snap: { is: 'snapshots', full: [], quick: ['256'] },
  record: { is: 'recordings', full: ['--hours', '2'], quick: ['--hours', '0.25'] },
  services: { is: 'services under watch', full: [] },
  web: { is: 'the page', full: [] },
};

const { values: options, positionals } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
  allowPositionals: true,
});
const unknown = positionals.find((name) => BENCHMARKS[name] === undefined);
if (options.help || unknown !== undefined) {
  if (unknown !== undefined) console.error(`There is no benchmark ${unknown}\n`);
  console.log('npm run bench -- [--quick] [--write-docs] [NAME]...\n');
  for (const [name, { is, quick }] of Object.entries(BENCHMARKS))
    console.log(`  ${name.padEnd(13)}${is}${quick === undefined ? ' (not with --quick)' : ''}`);
  process.exit(unknown === undefined ? 0 : 2);
}

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-bench-'));
const rows = [];
const failed = [];
const began = performance.now();
try {
  for (const [name, { full, quick, turns }] of Object.entries(BENCHMARKS)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    const args = options.quick ? quick : full;
    if (args === undefined) continue;
    console.log(`\n--- ${name} ${args.join(' ')}`);
    const file = join(folder, `${name}.jsonl`);
    writeFileSync(file, '');
    const env = { ...process.env, PMSCAN_BENCH_ROWS: file };
    if (options.quick && turns !== undefined) env.PMSCAN_BENCH_TURNS ??= String(turns);
    const { status, signal } = spawnSync(
      process.execPath,
      [join(import.meta.dirname, `${name}.mjs`), ...args],
      {
        env,
        stdio: 'inherit',
      },
    );
    // Interrupted: by whoever waits here, too.
    if (signal === 'SIGINT') break;
    const own = readFileSync(file, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
    rows.push(...own.map((row) => ({ ...row, benchmark: name })));
    if (status !== 0 && own.every(({ ok }) => ok)) failed.push(name);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

const minutes = ((performance.now() - began) / 60_000).toFixed(0);
const machine = `Linux ${release()}, Node ${process.versions.node}, ${cpus().length} × ${cpus()[0].model.trim()}`;
const about = `${machine}; ${minutes} minutes; the load was ${loadavg()[2].toFixed(1)} at the end${options.quick ? '; `--quick`' : ''}.`;
const text = table(rows);
console.log(`\n${about}\n\n${text}`);
if (options['write-docs'])
  insertBetween(join(import.meta.dirname, '../docs/reference/performance.md'), `${about}\n\n${text}`);
const missed = rows.filter(({ ok }) => !ok).length;
console.log(
  `\n${rows.length} figures, ${missed} missed${failed.length > 0 ? `; failed: ${failed.join(', ')}` : ''}`,
);
if (missed > 0 || failed.length > 0) process.exitCode = 1;
