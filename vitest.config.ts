import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    // Live tests map memory, count descriptors and change process-wide state: one process per file.
    pool: 'forks',
    testTimeout: 180_000,
    hookTimeout: 60_000,
  },
});
