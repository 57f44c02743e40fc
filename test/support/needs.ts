/**
 * A skipped test is a claim that this machine cannot run it. In CI the machine is known to be able to, so that the
 * claim is an error there.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { type TestAPI, test } from 'vitest';
import { type Capability, probeCapabilities } from '../../src/live/index.js';
import { inUserNamespace } from '../../src/live/permission.js';
import { hasChromium } from './browser.js';
import { FreezableGroup } from './freezer.js';
import { MemoryGroup } from './memory-group.js';
import { hasCompiler } from './native.js';
import { SmallDisk } from './small-disk.js';

const capabilities: readonly Capability[] = process.platform === 'linux' ? await probeCapabilities() : [];

/** Debian's; run by the tests themselves, never as the system's service. */
export const PROMETHEUS = '/usr/bin/prometheus';
const program = (name: string) =>
  spawnSync(name, ['--version'], { stdio: 'ignore' }).error === undefined
    ? undefined
    : `${name} is not installed`;

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** What a test may need, beside the capabilities that the probe knows by their ids. */
const EXTRA: Readonly<Record<string, () => string | undefined>> = {
  compiler: () => (hasCompiler() ? undefined : 'there is no C compiler (cc)'),
  chromium: () => (hasChromium() ? undefined : 'there is no Chromium'),
  prometheus: () => (existsSync(PROMETHEUS) ? undefined : `there is no ${PROMETHEUS}`),
  python: () => program('python3'),
  bash: () => program('bash'),
  zsh: () => program('zsh'),
  fish: () => program('fish'),
  script: () => program('script'),
  groff: () => program('groff'),
  gdb: () => program('gdb'),
  lldb: () => program('lldb'),
  drgn: () => program('drgn'),
  elfutils: () => program('eu-stack'),
  setpriv: () => {
    const { error } = spawnSync('setpriv', ['--version'], { stdio: 'ignore' });
    return error === undefined ? undefined : 'there is no setpriv (util-linux)';
  },
  root: () => {
    if (process.geteuid?.() !== 0) return 'it needs root';
    // There, root may have no other users to act for, and others' processes are not its own.
    return inUserNamespace() ? 'it needs root outside of user namespaces' : undefined;
  },
  freezer: () => FreezableGroup.missing(),
  'memory-group': () => MemoryGroup.missing(),
  'small-disk': () => SmallDisk.missing(),
  'kernel-threads': () =>
    readText('/proc/2/comm') === 'kthreadd' ? undefined : 'no kernel threads are to be seen here',
};

function missing(need: string): string | undefined {
  const extra = EXTRA[need];
  if (extra !== undefined) return extra();
  const capability = capabilities.find(({ id }) => id === need);
  if (capability === undefined) return `nothing is known about ${need}`;
  return capability.answer === 'yes' ? undefined : `${capability.title}: ${capability.how}`;
}

/** Whether a test that needs this can run here. */
export function available(...needs: string[]): boolean {
  return needs.every((need) => missing(need) === undefined);
}

/** `test`, or its skipped kind, the reason being printed, or in CI a test that fails with the reason. */
export function testWhere(...needs: string[]): TestAPI {
  const reasons = needs.map(missing).filter((reason) => reason !== undefined);
  if (reasons.length === 0) return test;
  const why = reasons.join('; ');
  if (!process.env['CI']) {
    console.log(`Skipped: ${why}`);
    return test.skip as unknown as TestAPI;
  }
  const failing = (name: string) =>
    test(name, () => {
      throw new Error(`Cannot be skipped in CI: ${why}`);
    });
  return Object.assign(failing, { each: () => failing }) as unknown as TestAPI;
}
