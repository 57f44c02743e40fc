/** What a kernel's name says of the machine that it needs. */
import { expect, test } from 'vitest';

// By a path that the compiler does not follow: the runner is plain JavaScript.
const path = './kernels.mjs';
const { architectureOf } = (await import(path)) as { architectureOf(name: string): string };

test.each([
  ['6.12', 'amd64'],
  ['newest', 'amd64'],
  ['linux-image-6.12.43+deb12-cloud-amd64', 'amd64'],
  ['6.12-arm64', 'arm64'],
  ['newest-arm64', 'arm64'],
  ['7.3-arm64-16k', 'arm64'],
  ['linux-image-6.12.43+deb12-cloud-arm64', 'arm64'],
  ['linux-image-7.3.4+deb13-arm64-16k', 'arm64'],
])('the kernel %s is of %s', (name, architecture) => {
  expect(architectureOf(name)).toBe(architecture);
});

test('another kind of package has no kernel for a machine', () => {
  expect(() => architectureOf('linux-image-6.12.43+deb12-rt-amd64')).toThrow(
    'Cannot make a machine of linux-image-6.12.43+deb12-rt-amd64',
  );
});
