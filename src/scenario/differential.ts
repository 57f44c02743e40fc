import type { KernelProfile, KernelProfileName } from '../sim/index.js';
import type { ScenarioBackend } from './backend.js';
import type { Answer, Scenario } from './format.js';
import { type Mismatch, mismatchesOf } from './run.js';
import { shrinkScenario } from './shrink.js';
import { SimulatorBackend } from './simulator.js';

/** A scenario on which the simulator and another backend disagree, shortened. */
export interface Difference {
  readonly scenario: Scenario;
  /** The answers of the other backend, which count as correct. */
  readonly answers: readonly Answer[];
  readonly mismatch: Mismatch;
  /**
   * Whether it differed again when repeated. If not, chance played a part (for instance, reclaim met a busy page), and
   * the scenario is not shortened.
   */
  readonly repeats: boolean;
}

/**
 * Runs a scenario on the simulator and on another backend and compares every answer.
 *
 * @param confirm repeats a scenario that differed, in a fresh process; by default the same backend
 * @returns undefined when they agree, else the shortest scenario that shows the difference
 * @example
 * ```ts
 * import { compareBackends, parseScenarios, SimulatorBackend } from 'pagemap-scan/scenario';
 * const [scenario] = parseScenarios(`{"scenario":1,"name":"guard","arena":"0x600000000000","arena_pages":16}
 * {"op":"mmap","at":0,"pages":4,"type":"anon","sharing":"private","prot":"rw"}
 * {"op":"madvise","at":0,"pages":1,"advice":"guard_install"}`);
 * const difference = await compareBackends(scenario!, '6.18', new SimulatorBackend('6.12'));
 * console.assert(difference?.repeats && difference.mismatch.op.op === 'madvise');
 * console.assert((await compareBackends(scenario!, '6.12', new SimulatorBackend('6.12'))) === undefined);
 * ```
 */
export async function compareBackends(
  scenario: Scenario,
  profile: KernelProfileName | KernelProfile,
  truth: ScenarioBackend,
  confirm: ScenarioBackend = truth,
): Promise<Difference | undefined> {
  const simulator = new SimulatorBackend(profile);
  const difference = async (candidate: Scenario, backend: ScenarioBackend) => {
    const answers = await backend.run(candidate);
    const expected = {
      ...candidate,
      steps: candidate.steps.map((step, index) => ({ ...step, expect: answers[index] })),
    };
    const [mismatch] = mismatchesOf(expected, simulator.run(candidate));
    return mismatch === undefined ? undefined : { expected, answers, mismatch };
  };
  const first = await difference(scenario, truth);
  if (first === undefined) return undefined;
  const confirmed = await difference(scenario, confirm);
  if (confirmed === undefined)
    return { scenario: first.expected, answers: first.answers, mismatch: first.mismatch, repeats: false };
  const cut = { ...scenario, steps: scenario.steps.slice(0, confirmed.mismatch.step + 1) };
  const shortest = await shrinkScenario(
    cut,
    async (candidate) => (await difference(candidate, confirm)) !== undefined,
  );
  const last = await difference(shortest, confirm);
  const { expected, answers, mismatch } = last ?? confirmed;
  const pages = simulator.describe(expected, mismatch.step);
  return { scenario: expected, answers, mismatch: { ...mismatch, pages }, repeats: true };
}
