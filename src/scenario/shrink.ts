import type { Scenario } from './format.js';

/**
 * The shortest scenario that still fails, found by leaving operations out: first halves, then ever smaller groups,
 * at last single ones.
 *
 * @param fails whether a scenario shows the failure
 * @example
 * ```ts
 * import { generateScenario, shrinkScenario } from 'pagemap-scan/scenario';
 * const scenario = generateScenario('anon', 7);
 * const shortest = await shrinkScenario(scenario, ({ steps }) => steps.some(({ op }) => op.op === 'mmap'));
 * console.assert(shortest.steps.length === 1 && shortest.steps[0]?.op.op === 'mmap');
 * ```
 */
export async function shrinkScenario(
  scenario: Scenario,
  fails: (candidate: Scenario) => Promise<boolean> | boolean,
): Promise<Scenario> {
  let best = scenario;
  for (let size = Math.ceil(best.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let end = best.steps.length; end > 0; end -= size) {
      const from = Math.max(0, end - size);
      const candidate = { ...best, steps: [...best.steps.slice(0, from), ...best.steps.slice(end)] };
      if (candidate.steps.length > 0 && (await fails(candidate))) best = candidate;
    }
  }
  return best;
}
