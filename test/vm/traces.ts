/** What this kernel answers now against what was recorded on its release: the command does the same, in a process for each. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  type Answer,
  formatMismatch,
  KernelBackend,
  KernelHang,
  type Mismatch,
  mismatchesOf,
  parseScenarios,
  type Scenario,
} from '../../src/scenario/index.js';

const folder = join(import.meta.dirname, '../traces', /^\d+\.\d+/.exec(release())![0]);
const files = existsSync(folder) ? readdirSync(folder) : [];

/** A process takes longer to start than most scenarios take to run. */
const AT_ONCE = 500;

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
    if (!(error instanceof KernelHang)) throw error;
  }
  if (answers !== undefined && mismatchesOf(scenario, answers).length === 0) return undefined;
  return mismatchesOf(scenario, await fresh.run(scenario))[0];
}

test.each(files)(
  '%s',
  async (file) => {
    using shared = new KernelBackend({ scenariosPerProcess: AT_ONCE, timeoutMs: 60_000 });
    using fresh = new KernelBackend({ timeoutMs: 60_000 });
    const source = join(folder, file);
    const scenarios = [...parseScenarios(readFileSync(source, 'utf8'), source)];
    expect(scenarios.length).toBeGreaterThan(0);
    for (const scenario of scenarios) {
      const first = await difference(scenario, shared, fresh);
      expect(first && formatMismatch(first)).toBeUndefined();
    }
  },
  600_000,
);
