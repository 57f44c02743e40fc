import { type KernelProfile, type KernelProfileName, profileFor } from '../sim/index.js';
import type { ScenarioBackend } from './backend.js';
import { type Answer, type Op, parseScenarios, type Scenario } from './format.js';
import { SimulatorBackend } from './simulator.js';

/** An operation whose answer was not the expected one. */
export interface Mismatch {
  readonly scenario: string;
  /** Index of the operation in its scenario. */
  readonly step: number;
  /** Line in the file. */
  readonly line: number;
  readonly op: Op;
  readonly expected: Answer;
  /** Undefined when the process ended before. */
  readonly got: Answer | undefined;
  /** The page-table entries around the operation's range before it ran, where the backend can look at them. */
  readonly pages: readonly string[];
}

/** The result of running a scenario file. */
export interface RunSummary {
  scenarios: number;
  ops: number;
  scans: number;
  /** Operations whose answer differs from the recorded one; only counted with `check`. */
  mismatches: number;
  /** The first of them. */
  first?: Mismatch | undefined;
  /** All answers by scenario. */
  answers: Answer[][];
}

/** How to run a scenario file. */
export interface RunOptions {
  /** The simulator unless told otherwise. */
  readonly backend?: ScenarioBackend | undefined;
  /** The simulator's kernel profile; without it, the one each scenario was recorded on, else '6.18'. */
  readonly profile?: KernelProfileName | KernelProfile | undefined;
  /** Whether to compare the answers with those in the file. */
  readonly check?: boolean | undefined;
  /** What to call the file in messages. */
  readonly source?: string | undefined;
}

/**
 * Runs all scenarios of a file.
 *
 * @param text the file's contents
 * @throws ScenarioError when it is not a scenario file
 * @example
 * ```ts
 * import { runScenarios } from 'pagemap-scan/scenario';
 * const text = `{"scenario":1,"name":"a","arena":"0x600000000000","arena_pages":16}
 * {"op":"munmap","at":0,"pages":1,"expect":{"ret":0}}`;
 * const summary = await runScenarios(text, { check: true });
 * console.assert(summary.ops === 1 && summary.mismatches === 0);
 * ```
 */
export async function runScenarios(text: string, options: RunOptions = {}): Promise<RunSummary> {
  const summary: RunSummary = { scenarios: 0, ops: 0, scans: 0, mismatches: 0, answers: [] };
  for (const scenario of parseScenarios(text, options.source)) {
    const backend = options.backend ?? new SimulatorBackend(options.profile ?? profileFor(scenario.kernel));
    const answers = await backend.run(scenario);
    summary.scenarios++;
    summary.ops += scenario.steps.length;
    summary.scans += scenario.steps.filter(({ op }) => op.op === 'scan').length;
    summary.answers.push(answers);
    if (options.check !== true) continue;
    for (const mismatch of mismatchesOf(scenario, answers)) {
      if (summary.mismatches++ === 0) {
        summary.first = { ...mismatch, pages: backend.describe?.(scenario, mismatch.step) ?? [] };
      }
    }
  }
  return summary;
}

/**
 * The steps of a scenario whose recorded answer is not the given one.
 *
 * @example
 * ```ts
 * import { mismatchesOf, parseScenarios } from 'pagemap-scan/scenario';
 * const [scenario] = parseScenarios(`{"scenario":1,"name":"a","arena":"0x600000000000","arena_pages":16}
 * {"op":"munmap","at":0,"pages":1,"expect":{"ret":0}}`);
 * console.assert(mismatchesOf(scenario!, [{ ret: 0 }]).length === 0);
 * console.assert(mismatchesOf(scenario!, [{ errno: 'EINVAL' }])[0]?.line === 2);
 * ```
 */
export function mismatchesOf(scenario: Scenario, answers: readonly Answer[]): Mismatch[] {
  const mismatches: Mismatch[] = [];
  scenario.steps.forEach(({ op, expect, line }, step) => {
    const got = answers[step];
    if (expect === undefined || (got !== undefined && sameAnswer(expect, got))) return;
    mismatches.push({ scenario: scenario.name, step, line, op, expected: expect, got, pages: [] });
  });
  return mismatches;
}

/** Whether two answers say the same. */
export function sameAnswer(a: Answer, b: Answer): boolean {
  return (
    a.ret === b.ret &&
    a.errno === b.errno &&
    a.ok === b.ok &&
    a.fault === b.fault &&
    // As addresses: the spelling may differ. An absent one is NaN, which Object.is finds equal to itself.
    Object.is(Number(a.walk_end), Number(b.walk_end)) &&
    sameRegions(a.regions, b.regions)
  );
}

function sameRegions(a: Answer['regions'], b: Answer['regions']): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.length === b.length &&
    a.every(([start, end, categories], index) => {
      const other = b[index]!;
      return (
        Number(start) === Number(other[0]) && Number(end) === Number(other[1]) && categories === other[2]
      );
    })
  );
}

/**
 * A mismatch as text for people.
 *
 * @example
 * ```ts
 * import { formatMismatch, mismatchesOf, parseScenarios } from 'pagemap-scan/scenario';
 * const [scenario] = parseScenarios(`{"scenario":1,"name":"a","arena":"0x600000000000","arena_pages":16}
 * {"op":"munmap","at":0,"pages":1,"expect":{"ret":0}}`);
 * const [mismatch] = mismatchesOf(scenario!, [{ errno: 'EINVAL' }]);
 * console.assert(formatMismatch(mismatch!).endsWith('  expected {"ret":0}\n  got      {"errno":"EINVAL"}'));
 * ```
 */
export function formatMismatch({ scenario, line, op, expected, got, pages }: Mismatch): string {
  return [
    `${scenario}, line ${line}: ${JSON.stringify(op)}`,
    `  expected ${JSON.stringify(expected)}`,
    `  got      ${JSON.stringify(got)}`,
    ...pages.map((page) => `    ${page}`),
  ].join('\n');
}
