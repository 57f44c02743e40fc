// Attach and detach without a trace, at length: `npm run build`, then
//   node test/soak/harmless.mjs [CYCLES [MODE [THREADS [accesses]]]]   2,000 cycles of each mode with 1 thread, then some with 200
// With `accesses`, what the target accesses is tracked instead of what it writes (Linux 7.3).
// The targets notice wrong results, early wake-ups and errors (test/native/harmless.c). Prints a line for each; exit code 1
// when one was disturbed. Takes about half an hour.
import { attachCycles, MODES } from '../support/cycles.mjs';
import { argument, compile } from './program.mjs';

const cycles = argument(0, 2000);
const program = compile('harmless');
const only = process.argv[3];
const accesses = process.argv[5] === 'accesses';
const runs = only
  ? [[only, argument(2, 1)]]
  : [...MODES.map((mode) => [mode, 1]), ...['nanosleep', 'epoll', 'futex'].map((mode) => [mode, 200])];
for (const [mode, threads] of runs) {
  const before = performance.now();
  const { said, stops } = await attachCycles(program, mode, threads, cycles, 4, accesses);
  stops.sort((a, b) => a - b);
  const [median, most] = [stops[stops.length >> 1], stops.at(-1)].map((ms) => ms?.toFixed(2) ?? '–');
  const seconds = ((performance.now() - before) / 1000).toFixed(1);
  console.log(
    `${mode}, ${threads} threads: ${cycles} cycles, stop ${median} ms (most ${most}), ${seconds} s: ${said}`,
  );
  if (!/^ok [1-9]/.test(said)) process.exitCode = 1;
}
