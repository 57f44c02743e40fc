/**
 * The command where not everything is permitted: as an ordinary user, under a seccomp filter, in a user namespace, with
 * other users' processes hidden. What can work does; what cannot says which permission it takes and how to get it.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { finish, MAIN, type Run } from '../support/cli.js';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';

const INDEX = join(import.meta.dirname, '../../dist/index.js');
const USER = { uid: 65534, gid: 65534 };

const asRoot = testWhere('root', 'pagemap-scan', 'wp-async', 'compiler');

/** A process that does nothing; `prefix` is what it is started by. */
class Idle implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #gone: Promise<unknown>;
  readonly ready: Promise<unknown>;

  constructor(options: { uid?: number; gid?: number } = {}, prefix: readonly string[] = []) {
    const [program, ...args] = [...prefix, nativeProgram('refuse'), 'none'];
    this.#child = spawn(program!, args, options);
    this.#gone = once(this.#child, 'exit');
    this.ready = firstOutput(this.#child);
  }

  get pid(): string {
    return String(this.#child.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    await this.#gone;
  }
}

async function idle(...args: ConstructorParameters<typeof Idle>): Promise<Idle> {
  const process = new Idle(...args);
  await process.ready;
  return process;
}

/** `pmscan ARGS`, started by `prefix`. */
function pmscan(
  args: readonly string[],
  { prefix = [], ...options }: { prefix?: readonly string[]; uid?: number; gid?: number } = {},
): Promise<Run> {
  const [program, ...rest] = [...prefix, process.execPath, MAIN, ...args];
  return finish(spawn(program!, rest, options));
}

const watch = (pid: string) => ['watch', pid, '--interval', '100ms', '--duration', '200ms', '--json'];
const forbid = (...calls: string[]) => [nativeProgram('forbid'), ...calls, '--'];

function expectRefusal({ code, stdout, stderr }: Run, exitCode: number, pattern: RegExp): void {
  expect(stderr).toMatch(pattern);
  // One message, no stack.
  expect(stderr).toMatch(/^pmscan: Cannot /);
  expect(stderr).not.toContain('    at ');
  expect({ code, stdout }).toEqual({ code: exitCode, stdout: '' });
}

function expectSuccess({ code, stdout, stderr }: Run): void {
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain('"schema":"pagemap-scan/');
}

describe('an ordinary user', () => {
  asRoot("all of one's own processes", async () => {
    await using own = await idle(USER);
    expectSuccess(await pmscan(watch(own.pid), USER));
    for (const command of ['scan', 'maps']) {
      const { code, stdout } = await pmscan([command, own.pid, '--json'], USER);
      expect(code).toBe(0);
      expect(JSON.parse(stdout).pid).toBe(Number(own.pid));
    }
  });

  asRoot('without the ioctl: what takes no more than being its user', async () => {
    await using own = await idle(USER);
    const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-contained-'));
    chmodSync(folder, 0o777);
    try {
      const prefix = ['env', 'PMSCAN_PROVIDER=fallback'];
      const core = ['core', own.pid, '--stop', '-o', join(folder, 'core')];
      for (const args of [['scan', own.pid], ['maps', own.pid], core]) {
        const { code, stderr } = await pmscan([...args, '--json'], { prefix, ...USER });
        expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
      }
      const refused = await pmscan(['scan', own.pid, '--where', 'pfnzero', '--json'], { prefix, ...USER });
      expect(refused.stderr).toMatch(/Cannot tell pfnzero pages .*EPERM .*needs CAP_SYS_ADMIN: run as root/);
      expect({ code: refused.code, stdout: refused.stdout }).toEqual({ code: 4, stdout: '' });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  asRoot("nothing of others'", async () => {
    await using other = await idle();
    for (const args of [['maps', other.pid], ['scan', other.pid], watch(other.pid)]) {
      expectRefusal(await pmscan(args, USER), 4, /run as its user or as root, or give node CAP_SYS_PTRACE/);
    }
  });
});

describe('under a seccomp filter', () => {
  asRoot('that forbids userfaultfd: looking works, and tracking a process that is under none', async () => {
    await using free = await idle();
    const prefix = forbid('userfaultfd');
    expect((await pmscan(['maps', free.pid], { prefix })).code).toBe(0);
    expectSuccess(await pmscan(watch(free.pid), { prefix }));
  });

  asRoot('that the target is under, too, as within one container', async () => {
    await using filtered = await idle({}, forbid('userfaultfd'));
    const prefix = forbid('userfaultfd');
    expect((await pmscan(['maps', filtered.pid], { prefix })).code).toBe(0);
    expectRefusal(await pmscan(watch(filtered.pid), { prefix }), 4, /run outside of the container/);
    // From outside of it, root can.
    expectSuccess(await pmscan(watch(filtered.pid)));
    await using own = await idle(USER, forbid('userfaultfd'));
    expectRefusal(await pmscan(watch(own.pid), USER), 4, /takes CAP_SYS_ADMIN: run as root/);
  });

  asRoot('that forbids ptrace, or taking descriptors: says so, and how it is allowed', async () => {
    await using free = await idle();
    for (const call of ['ptrace', 'pidfd_getfd']) {
      const refused = await pmscan(watch(free.pid), { prefix: forbid(call) });
      expectRefusal(refused, 4, new RegExp(`seccomp filter.*forbids ${call}: .*--security-opt seccomp`));
    }
  });

  asRoot("that forbids userfaultfd: so does tracking one's own memory", async () => {
    const script = `import { trackMemory } from '${INDEX}';
      try { trackMemory(new ArrayBuffer(1 << 20)); } catch (error) { console.log(error.code, error.message); }`;
    const [program, ...prefix] = forbid('userfaultfd');
    const args = [...prefix, process.execPath, '--input-type=module', '-e', script];
    const { stdout, stderr } = await finish(spawn(program!, args, USER));
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^EPERM .*seccomp filter.*forbids userfaultfd: .*\/dev\/userfaultfd/);
  });
});

describe('in a user namespace', () => {
  const prefix = ['unshare', '-U', '-r'];

  asRoot('all of the processes inside', async () => {
    const run = await pmscan(
      [
        'watch',
        '--interval',
        '100ms',
        '--duration',
        '200ms',
        '--json',
        '--',
        nativeProgram('refuse'),
        'none',
      ],
      { prefix },
    );
    expectSuccess(run);
  });

  asRoot('a process outside: says that root inside is no root there', async () => {
    await using outside = await idle();
    for (const args of [['maps', outside.pid], watch(outside.pid)]) {
      expectRefusal(
        await pmscan(args, { prefix }),
        4,
        /root in a user namespace .*run as root outside of it/,
      );
    }
  });
});

describe('with processes hidden (hidepid)', () => {
  // A /proc of its own, seen by this command alone.
  const mount = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"';
  const prefix = [
    ...['unshare', '-m', 'sh', '-c', mount, 'sh'],
    // By its path: busybox's shell has one of its own, which knows less.
    ...['/usr/bin/setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'],
  ];
  const hidden = testWhere('root', 'pagemap-scan', 'compiler', 'setpriv');

  hidden("one's own are all there", async () => {
    await using own = await idle(USER);
    expect((await pmscan(['maps', own.pid], { prefix })).code).toBe(0);
    expectSuccess(await pmscan(watch(own.pid), { prefix }));
  });

  hidden("others': says that they may be hidden", async () => {
    await using other = await idle();
    const pattern = /hidepid=(2|invisible), which hides other users' processes.*as root/;
    expectRefusal(await pmscan(['maps', other.pid], { prefix }), 3, pattern);
    expectRefusal(await pmscan(['maps', 'no-such-process-here'], { prefix }), 3, pattern);
  });
});
