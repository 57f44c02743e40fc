// What every benchmark needs: C programs, target processes, medians, and a table of ratios with their limits.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';

const BUILD = join(import.meta.dirname, '../.build/bench');
export const MAIN = join(import.meta.dirname, '../dist/cli/main.js');
/** Where large files go. */
export const FOLDER = process.env.PMSCAN_BENCH_FOLDER ?? '/var/tmp';

export function compile(name) {
  mkdirSync(BUILD, { recursive: true });
  const program = join(BUILD, name);
  execFileSync('cc', ['-O2', '-Wall', '-o', program, join(import.meta.dirname, 'native', `${name}.c`)]);
  return program;
}

/** Starts bench/native/target.c; `range` holds its mappings. */
export async function startTarget(program, mappings, mebibytes, step = 1) {
  const child = spawn(program, [mappings, mebibytes, step].map(String), {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
  const [start, end] = line
    .trim()
    .split(' ')
    .map((text) => Number.parseInt(text, 16));
  return {
    pid: child.pid,
    start,
    end,
    async stop() {
      child.stdin.end();
      await once(child, 'exit');
    },
  };
}

/**
 * Keeps this thread, and the programs that it starts from now on, on one processor (or, with undefined, on any): two
 * programs that are compared must not be slowed down by different neighbours. Where taskset is missing, nothing happens.
 */
export function pin(processor) {
  const list = processor ?? `0-${cpus().length - 1}`;
  spawnSync('taskset', ['-p', '-c', String(list), String(process.pid)]);
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** Nanoseconds of one call of `work`. */
export function time(work) {
  const before = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - before);
}

const results = [];

/**
 * One comparison. `limit` is what the project promises; `better` says on which side of it the value must lie.
 */
export function record({ name, value, unit = '×', limit, better = 'lower', detail }) {
  const ok = limit === undefined || (better === 'lower' ? value <= limit : value >= limit);
  const row = { name, value, unit, limit, better, ok, detail };
  results.push(row);
  // For the table of all of them.
  const rows = process.env.PMSCAN_BENCH_ROWS;
  if (rows !== undefined) appendFileSync(rows, `${JSON.stringify(row)}\n`);
  const bound =
    limit === undefined ? '' : `  (${better === 'lower' ? 'at most' : 'at least'} ${limit} ${unit})`;
  console.log(
    `${ok ? '  ok  ' : ' MISS '} ${name}: ${Number(value.toFixed(3))} ${unit}${bound}\n         ${detail}`,
  );
}

export function milliseconds(nanoseconds) {
  return `${(nanoseconds / 1e6).toFixed(2)} ms`;
}

export function header() {
  console.log(`Linux ${release()}, Node ${process.version}, ${cpus().length} × ${cpus()[0].model.trim()}\n`);
}

/** Prints the end, and as JSON if asked; a missed limit is an exit code of 1. */
export function finish() {
  const missed = results.filter(({ ok }) => !ok);
  console.log(`\n${results.length} comparisons, ${missed.length} missed`);
  if (process.argv.includes('--json')) console.log(JSON.stringify(results, null, 2));
  if (missed.length > 0) process.exitCode = 1;
}
