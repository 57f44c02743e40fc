// A tracker to be killed: attaches to process PID, over and over, and collects in between.  node tracker.mjs PID [accesses]
// Says what it does, a letter each: a when it begins to attach, t when it tracks.
import { writeSync } from 'node:fs';
import { trackProcess } from '../../dist/track/index.js';

const pid = Number(process.argv[2]);
for (;;) {
  writeSync(1, 'a');
  const tracker = await trackProcess(pid, { accesses: process.argv[3] === 'accesses' });
  writeSync(1, 't');
  for (let round = 0; round < 30; round++) {
    tracker.collect();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  tracker[Symbol.dispose]();
}
