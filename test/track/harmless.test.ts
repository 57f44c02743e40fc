/** Targets that notice when they are disturbed, and are not. */
import { describe, expect } from 'vitest';
import { attachCycles, MODES } from '../support/cycles.mjs';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');

/** The soak program (test/soak/harmless.mjs) does 2,000 of each. */
const CYCLES = 15;

// Most of a cycle is waiting for a good moment, which the modes can do beside each other.
describe.concurrent('one thread', () => {
  live.each(MODES)('%s', async (mode) => {
    const { said } = await attachCycles(nativeProgram('harmless', ['-pthread']), mode, 1, CYCLES, 5);
    expect(said).toMatch(/^ok [1-9]/);
  });
});

describe('200 threads', () => {
  live.each(['nanosleep', 'epoll', 'futex', 'checksum'])('%s', async (mode) => {
    // Threads that all compute leave little time for anyone else on a small machine, even at a low priority.
    const cycles = mode === 'checksum' ? 2 : 8;
    const { said } = await attachCycles(nativeProgram('harmless', ['-pthread']), mode, 200, cycles, 5);
    expect(said).toMatch(/^ok [1-9]/);
  });
});
