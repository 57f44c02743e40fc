// How long the command takes to start: `pmscan maps` by the npm package on this Node.js, and as the single executable where
// `npm run build:executable` has made it. `PMSCAN_BENCH_TURNS` says how many times.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { finish, header, median, record } from './harness.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const turns = Number(process.env.PMSCAN_BENCH_TURNS ?? 21);
const target = spawn('sleep', ['1000'], { stdio: 'ignore' });
const maps = ['maps', String(target.pid)];
const executable = join(root, 'build/pmscan');
const commands = {
  node: [process.execPath, '-e', '0'],
  package: [process.execPath, join(root, 'dist/cli/main.js'), ...maps],
};
if (existsSync(executable)) commands.executable = [executable, ...maps];

/** Seconds of the processor that a program used. */
function childSeconds(program, args) {
  const script = 'TIMEFORMAT="%U %S"; time "$@" >/dev/null';
  const { stderr, status } = spawnSync('bash', ['-c', script, 'bash', program, ...args], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  const [user, system] = stderr.trim().split('\n').at(-1).split(' ').map(Number);
  return user + system;
}

const seconds = Object.fromEntries(Object.keys(commands).map((name) => [name, []]));
try {
  for (let turn = 0; turn < turns; turn++) {
    for (const [name, [program, ...args]] of Object.entries(commands))
      seconds[name].push(childSeconds(program, args));
  }
} finally {
  target.kill();
}
header();
const base = median(seconds.node);
for (const [name, title, limit] of [
  ['package', 'start of `pmscan maps`, the npm package, above `node -e 0`', 0.1],
  ['executable', 'start of `pmscan maps`, the single executable, above `node -e 0`', 0.15],
]) {
  if (seconds[name] === undefined) continue;
  const own = median(seconds[name]);
  record({
    name: title,
    value: own - base,
    unit: 's',
    limit,
    detail: `${own.toFixed(3)} s and ${base.toFixed(3)} s of the processor`,
  });
}
finish();
