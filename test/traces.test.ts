import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { formatMismatch, runScenarios } from '../src/scenario/index.js';
import { profileFor } from '../src/sim/index.js';

const root = join(import.meta.dirname, 'traces');

for (const release of readdirSync(root)) {
  describe(`recorded on Linux ${release}`, () => {
    for (const file of readdirSync(join(root, release))) {
      test(file, async () => {
        const source = join(root, release, file);
        const text = readFileSync(source, 'utf8');
        const { first, mismatches, ops } = await runScenarios(text, {
          profile: profileFor(`${release}.0`),
          check: true,
          source,
        });
        expect(first === undefined ? '' : formatMismatch(first)).toBe('');
        expect(mismatches).toBe(0);
        expect(ops).toBeGreaterThan(0);
      });
    }
  });
}
