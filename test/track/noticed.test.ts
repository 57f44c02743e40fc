/** What tools notice that look at a process whose accesses are tracked: perf's copies of stacks, which must not fault. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { trackProcess } from '../../src/track/index.js';
import { nativeProgram } from '../support/native.js';
import { available, testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';

const live = testWhere('pagemap-scan', 'ptrace', 'compiler');
const byPage = available('category-accessed') ? live : (test.skip as unknown as typeof test);

/** Bytes that perf is asked to copy of a stack for each sample. */
const STACK_BYTES = 32 << 10;

byPage('perf finds only those pages of a stack that are used between two looks', async () => {
  const program = nativeProgram('stacks');
  const target = spawn(program, ['target'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(target, 'exit');
  try {
    await firstOutput(target);
    const sampled = async () => {
      const { stdout } = await promisify(execFile)(program, ['sample', String(target.pid), '1000']);
      const [samples, meanBytes] = stdout.split(' ').map(Number);
      expect(samples).toBeGreaterThan(0);
      return meanBytes!;
    };
    expect(await sampled()).toBe(STACK_BYTES);
    {
      using tracker = await trackProcess(target.pid!, { accesses: true });
      // The pages that nobody uses are protected from the first look on, as they are from the beginning.
      tracker.collect();
      expect(await sampled()).toBeLessThanOrEqual(2 * 4096);
    }
    expect(await sampled()).toBe(STACK_BYTES);
  } finally {
    target.stdin.end();
    await exited;
  }
});
