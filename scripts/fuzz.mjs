// Compares the simulator with the running kernel on generated scenarios:
//   npm run fuzz -- --minutes N [--seed S] [--kind K] [--count N] [--profile RELEASE] [--set PROPERTY=VALUE] [--save]
// The simulator is as this kernel is, which is measured, or as a named one (--profile), with properties that differ (--set).
// With --write FILE, scenarios and the simulator's answers go to a file, for `scripts/replay.mjs` on another machine.
// Needs root, 64 free 2 MiB pages (kinds hugetlb, mixed) and swap on zram (swap, mixed). With --save, a scenario on
// which they disagree is written to test/traces, with the kernel's answers.
import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  compareBackends,
  formatMismatch,
  formatScenario,
  generateScenario,
  KernelBackend,
  measureProfile,
  SimulatorBackend,
} from '../dist/scenario/index.js';
import { scenarioKinds } from '../dist/scenario/internal.js';
import { KERNEL_PROFILES } from '../dist/sim/index.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '1000000000' },
    kind: { type: 'string', multiple: true },
    profile: { type: 'string' },
    failures: { type: 'string', default: '5' },
    save: { type: 'boolean', default: false },
    write: { type: 'string' },
    set: { type: 'string', multiple: true, default: [] },
  },
});
const measured = values.profile === undefined ? await measureProfile() : undefined;
for (const { scenario } of measured?.unexplained ?? []) {
  console.log(`An answer that no known kernel gives:\n${scenario.replace(/^/gm, '    | ')}`);
}
const named = measured?.profile ?? KERNEL_PROFILES[values.profile];
if (named === undefined)
  throw new Error(`There is no profile ${values.profile}, only ${Object.keys(KERNEL_PROFILES).join(', ')}`);
const changes = values.set.map((text) => {
  const [, property, value] = /^(\w+)=(.+)$/.exec(text) ?? [];
  if (!(property in named))
    throw new Error(`There is no property ${text}, only ${Object.keys(named).join(', ')}`);
  return [property, JSON.parse(value)];
});
const profile = { ...named, ...Object.fromEntries(changes) };
/** Whose traces a difference belongs to. */
const nearest = measured?.nearest ?? values.profile;
const kinds = values.kind ?? scenarioKinds(profile);
const firstSeed = Number(values.seed);
const deadline = Date.now() + Number(values.minutes) * 60_000;
const started = Date.now();
if (values.write !== undefined) {
  const simulator = new SimulatorBackend(profile);
  const count = Math.min(Number(values.count), 1000);
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    for (const kind of kinds) {
      const scenario = generateScenario(kind, seed, profile);
      appendFileSync(values.write, formatScenario(scenario, simulator.run(scenario)));
    }
  }
  process.exit(0);
}

// A process for many scenarios costs a tenth of a fresh one each; what differs is repeated in a fresh one.
const quick = new KernelBackend({ scenariosPerProcess: 500, timeoutMs: 30_000 });
const fresh = new KernelBackend({ timeoutMs: 30_000 });

let seed = firstSeed;
let failures = 0;
let once = 0;
for (; seed < firstSeed + Number(values.count) && Date.now() < deadline; seed++) {
  for (const kind of kinds) {
    const scenario = generateScenario(kind, seed, profile);
    let difference;
    try {
      difference = await compareBackends(scenario, profile, quick, fresh);
    } catch (error) {
      console.log(`${scenario.name}: ${error.message}`);
      failures++;
      continue;
    }
    if (difference === undefined) continue;
    console.log(formatMismatch(difference.mismatch));
    if (!difference.repeats) {
      console.log('    did not differ when it was repeated');
      once++;
      continue;
    }
    failures++;
    console.log(formatScenario(difference.scenario, difference.answers).replace(/^/gm, '    | '));
    if (values.save) {
      const folder = join(dirname(fileURLToPath(import.meta.url)), '..', 'test', 'traces', nearest);
      mkdirSync(folder, { recursive: true });
      appendFileSync(join(folder, 'found.jsonl'), formatScenario(difference.scenario, difference.answers));
    }
  }
  if (failures >= Number(values.failures)) break;
}
const count = seed - firstSeed + (failures >= Number(values.failures) ? 1 : 0);
const seconds = ((Date.now() - started) / 1000).toFixed(0);
console.log(
  `${kinds.join(', ')}: seeds ${firstSeed} to ${firstSeed + count - 1}, ${failures} mismatches, ${once} that did not repeat, ${seconds} s`,
);
quick[Symbol.dispose]();
fresh[Symbol.dispose]();
process.exitCode = failures === 0 ? 0 : 1;
