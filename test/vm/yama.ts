/**
 * Who may watch whom under Yama, a security module that several distributions come with. For a machine of its own: changes
 * the kernel's settings, the last of them for good.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { finish, MAIN, type Run } from '../support/cli.js';

const USER = { uid: 1000, gid: 1000 };
const children: ChildProcess[] = [];

afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
});

function scope(value: 0 | 1 | 2 | 3): void {
  writeFileSync('/proc/sys/kernel/yama/ptrace_scope', String(value));
}

/** The user's process; no descendant of what looks at it. */
async function sibling(): Promise<string> {
  const child = spawn('sleep', ['1000'], USER);
  children.push(child);
  await once(child, 'spawn');
  return String(child.pid);
}

const pmscan = (args: readonly string[], user: { uid?: number; gid?: number } = USER): Promise<Run> =>
  finish(spawn(process.execPath, [MAIN, ...args], user));

const briefly = ['--interval', '100ms', '--duration', '300ms', '--json'];
const watch = (pid: string) => ['watch', pid, ...briefly];
const watchCommand = ['watch', ...briefly, '--', 'sleep', '1000'];

function expectSuccess({ code, stdout, stderr }: Run): void {
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain('"schema":"pagemap-scan/');
}

function expectRefusal({ code, stdout, stderr }: Run, pattern: RegExp): void {
  expect(stderr).toMatch(/^pmscan: Cannot attach to process /);
  expect(stderr).toMatch(pattern);
  expect({ code, stdout }).toEqual({ code: 4, stdout: '' });
}

async function conclusions(user: { uid?: number; gid?: number } = USER): Promise<Record<string, string>> {
  const { stdout } = await pmscan(['doctor', '--json'], user);
  const document = JSON.parse(stdout) as { conclusions: { what: string; answer: string }[] };
  return Object.fromEntries(
    document.conclusions.map(({ what, answer }) => [what.replace(/ *[(;].*/s, ''), answer]),
  );
}

const COMMANDS = 'tracking writes of commands that it starts';
const OTHERS = 'tracking writes of other processes';

describe.each([0, 1] as const)('vm.unprivileged_userfaultfd %s', (setting) => {
  test('watching takes no more than the restricted kind', async () => {
    writeFileSync('/proc/sys/vm/unprivileged_userfaultfd', String(setting));
    scope(0);
    expectSuccess(await pmscan(watch(await sibling())));
    const script = `import { trackMemory } from '/pagemap-scan/dist/index.js';
      const tracker = trackMemory(new ArrayBuffer(1 << 20)); tracker[Symbol.dispose](); console.log('tracked');`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], USER);
    expect(await finish(child)).toMatchObject({ code: 0, stdout: 'tracked\n', stderr: '' });
    writeFileSync('/proc/sys/vm/unprivileged_userfaultfd', '0');
  });
});

describe('ptrace_scope', () => {
  test("0: all of the user's own processes", async () => {
    scope(0);
    expectSuccess(await pmscan(watch(await sibling())));
    expectSuccess(await pmscan(watchCommand));
    expect(await conclusions()).toMatchObject({ [COMMANDS]: 'yes', [OTHERS]: 'yes' });
  });

  test('1: looking at all, watching what it starts itself', async () => {
    scope(1);
    const pid = await sibling();
    expect((await pmscan(['maps', pid, '--json'])).code).toBe(0);
    expect((await pmscan(['scan', pid, '--json'])).code).toBe(0);
    expectRefusal(await pmscan(watch(pid)), /ptrace_scope is 1.*root.*CAP_SYS_PTRACE.*sysctl.*watch -- CMD/);
    expectSuccess(await pmscan(watchCommand));
    expect(await conclusions()).toMatchObject({ [COMMANDS]: 'yes', [OTHERS]: 'no' });
  });

  test('1: the sample process of the demonstration can be watched', async () => {
    scope(1);
    const { code, stdout } = await pmscan(['demo']);
    expect(code).toBe(0);
    expect(stdout).not.toContain('SIMULATED');
    expect(stdout).toMatch(/write working set/);
  });

  test('1: a command that is not there, one that may not be run, one that fails', async () => {
    scope(1);
    const missing = await pmscan(['watch', '--json', '--', 'no-such-command-here']);
    expect(missing.stderr).toContain('Cannot run no-such-command-here: there is no such command');
    expect(missing.code).not.toBe(0);
    const forbidden = await pmscan(['watch', '--json', '--', '/etc/passwd']);
    expect(forbidden.stderr).toContain('Cannot run /etc/passwd: it may not be run');
    expect(forbidden.code).not.toBe(0);
  });

  test('1: root watches everything', async () => {
    scope(1);
    expectSuccess(await pmscan(watch(await sibling()), {}));
    expect(await conclusions({})).toMatchObject({ [COMMANDS]: 'yes', [OTHERS]: 'yes' });
  });

  test('2: looking; watching takes CAP_SYS_PTRACE', async () => {
    scope(2);
    const pid = await sibling();
    expect((await pmscan(['maps', pid, '--json'])).code).toBe(0);
    for (const args of [watch(pid), watchCommand]) {
      expectRefusal(await pmscan(args), /ptrace_scope is 2.*run as root, or give node CAP_SYS_PTRACE/);
    }
    expectSuccess(await pmscan(watch(pid), {}));
    expect(await conclusions()).toMatchObject({ [COMMANDS]: 'no', [OTHERS]: 'no' });
  });

  test('3: nobody watches, root included', async () => {
    scope(3);
    const pid = await sibling();
    expect((await pmscan(['maps', pid, '--json'])).code).toBe(0);
    for (const user of [USER, {}]) {
      expectRefusal(await pmscan(watch(pid), user), /ptrace_scope is 3.*until the next boot/);
    }
  });
});
