// How long the command takes to start: `pmscan maps` by the npm package on this Node.js, and as the single executable. Needs
// `npm run build:executable`. `PMSCAN_BENCH_TURNS` says how many times.
import { spawn, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const turns = Number(process.env.PMSCAN_BENCH_TURNS ?? 21);
const target = spawn('sleep', ['1000'], { stdio: 'ignore' });
const maps = ['maps', String(target.pid)];
const commands = {
  [`node -e 0 (${process.version})`]: [process.execPath, '-e', '0'],
  'the npm package': [process.execPath, join(root, 'dist/cli/main.js'), ...maps],
  'the single executable': [join(root, 'build/pmscan'), ...maps],
};

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
for (const [name, all] of Object.entries(seconds)) {
  const median = all.toSorted((a, b) => a - b)[turns >> 1];
  console.log(`${name.padEnd(28)}${median.toFixed(3)} s`);
}
