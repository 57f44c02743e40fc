/**
 * The simulator against the running kernel on generated scenarios. A short run; `npm run fuzz` is the long one. The
 * seed can be set by PMSCAN_SEED; it is in the name of a scenario that fails.
 */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { describe, expect, test } from 'vitest';
import {
  compareBackends,
  formatMismatch,
  formatScenario,
  generateScenario,
  KernelBackend,
  runScenarios,
  SCENARIO_KINDS,
  type ScenarioKind,
} from '../../src/scenario/index.js';

const SCENARIOS = 25;
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
  if (!/^6\.18\./.test(release())) return `the profile is of Linux 6.18, this is ${release()}`;
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
    if (kind === 'softdirty') continue;
    const reason = lacks(kind);
    if (reason !== undefined) {
      test.skip(`${kind} (skipped: ${reason})`, () => {});
      continue;
    }
    test(kind, async () => {
      using quick = new KernelBackend({ scenariosPerProcess: SCENARIOS });
      using fresh = new KernelBackend();
      for (let seed = FIRST_SEED; seed < FIRST_SEED + SCENARIOS; seed++) {
        const difference = await compareBackends(generateScenario(kind, seed), '6.18', quick, fresh);
        // What differs once and never again met a busy page or the like: `npm run fuzz` counts these.
        const text =
          difference?.repeats &&
          `${formatMismatch(difference.mismatch)}\n${formatScenario(difference.scenario)}`;
        expect(text).toBeFalsy();
      }
    });
  }

  const reason = lacks('anon');
  test.skipIf(reason !== undefined)('the kernel still answers as it was recorded', async () => {
    using backend = new KernelBackend({ scenariosPerProcess: 30 });
    const source = `${import.meta.dirname}/../traces/6.18/anon.jsonl`;
    const { first } = await runScenarios(readFileSync(source, 'utf8'), { backend, check: true, source });
    expect(first && formatMismatch(first)).toBeUndefined();
  });
});
