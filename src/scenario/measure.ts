/** Measures the profile of a kernel. */
import { errnoNumber, NotSupportedError } from '../abi/index.js';
import { KERNEL_PROFILES, type KernelProfile, type KernelProfileName } from '../sim/index.js';
import type { ScenarioBackend } from './backend.js';
import {
  FACT_NEEDS,
  type FactNeed,
  KERNEL_FACTS,
  type KernelFact,
  type ProfileProperty,
  QUESTION_ARENA,
  QUESTION_ARENA_PAGES,
} from './facts.js';
import { type Answer, formatScenario, type Op, type Scenario } from './format.js';
import { KernelBackend } from './kernel.js';
import { sameAnswer } from './run.js';
import { SimulatorBackend } from './simulator.js';

/** A property in which a kernel differs from the named profile. */
export interface ProfileDifference {
  readonly property: ProfileProperty;
  /** What the kernel does, as a sentence without a full stop. */
  readonly says: string;
}

/** A property that could not be asked for; the profile has the value of the nearest named one. */
export interface UnaskedProperty {
  readonly property: ProfileProperty;
  /** What the machine lacks; empty where the value makes no difference to any question. */
  readonly lacking: readonly FactNeed[];
  /** The same in words, without a full stop. */
  readonly why: string;
}

/** An answer that fits no known value. The profile has the value of the nearest named one. */
export interface UnexplainedAnswer {
  readonly property: ProfileProperty;
  /** The question with the kernel's answers, as a scenario file: worth a report. */
  readonly scenario: string;
}

/** A kernel's profile, and how sure it is. */
export interface MeasuredProfile {
  /** The profile, for the simulator. Its name is 'here'. */
  readonly profile: KernelProfile;
  /** The named profile with the fewest differences. */
  readonly nearest: KernelProfileName;
  readonly differences: readonly ProfileDifference[];
  readonly unasked: readonly UnaskedProperty[];
  readonly unexplained: readonly UnexplainedAnswer[];
}

/** How to measure a kernel. */
export interface MeasureOptions {
  /** The backend that answers; by default the running kernel, in a process of its own. */
  readonly backend?: ScenarioBackend | undefined;
}

/** How often a question is asked anew when its answer fits nothing: reclaim may have met a busy page. */
const TRIES = 3;

/** Nothing that is asked takes long, but a child on a busy emulated machine takes its time to start. */
const TIMEOUT_MS = 120_000;

const PROPERTIES = Object.keys(KERNEL_FACTS) as ProfileProperty[];
const fact = (property: ProfileProperty) => KERNEL_FACTS[property] as KernelFact;

function scenarioOf(name: string, ops: readonly Op[]): Scenario {
  const steps = ops.map((op, index) => ({ op, expect: undefined, line: index + 2 }));
  return { name, kernel: undefined, arena: QUESTION_ARENA, arenaPages: QUESTION_ARENA_PAGES, steps };
}

const sameAnswers = (a: readonly Answer[], b: readonly Answer[]) =>
  a.length === b.length && a.every((answer, index) => sameAnswer(answer, b[index]!));

/** What the simulator answers as a kernel of that profile. */
const simulate = (profile: KernelProfile, ops: readonly Op[]) =>
  new SimulatorBackend(profile).run(scenarioOf('question', ops));

interface Reading {
  readonly profile: KernelProfile;
  readonly unasked: UnaskedProperty[];
  readonly unexplained: ProfileProperty[];
}

type Answers = ReadonlyMap<ProfileProperty, readonly Answer[]>;

/** Whether the simulator, as a kernel of that profile, answers a property's question as the kernel did. */
const agrees = (profile: KernelProfile, property: ProfileProperty, answers: Answers) =>
  sameAnswers(simulate(profile, fact(property).question), answers.get(property)!);

/** More properties than this are not read together: the number of profiles to try doubles with each. */
const MOST_TOGETHER = 4;

/** All ways to give values to properties. */
function* choices(profile: KernelProfile, properties: readonly ProfileProperty[]): Generator<KernelProfile> {
  const [first, ...others] = properties;
  if (first === undefined) yield profile;
  else for (const value of fact(first).values) yield* choices({ ...profile, [first]: value }, others);
}

/** Reads a kernel's answers, with `base` for what they do not tell. */
function readAnswers(base: KernelProfile, answers: Answers, lacking: ReadonlySet<FactNeed>): Reading {
  let profile = base;
  const unasked: UnaskedProperty[] = [];
  const unexplained: ProfileProperty[] = [];
  for (const property of PROPERTIES) {
    const { needs, values } = fact(property);
    const lacks = needs.filter((need) => lacking.has(need));
    if (lacks.length > 0) {
      unasked.push({ property, lacking: lacks, why: `here is no ${lacks.join(', and no ')}` });
      continue;
    }
    const fitting = values.filter((value) => agrees({ ...profile, [property]: value }, property, answers));
    if (fitting.length === 0) unexplained.push(property);
    else if (fitting.length === 1) profile = { ...profile, [property]: fitting[0]! };
    else unasked.push({ property, lacking: [], why: 'it makes no difference here' });
  }
  if (unexplained.length < 2 || unexplained.length > MOST_TOGETHER) return { profile, unasked, unexplained };
  // Some show only together: soft-dirty bits that are kept, and are reported.
  for (const chosen of choices(profile, unexplained)) {
    if (unexplained.every((property) => agrees(chosen, property, answers)))
      return { profile: chosen, unasked, unexplained: [] };
  }
  return { profile, unasked, unexplained };
}

/**
 * The differences of one profile from another, as sentences without a full stop.
 *
 * @example
 * ```ts
 * import { differencesBetween } from 'pagemap-scan/scenario';
 * import { KERNEL_PROFILES } from 'pagemap-scan/sim';
 * const found = differencesBetween(KERNEL_PROFILES['6.12'], KERNEL_PROFILES['6.18']);
 * console.assert(found.some(({ says }) => says === 'madvise knows no guard pages'));
 * ```
 */
export function differencesBetween(profile: KernelProfile, other: KernelProfile): ProfileDifference[] {
  return differing(profile, other).map((property) => ({
    property,
    says: fact(property).says(profile[property]),
  }));
}

const differing = (one: KernelProfile, other: KernelProfile) =>
  PROPERTIES.filter((property) => one[property] !== other[property]);

/**
 * The named profile with the fewest unexplained answers, then the fewest differences of the release, then of the build;
 * among equals, the newest.
 */
function bestReading(
  answers: Answers,
  lacking: ReadonlySet<FactNeed>,
): Reading & { readonly nearest: KernelProfileName } {
  const names = (Object.keys(KERNEL_PROFILES) as KernelProfileName[]).reverse();
  const readings = names.map((nearest) => ({
    nearest,
    ...readAnswers(KERNEL_PROFILES[nearest], answers, lacking),
  }));
  const cost = ({ nearest, profile, unexplained }: (typeof readings)[number]) => {
    const differences = differing(profile, KERNEL_PROFILES[nearest]);
    const ofBuild = differences.filter((property) => fact(property).isOfBuild).length;
    return (
      (unexplained.length * PROPERTIES.length + differences.length - ofBuild) * PROPERTIES.length + ofBuild
    );
  };
  return readings.reduce((best, reading) => (cost(reading) < cost(best) ? reading : best));
}

/**
 * Measures the profile of a kernel. A child process asks the question of each property of `KERNEL_FACTS`; the value is
 * the one with which the simulator gives the same answers. It takes a quarter of a second, most of it to start the
 * child.
 *
 * @throws PagemapError ENOTTY where the kernel has no PAGEMAP_SCAN, which Linux 6.7 brought
 * @throws KernelHangError when the child was lost
 * @example
 * ```ts
 * import { measureProfile, SimulatorBackend } from 'pagemap-scan/scenario';
 * const { profile, nearest, differences } = await measureProfile({ backend: new SimulatorBackend('6.12') });
 * console.assert(nearest === '6.12' && differences.length === 0 && profile.tracksSoftDirty);
 * ```
 */
export async function measureProfile(options: MeasureOptions = {}): Promise<MeasuredProfile> {
  using kernel =
    options.backend === undefined
      ? new KernelBackend({ scenariosPerProcess: Infinity, timeoutMs: TIMEOUT_MS })
      : undefined;
  const backend = options.backend ?? kernel!;
  const ask = async (name: string, ops: readonly Op[]) => backend.run(scenarioOf(name, ops));

  const answers = new Map<ProfileProperty, readonly Answer[]>();
  for (const property of PROPERTIES) answers.set(property, await ask(property, fact(property).question));
  if (answers.get('knownCategories')![0]!.errno === 'ENOTTY') {
    throw new NotSupportedError('measure this kernel', {
      errno: errnoNumber('ENOTTY')!,
      syscall: 'ioctl(PAGEMAP_SCAN)',
      needs: 'Linux 6.7',
      hint: 'it has no PAGEMAP_SCAN, which Linux 6.7 brought',
    });
  }
  const lacking = new Set<FactNeed>();
  for (const [need, ops] of Object.entries(FACT_NEEDS) as [FactNeed, readonly Op[]][]) {
    if (!(await isMet(ops, () => ask(need, ops)))) lacking.add(need);
  }
  let reading = bestReading(answers, lacking);
  for (let tries = 1; tries < TRIES && reading.unexplained.length > 0; tries++) {
    for (const property of reading.unexplained) {
      answers.set(property, await ask(property, fact(property).question));
    }
    reading = bestReading(answers, lacking);
  }
  const { nearest, unasked } = reading;
  const profile = { ...reading.profile, name: 'here' };
  return {
    profile,
    nearest,
    differences: differencesBetween(profile, KERNEL_PROFILES[nearest]),
    unasked,
    unexplained: reading.unexplained.map((property) => ({
      property,
      scenario: formatScenario(scenarioOf(property, fact(property).question), answers.get(property)!),
    })),
  };
}

/** Whether the machine has what a question needs: the answers are those of every profile. */
async function isMet(ops: readonly Op[], ask: () => Promise<readonly Answer[]>): Promise<boolean> {
  const expected = simulate(KERNEL_PROFILES['6.18'], ops);
  for (let tries = 0; tries < TRIES; tries++) if (sameAnswers(await ask(), expected)) return true;
  return false;
}
