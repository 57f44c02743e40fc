import { describe } from 'vitest';
import { simulatorPlatform } from './simulator.js';
import { conformance } from './suite.js';

for (const profile of ['6.7', '6.12', '6.18', '7.0', '7.3'] as const) {
  const platform = simulatorPlatform(profile);
  describe(platform.name, () => conformance(platform));
}
