// `npm run fuzz`: compares the simulator with the running kernel on generated scenarios.
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
  SCENARIO_KINDS,
  SimulatorBackend,
} from '../dist/scenario/index.js';
import { scenarioKinds } from '../dist/scenario/internal.js';
import { KERNEL_PROFILES } from '../dist/sim/index.js';

const USAGE = `npm run fuzz -- [OPTIONS]   compares the simulator with the running kernel on generated scenarios

  --minutes N             how long; 1 by default
  --seed S                where to begin: a seed always gives the same scenario, for the same profile; 1 by default
  --count N               at most so many seeds
  --kind KIND             ${SCENARIO_KINDS.join(', ')}; all that the profile has by default; may be repeated
  --profile RELEASE       the simulator is as ${Object.keys(KERNEL_PROFILES).join(', ')}; as this kernel by default, which is measured
  --set PROPERTY=VALUE    a property of the profile that is to differ, as JSON; may be repeated
  --failures N            ends after so many scenarios that differ; 5 by default
  --save                  adds scenarios that differ to test/traces, with the kernel's answers
  --write FILE            compares nothing: adds scenarios to FILE with the simulator's answers, for scripts/replay.mjs elsewhere

It needs root, 64 free 2 MiB pages (kinds hugetlb, mixed) and swap on zram (swap, mixed).
`;

/** Ends with what is wrong about the command line, in a line, instead of where in this file it was noticed. */
function refuse(problem) {
  console.error(`${problem}; see npm run fuzz -- --help`);
  process.exit(2);
}

function options() {
  try {
    return parseArgs({
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
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    return refuse(error.message);
  }
}

const values = options();
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
for (const name of ['minutes', 'seed', 'count', 'failures']) {
  if (!(Number(values[name]) >= 0)) refuse(`--${name} takes a number, not ${values[name]}`);
}
for (const kind of values.kind ?? []) {
  if (!SCENARIO_KINDS.includes(kind)) refuse(`There is no kind ${kind}, only ${SCENARIO_KINDS.join(', ')}`);
}
if (values.profile !== undefined && !Object.hasOwn(KERNEL_PROFILES, values.profile)) {
  refuse(`There is no profile ${values.profile}, only ${Object.keys(KERNEL_PROFILES).join(', ')}`);
}
const measured = values.profile === undefined ? await measureProfile() : undefined;
for (const { scenario } of measured?.unexplained ?? []) {
  console.log(`An answer that no known kernel gives:\n${scenario.replace(/^/gm, '    | ')}`);
}
const named = measured?.profile ?? KERNEL_PROFILES[values.profile];
const changes = values.set.map((text) => {
  const [, property, value] = /^(\w+)=(.+)$/.exec(text) ?? [];
  if (property === undefined || !Object.hasOwn(named, property))
    refuse(`There is no property ${text}, only ${Object.keys(named).join(', ')}`);
  try {
    return [property, JSON.parse(value)];
  } catch {
    return refuse(`${value} is no value of ${property}: it is to be JSON`);
  }
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
