import { describe } from 'vitest';
import { KERNEL_PROFILES, type KernelProfileName } from '../../src/sim/index.js';
import { simulatorPlatform } from './simulator.js';
import { conformance } from './suite.js';

for (const profile of Object.keys(KERNEL_PROFILES) as KernelProfileName[]) {
  const platform = simulatorPlatform(profile);
  describe(platform.name, () => conformance(platform));
}
