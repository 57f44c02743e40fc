/**
 * What this kernel answers now against what was recorded on the kernel whose profile it has: the command does the same, in a
 * process for each. PMSCAN_EVERY=3 takes every third scenario of each file. Where the kernel differs by what is known to differ, the simulator with the same difference says what is expected.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  type Answer,
  formatMismatch,
  KernelBackend,
  KernelHangError,
  type Mismatch,
  measureProfile,
  mismatchesOf,
  parseScenarios,
  type Scenario,
  SimulatorBackend,
} from '../../src/scenario/index.js';

const measured = await measureProfile();
const folder = join(import.meta.dirname, '../traces', measured.nearest);
const files = existsSync(folder) ? readdirSync(folder) : [];
const asRecorded = measured.differences.length === 0;
const simulator = new SimulatorBackend(measured.profile);

const EVERY = Number(process.env['PMSCAN_EVERY'] ?? 1);

/** A process takes longer to start than most scenarios take to run. */
const AT_ONCE = 500;

/** The scenario with the answers that are expected of this kernel. */
function expected(scenario: Scenario): Scenario {
  if (asRecorded) return scenario;
  const answers = simulator.run(scenario);
  return { ...scenario, steps: scenario.steps.map((step, index) => ({ ...step, expect: answers[index] })) };
}

/** The first answer that differs, also in a process of its own: what others have left behind is no answer. */
async function difference(
  scenario: Scenario,
  shared: KernelBackend,
  fresh: KernelBackend,
): Promise<Mismatch | undefined> {
  let answers: Answer[] | undefined;
  try {
    answers = await shared.run(scenario);
  } catch (error) {
    if (!(error instanceof KernelHangError)) throw error;
  }
  if (answers !== undefined && mismatchesOf(scenario, answers).length === 0) return undefined;
  return mismatchesOf(scenario, await fresh.run(scenario))[0];
}

test.each(files)(
  `${measured.nearest}/%s`,
  async (file) => {
    using shared = new KernelBackend({ scenariosPerProcess: AT_ONCE, timeoutMs: 60_000 });
    using fresh = new KernelBackend({ timeoutMs: 60_000 });
    const source = join(folder, file);
    const all = [...parseScenarios(readFileSync(source, 'utf8'), source)];
    const scenarios = all.filter((_, index) => index % EVERY === 0);
    expect(scenarios.length).toBeGreaterThan(0);
    for (const scenario of scenarios) {
      const first = await difference(expected(scenario), shared, fresh);
      expect(first && formatMismatch(first)).toBeUndefined();
    }
  },
  600_000,
);
