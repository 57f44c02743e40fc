/**
 * The fallback against the ioctl, where both are there: after each operation of generated scenarios, all that the fallback claims to
 * know of each page, and the answers to generated requests. The seed can be set by PMSCAN_SEED.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, type TestAPI, test } from 'vitest';
import { SCENARIO_KINDS, type ScenarioKind } from '../../src/scenario/index.js';
import { available, testWhere } from '../support/needs.js';

const SCENARIOS = 6;
/** hugetlb memory is looked up in smaps for every scan. */
const FEW = 2;
const FIRST_SEED = Number(process.env['PMSCAN_SEED'] ?? 1);
/** Each look reads smaps, which takes the kernel a while for each mapping: the fewer of them Node.js has, the better. */
const FRUGAL = ['--max-semi-space-size=1', '--v8-pool-size=0'];
const PROGRAM = join(import.meta.dirname, '../support/providers.mjs');

interface Tally {
  readonly scenarios: number;
  readonly looks: number;
  readonly scans: number;
  readonly regions: number;
  /** How often it could not be told which pages are huge. */
  readonly hugeRefused: number;
  readonly different?: unknown;
}

async function run(...args: (string | number)[]): Promise<Tally> {
  const child = spawn(process.execPath, [...FRUGAL, PROGRAM, ...args.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) text += chunk;
  return JSON.parse(text);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function where(kind: ScenarioKind): TestAPI {
  const needs = ['pagemap-scan', 'userfaultfd', 'wp-async', 'root'];
  if (kind === 'hugetlb' || kind === 'mixed') needs.push('hugetlb');
  if ((kind === 'swap' || kind === 'mixed') && !read('/proc/swaps').includes('zram')) {
    if (available('category-swapped')) return test.skip as unknown as TestAPI;
    needs.push('category-swapped');
  }
  return testWhere(...needs);
}

for (const kind of SCENARIO_KINDS) {
  // Their operations are those of the others, and clearing the bits of the whole process; of accesses the fallback knows nothing.
  if (kind === 'softdirty' || kind === 'rwp') continue;
  where(kind)(
    `agrees with the ioctl on ${kind} scenarios`,
    async () => {
      const count = kind === 'hugetlb' || kind === 'mixed' ? FEW : SCENARIOS;
      const tally = await run(kind, FIRST_SEED, count);
      expect(tally.different).toBeUndefined();
      expect(tally.scenarios).toBe(count);
      expect(tally.scans).toBeGreaterThan(count);
      expect(tally.looks).toBeGreaterThan(20 * count);
      expect(tally.regions).toBeGreaterThan(count);
      // Without hugetlb memory all is told.
      if (kind !== 'hugetlb' && kind !== 'mixed') expect(tally.hugeRefused).toBe(0);
    },
    60_000,
  );
}
