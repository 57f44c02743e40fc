import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { built } from './test/support/built.js';
import LongestFirst from './test/support/sequencer.js';

/** What needs no kernel of its own: pure code, simulated memory, recorded answers. */
const UNIT = [
  'src/**/*.test.ts',
  'test/masks.test.ts',
  'test/traces.test.ts',
  'test/conformance/simulator.test.ts',
];

/** What reads the sources themselves: imports, complexity, public names. */
const HOUSE = [
  'test/layers.test.ts',
  'test/complexity.test.ts',
  'test/page-size.test.ts',
  'test/public.test.ts',
  'test/release.test.ts',
];

export default defineConfig({
  plugins: [built()],
  test: {
    globalSetup: 'test/support/run.ts',
    sequence: { sequencer: LongestFirst },
    // Most tests wait for other processes now and then: one more than there are processors keeps these busy.
    maxWorkers: availableParallelism() + 1,
    testTimeout: 180_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: 'unit', include: UNIT, pool: 'threads', isolate: false } },
      { extends: true, test: { name: 'house', include: HOUSE, pool: 'threads', isolate: false } },
      {
        extends: true,
        test: {
          name: 'system',
          include: ['test/**/*.test.ts'],
          exclude: [...UNIT, ...HOUSE],
          setupFiles: 'test/support/leaks.ts',
          // Live tests map memory, count descriptors and change process-wide state: one process per file.
          pool: 'forks',
        },
      },
    ],
  },
});
