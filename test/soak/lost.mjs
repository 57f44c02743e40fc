// No lost write and no missed access, at length: `npm run build`, then
//   node test/soak/lost.mjs [WRITES]      10,000,000 page writes by six threads, in another process and in own memory
// On Linux 7.3 and later also a tenth as many first accesses by four threads.
// Prints a line each; exit code 1 when a single write was lost. Takes about a minute.
import { PAGE_IS_ACCESSED } from '../../dist/abi/index.js';
import { kernelCategories } from '../../dist/live/index.js';
import { lostInOwnMemory, lostInProcess, missedAccesses } from '../support/lost.mjs';
import { argument, compile } from './program.mjs';

const writes = argument(0, 10_000_000);
for (const [name, run] of [
  ['another process', () => lostInProcess(compile('writers'), writes)],
  ['own memory', () => lostInOwnMemory(writes)],
]) {
  const before = performance.now();
  const tally = await run();
  const seconds = ((performance.now() - before) / 1000).toFixed(1);
  console.log(
    `${name}: ${tally.writes} writes, ${tally.reported} pages reported in ${tally.collects} collects, ${tally.lost} lost, ${tally.invented} invented, ${seconds} s`,
  );
  if (tally.lost > 0 || tally.invented > 0) process.exitCode = 1;
}
if (kernelCategories() & PAGE_IS_ACCESSED) {
  const before = performance.now();
  const tally = await missedAccesses(compile('toucher'), Math.ceil(writes / 10 / 16_384));
  const seconds = ((performance.now() - before) / 1000).toFixed(1);
  console.log(
    `accesses: ${tally.accesses} first accesses, ${tally.reported} pages reported in ${tally.collects} collects, ${tally.missed} missed, ${tally.invented} invented, ${seconds} s`,
  );
  if (tally.missed > 0 || tally.invented > 0) process.exitCode = 1;
}
