// Trackers killed at random moments leave nothing behind, at length: `npm run build`, then
//   node test/soak/kills.mjs [KILLS [accesses]]      500 kills; with `accesses`, of trackers of accesses (Linux 7.3)
// Exit code 1 when anything is left, or a target was disturbed. Takes about five minutes.
import { killTrackers } from '../support/kills.mjs';
import { argument, compile } from './program.mjs';

const kills = argument(0, 500);
const accesses = process.argv[3] === 'accesses';
const program = compile('harmless');
const share = Math.ceil(kills / 4);
for (const [mode, threads] of [
  ['checksum', 1],
  ['nanosleep', 1],
  ['epoll', 1],
  ['storm', 1],
]) {
  const before = performance.now();
  let attaching = 0;
  const progress = (_, doing) => {
    if (doing === 'a') attaching++;
  };
  const said = await killTrackers(program, mode, threads, share, { accesses, progress });
  const seconds = ((performance.now() - before) / 1000).toFixed(1);
  console.log(`${mode}: ${share} kills (${attaching} while it attached), ${seconds} s: ${said}`);
  if (!/^ok [1-9]/.test(said)) process.exitCode = 1;
}
