/**
 * Around a whole run: all that the tests start has the run's mark in its environment, and a watchdog outside of it, which
 * ends what has the mark when vitest has been killed, and the tests with it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

const MARKER = 'PMSCAN_TEST_RUN';

/** Waits for a word or for the end of its input. Arguments: the mark. */
const WATCHDOG = `
  read -r word && exit
  for _ in 1 2 3 4 5; do
    left=$(grep -lzsx "$1" /proc/[0-9]*/environ | cut -d / -f 3)
    [ -z "$left" ] && exit
    kill -s KILL $left
    sleep 0.2
  done
`;

export default function setup(): (() => Promise<void>) | undefined {
  // A run within a run is under the outer one's watch.
  if (process.env[MARKER] !== undefined) return undefined;
  // Its own environment is without the mark.
  const watchdog = spawn('sh', ['-c', WATCHDOG, 'watchdog', `${MARKER}=${process.pid}`], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  process.env[MARKER] = String(process.pid);
  return async () => {
    const exited = once(watchdog, 'exit');
    watchdog.stdin!.end('done\n');
    await exited;
  };
}
