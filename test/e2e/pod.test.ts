/**
 * The command in a container beside another one, with which it shares the process namespace: what `kubectl debug --target` and
 * `docker run --pid container:…` make. docs/guide/containers.md says what is tested here.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { finish, MAIN, type Run } from '../support/cli.js';
import { FreezableGroup } from '../support/freezer.js';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';

/** What container engines leave to root. */
const DEFAULT_CAPABILITIES = [
  ...['chown', 'dac_override', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap', 'net_bind_service'],
  ...['net_raw', 'sys_chroot', 'mknod', 'audit_write', 'setfcap'],
];

/** Debugging containers, by the names of `kubectl debug --profile`. A container engine's filter forbids these calls. */
const PROFILES = {
  baseline: { capabilities: DEFAULT_CAPABILITIES, forbidden: ['userfaultfd', 'pidfd_getfd'] },
  general: { capabilities: [...DEFAULT_CAPABILITIES, 'sys_ptrace'], forbidden: ['userfaultfd'] },
  sysadmin: { capabilities: undefined, forbidden: [] },
};

const bounded = (capabilities: readonly string[]) => [
  'setpriv',
  ...['--bounding-set', `-all,${capabilities.map((name) => `+${name}`).join()}`, '--inh-caps', '-all'],
];
const filtered = (calls: readonly string[]) =>
  calls.length === 0 ? [] : [nativeProgram('forbid'), ...calls, '--'];

/** A container with one process, which is number 1 in it. */
class Pod implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #gone: Promise<unknown>;
  readonly ready: Promise<unknown>;

  /** @param forbidden system calls that its filter refuses */
  constructor(forbidden: readonly string[]) {
    const command = [
      ...bounded(DEFAULT_CAPABILITIES),
      ...filtered(forbidden),
      nativeProgram('refuse'),
      'none',
    ];
    const namespaces = ['--pid', '--mount', '--uts', '--fork', '--kill-child', '--mount-proc'];
    this.#child = spawn('unshare', [...namespaces, ...command]);
    this.#gone = once(this.#child, 'exit');
    this.ready = firstOutput(this.#child);
  }

  /** The number of its process outside. */
  get pid(): string {
    const { pid } = this.#child;
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  }

  /** Runs `pmscan ARGS` in a container beside it, with files of its own. */
  run(profile: keyof typeof PROFILES, ...args: string[]): Promise<Run> {
    const { capabilities, forbidden } = PROFILES[profile];
    const mount = 'mount --make-rprivate / && mount -t proc proc /proc && exec "$@"';
    return finish(
      spawn('nsenter', [
        ...['-t', this.pid, '--pid', 'unshare', '--mount', 'sh', '-c', mount, 'sh'],
        ...(capabilities === undefined ? [] : bounded(capabilities)),
        ...filtered(forbidden),
        ...[process.execPath, MAIN, ...args],
      ]),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    await this.#gone;
  }
}

async function startPod(...forbidden: string[]): Promise<Pod> {
  const pod = new Pod(forbidden);
  await pod.ready;
  return pod;
}

const inPod = testWhere('root', 'pagemap-scan', 'wp-async', 'compiler', 'setpriv');
const WATCH = ['watch', 'refuse', '--interval', '100ms', '--duration', '200ms', '--json'];

function expectSuccess({ code, stdout, stderr }: Run): void {
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain('"schema":"pagemap-scan/');
}

describe('a container that is under no filter, as Kubernetes makes them unless told otherwise', () => {
  inPod('without CAP_SYS_PTRACE one can look, but not track', async () => {
    await using pod = await startPod();
    const maps = await pod.run('baseline', 'maps', 'refuse', '--json');
    expect(JSON.parse(maps.stdout).pid).toBe(1);
    const refused = await pod.run('baseline', ...WATCH);
    expect(refused.stderr).toMatch(/forbids pidfd_getfd: .*or run outside of it/);
    expect(refused.code).toBe(4);
  });

  inPod('with it (profile general) one can track', async () => {
    await using pod = await startPod();
    expectSuccess(await pod.run('general', ...WATCH));
  });
});

describe("a container under the engine's filter (RuntimeDefault)", () => {
  inPod('takes the profile sysadmin to track, or root outside', async () => {
    await using pod = await startPod('userfaultfd');
    expect((await pod.run('general', 'maps', 'refuse')).code).toBe(0);
    const refused = await pod.run('general', ...WATCH);
    expect(refused.stderr).toMatch(/run outside of the container|takes CAP_SYS_ADMIN/);
    expect(refused.code).toBe(4);
    expectSuccess(await pod.run('sysadmin', ...WATCH));
    // From outside, by its number there.
    expectSuccess(
      await finish(
        spawn(process.execPath, [MAIN, ...WATCH.map((each) => (each === 'refuse' ? pod.pid : each))]),
      ),
    );
  });
});

describe('from the machine', () => {
  testWhere('root', 'pagemap-scan', 'wp-async', 'compiler', 'setpriv', 'freezer').each([
    ['as most are', () => randomBytes(32).toString('hex')],
    // One of some hundred ids begins with twelve digits.
    ['of decimal digits', () => randomInt(1e11, 1e12).toString().padEnd(64, '7')],
  ])('a container is found by its id: the process that it was started with, %s', async (_, makeId) => {
    const id = makeId();
    await using group = new FreezableGroup(`docker-${id}.scope`);
    await using pod = await startPod();
    group.add(Number(pod.pid));
    // Another one in it, as `docker exec` starts it.
    const other = spawn('nsenter', ['-t', pod.pid, '--pid', nativeProgram('refuse'), 'none']);
    const gone = once(other, 'exit');
    try {
      await firstOutput(other);
      group.add(other.pid!);
      const [child] = readFileSync(`/proc/${other.pid}/task/${other.pid}/children`, 'utf8').trim().split(' ');
      group.add(Number(child));
      const run = (...args: string[]) => finish(spawn(process.execPath, [MAIN, ...args]));
      const maps = await run('maps', id.slice(0, 12), '--json');
      expect(JSON.parse(maps.stdout).pid).toBe(Number(pod.pid));
      expectSuccess(await run('watch', id, ...WATCH.slice(2)));
      const unknown = await run('maps', `${id[0] === '0' ? '1' : '0'}${id.slice(1)}`);
      expect(unknown).toMatchObject({ code: 3, stderr: expect.stringContaining('a process or a container') });
    } finally {
      other.stdin.end();
      await gone;
    }
  });
});
