import { describe, expect, test } from 'vitest';
import { KERNEL_PROFILES, type KernelProfile, type KernelProfileName } from '../sim/index.js';
import { KERNEL_FACTS, type KernelFact, type ProfileProperty } from './facts.js';
import { SimulatorBackend } from './index.js';
import { measureProfile } from './measure.js';

const NAMES = Object.keys(KERNEL_PROFILES) as KernelProfileName[];
const PROPERTIES = Object.keys(KERNEL_FACTS) as ProfileProperty[];
const measure = (profile: KernelProfile) => measureProfile({ backend: new SimulatorBackend(profile) });

describe('every named profile is measured as what it is', () => {
  test.each(NAMES)('%s', async (name) => {
    const { profile, nearest, differences, unexplained } = await measure(KERNEL_PROFILES[name]);
    expect(unexplained).toEqual([]);
    expect(differences).toEqual([]);
    expect(nearest).toBe(name);
    expect(profile).toEqual({ ...KERNEL_PROFILES[name], name: 'here' });
  });
});

describe('a kernel that differs in one property from a named profile', () => {
  // One of a kernel that keeps soft-dirty bits, one of a kernel that has read-write protection, too.
  const cases = (['6.12', '7.3'] as const).flatMap((name) =>
    PROPERTIES.map((property) => [name, property] as const),
  );
  test.each(cases)('%s but for %s', async (name, property) => {
    const base = KERNEL_PROFILES[name];
    const { values } = KERNEL_FACTS[property] as KernelFact;
    for (const value of values) {
      if (value === base[property]) continue;
      const kernel = { ...base, [property]: value };
      const measured = await measure(kernel);
      expect(measured.unexplained).toEqual([]);
      const untold = measured.unasked.map((unasked) => unasked.property);
      for (const other of PROPERTIES) {
        if (!untold.includes(other)) expect([other, measured.profile[other]]).toEqual([other, kernel[other]]);
      }
    }
  });
});

test('what depends on the build does not decide which release is nearest', async () => {
  const kernel = {
    ...KERNEL_PROFILES['6.18'],
    reportsSoftDirty: true,
    tracksSoftDirty: true,
    goneIsEsrch: true,
    collapseNeedsBlock: false,
  };
  const { nearest, differences } = await measure(kernel);
  expect(nearest).toBe('6.18');
  expect(differences.map(({ property }) => property).sort()).toEqual([
    'collapseNeedsBlock',
    'goneIsEsrch',
    'reportsSoftDirty',
    'tracksSoftDirty',
  ]);
});
