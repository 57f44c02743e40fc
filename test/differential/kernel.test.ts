/**
 * The simulator against the running kernel on generated scenarios. A short run; `npm run fuzz` is the long one. The
 * seed can be set by PMSCAN_SEED; it is in the name of a scenario that fails.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  compareBackends,
  formatMismatch,
  formatScenario,
  generateScenario,
  KernelBackend,
  mismatchesOf,
  parseScenarios,
  SCENARIO_KINDS,
  type ScenarioKind,
  SimulatorBackend,
  scenarioKinds,
} from '../../src/scenario/internal.js';
import { measureHere } from '../support/facts.js';

const SCENARIOS = 25;
/** Of which kernel the simulator must be: the one at hand. */
const measured = await measureHere();
const FIRST_SEED = Number(process.env['PMSCAN_SEED'] ?? 1);

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** What a kind of scenario lacks here; scenarios are recorded with just these conditions. */
function lacks(kind: ScenarioKind): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'it needs Linux on x86-64';
  if (process.geteuid?.() !== 0) return 'it needs root';
  if (measured === undefined) return 'there is no PAGEMAP_SCAN';
  if (kind === 'softdirty' && !measured.profile.tracksSoftDirty)
    return 'this kernel keeps no soft-dirty bits';
  if (!scenarioKinds(measured.profile).includes(kind)) {
    return kind === 'rwp'
      ? 'this kernel has no read-write protection'
      : 'mremap was not compared with kernels such as this one';
  }
  if (!read('/sys/kernel/mm/transparent_hugepage/enabled').includes('[madvise]')) {
    return 'transparent huge pages must be in madvise mode';
  }
  const free = Number(/HugePages_Free:\s+(\d+)/.exec(read('/proc/meminfo'))?.[1] ?? 0);
  if ((kind === 'hugetlb' || kind === 'mixed') && free < 16) return 'it needs 16 free 2 MiB pages';
  if ((kind === 'swap' || kind === 'mixed') && !read('/proc/swaps').includes('zram')) {
    return 'it needs swap on zram';
  }
  return undefined;
}

describe('simulator and kernel agree', () => {
  for (const kind of SCENARIO_KINDS) {
    const reason = lacks(kind);
    if (reason !== undefined) {
      test.skip(`${kind} (skipped: ${reason})`, () => {});
      continue;
    }
    test(kind, async () => {
      using quick = new KernelBackend({ scenariosPerProcess: SCENARIOS });
      using fresh = new KernelBackend();
      for (let seed = FIRST_SEED; seed < FIRST_SEED + SCENARIOS; seed++) {
        const { profile } = measured!;
        const difference = await compareBackends(
          generateScenario(kind, seed, profile),
          profile,
          quick,
          fresh,
        );
        // What differs once and never again met a busy page or the like: `npm run fuzz` counts these.
        const text =
          difference?.repeats &&
          `${formatMismatch(difference.mismatch)}\n${formatScenario(difference.scenario)}`;
        expect(text).toBeFalsy();
      }
    });
  }

  const reason = lacks('anon');
  test.skipIf(reason !== undefined)('every answer of this kernel is a known one', () => {
    expect(measured!.unexplained.map(({ scenario }) => scenario)).toEqual([]);
  });

  // Where this kernel differs from the one that was recorded, it answers as the simulator does with the same difference; where it
  // does not, `test/traces.test.ts` has shown that this is what was recorded.
  const recorded =
    reason === undefined ? join(import.meta.dirname, '../traces', measured!.nearest, 'anon.jsonl') : '';
  test.skipIf(!existsSync(recorded))(
    'the kernel answers as it was recorded, but for what is known to differ',
    async () => {
      using backend = new KernelBackend({ scenariosPerProcess: 30 });
      const simulator = new SimulatorBackend(measured!.profile);
      for (const scenario of parseScenarios(readFileSync(recorded, 'utf8'), recorded)) {
        const expected = simulator.run(scenario);
        const steps = scenario.steps.map((step, index) => ({ ...step, expect: expected[index] }));
        const [first] = mismatchesOf({ ...scenario, steps }, await backend.run(scenario));
        expect(first && formatMismatch(first)).toBeUndefined();
      }
    },
  );
});
