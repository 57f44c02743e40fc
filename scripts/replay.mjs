// Runs scenario files on this kernel and prints each whose answers are not those in the file, as a scenario with this kernel's:
//   node scripts/replay.mjs FILE...
// One process for all, which is what slow machines need: `npm run fuzz -- --write FILE` has the simulator's answers ready, so that an
// emulated one has nothing to do but what is asked of its kernel. What differs is repeated in a process of its own.
import { readFileSync } from 'node:fs';
import {
  formatMismatch,
  formatScenario,
  KernelBackend,
  mismatchesOf,
  parseScenarios,
} from '../dist/scenario/index.js';
import { KernelMemory } from '../dist/scenario/kernel-memory.js';

const started = Date.now();
const fresh = new KernelBackend({ timeoutMs: 300_000 });
let failures = 0;
let once = 0;

function runHere(scenario) {
  const memory = new KernelMemory(scenario);
  const answers = scenario.steps.map(({ op }) => memory.apply(op));
  memory[Symbol.dispose]();
  return answers;
}

for (const file of process.argv.slice(2)) {
  let count = 0;
  for (const scenario of parseScenarios(readFileSync(file, 'utf8'), file)) {
    count++;
    // One line now and then: whoever waits takes silence for a hang.
    if (count % 50 === 0)
      console.log(`${file}: ${count} done, ${((Date.now() - started) / 1000).toFixed(0)} s`);
    if (mismatchesOf(scenario, runHere(scenario)).length === 0) continue;
    const answers = await fresh.run(scenario);
    const [mismatch] = mismatchesOf(scenario, answers);
    if (mismatch === undefined) {
      once++;
      continue;
    }
    failures++;
    console.log(formatMismatch(mismatch));
    console.log(formatScenario(scenario, answers).replace(/^/gm, '    | '));
  }
  console.log(`${file}: ${count} scenarios`);
}
const seconds = ((Date.now() - started) / 1000).toFixed(0);
console.log(`${failures} mismatches, ${once} that did not repeat, ${seconds} s`);
fresh[Symbol.dispose]();
process.exitCode = failures === 0 ? 0 : 1;
