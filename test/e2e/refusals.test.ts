/**
 * Every reason for which a process cannot be attached to or dumped, as the command tells it, and its advice taken: what is
 * advised helps, and what would not help is not advised.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { ProcessProblem } from '../../src/live/index.js';
import { trackMemory, trackProcess } from '../../src/track/index.js';
import { bare32 } from '../support/bare32.js';
import { finish, MAIN, type Run } from '../support/cli.js';
import { FreezableGroup } from '../support/freezer.js';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { seizeByAnother } from '../support/seized.js';
import { SmallDisk } from '../support/small-disk.js';
import { CoreReader, startTorn } from '../support/torn.mjs';
import { startWrites } from '../support/writes.js';
import { startZombie } from '../support/zombie.js';

const NEEDS = ['root', 'pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'setpriv'];
const asRoot = testWhere(...NEEDS);
const inTable = testWhere(...NEEDS, 'freezer', 'kernel-threads');
const onSmallDisk = testWhere(...NEEDS, 'small-disk');
const USER = { uid: 65534, gid: 65534 };

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-refusals-'));
chmodSync(folder, 0o777);
afterAll(() => rmSync(folder, { recursive: true }));

/** Whom the command runs as, and the capabilities that an ordinary user gets for it. */
const CAPABILITIES = {
  'user with one capability': '+sys_ptrace',
  'user with both capabilities': '+sys_ptrace,+dac_read_search',
} as const;

type As = 'root' | 'user' | keyof typeof CAPABILITIES;

/** What starts the command for it, and as whom. */
function startAs(as: As): { prefix: string[]; user: { uid?: number; gid?: number } } {
  if (as === 'root') return { prefix: [], user: {} };
  if (as === 'user') return { prefix: [], user: USER };
  const ids = ['--reuid', '65534', '--regid', '65534', '--clear-groups'];
  return {
    prefix: ['setpriv', ...ids, '--inh-caps', CAPABILITIES[as], '--ambient-caps', CAPABILITIES[as]],
    user: {},
  };
}

function pmscan(args: readonly string[], as: As = 'root'): Promise<Run> {
  const { prefix, user } = startAs(as);
  const [program, ...rest] = [...prefix, process.execPath, MAIN, ...args];
  return finish(spawn(program!, rest, user));
}

let dumps = 0;

/** `pmscan core PID MORE`; the file must be there exactly when it went well. */
async function core(pid: number, as: As = 'root', more: readonly string[] = []): Promise<Run> {
  const file = join(folder, `core-${dumps++}`);
  const run = await pmscan(['core', String(pid), '-o', file, ...more], as);
  expect(existsSync(file), run.stderr).toBe(run.code === 0);
  if (run.code === 0) {
    new CoreReader(file).close();
    rmSync(file);
  }
  return run;
}

interface Refused extends AsyncDisposable {
  readonly pid: number;
  /** Does what the message advises, and tells as whom to try again. Left out where nothing can be done. */
  readonly follow?: () => Promise<As> | As;
}

interface Case {
  readonly title: string;
  readonly start: () => Promise<Refused>;
  readonly as?: As;
  readonly code: number;
  readonly message: RegExp;
  /** Whether `--stop` helps, and is advised. */
  readonly stop: boolean;
}

/** A program that waits until its input ends. */
async function idle(
  args: readonly string[],
  options: { uid?: number; gid?: number } = {},
): Promise<Refused & { child: ChildProcessWithoutNullStreams }> {
  const child = spawn(args[0]!, args.slice(1), options);
  const exited = once(child, 'exit');
  await firstOutput(child);
  return {
    child,
    pid: child.pid!,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

const refuse = (mode: string, options = {}) => idle([nativeProgram('refuse'), mode], options);
const isThere = (pid: number): Refused => ({ pid, [Symbol.asyncDispose]: async () => {} });

const CASES: Readonly<Record<ProcessProblem, readonly Case[] | string>> = {
  'not-found': [
    {
      title: 'there is no such process',
      start: async () => isThere(999_999_999),
      code: 3,
      message: /there is no such process/,
      stop: false,
    },
  ],
  zombie: [
    {
      title: 'it has exited',
      start: startZombie,
      code: 3,
      message: /it has exited and is a zombie until its parent waits for it/,
      stop: false,
    },
  ],
  'kernel-thread': [
    {
      title: 'a thread of the kernel',
      start: async () => isThere(2),
      code: 1,
      message: /it is a kernel thread, which has no memory of its own/,
      stop: false,
    },
  ],
  'not-permitted': [
    {
      title: "another user's, as its user",
      start: async () => ({
        ...(await refuse('none', { uid: 65533, gid: 65533 })),
        follow: () => 'user with both capabilities',
      }),
      as: 'user',
      code: 4,
      message: /run as its user.*or give node CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH/,
      stop: false,
    },
    {
      title: "another user's, for one that may trace, and not read",
      start: async () => ({
        ...(await refuse('none', { uid: 65533, gid: 65533 })),
        follow: () => 'user with both capabilities',
      }),
      as: 'user with one capability',
      code: 4,
      message: /has CAP_SYS_PTRACE; it also needs CAP_DAC_READ_SEARCH/,
      stop: false,
    },
    {
      title: "another user's, as root",
      start: async () => ({
        ...(await refuse('none', { uid: 65533, gid: 65533 })),
        follow: () => 'root',
      }),
      as: 'user',
      code: 4,
      message: /as root/,
      stop: false,
    },
    {
      title: 'it hides its memory',
      start: async () => ({
        ...(await refuse('dumpable', USER)),
        follow: () => 'user with both capabilities',
      }),
      as: 'user',
      code: 4,
      message: /hides its memory.*or give node CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH/,
      stop: false,
    },
  ],
  ended: 'told of a process that was there when it was looked at: test/live/gone enumerates the ways',
  self: 'a command is another process than the one it looks at: see below',
  traced: [
    {
      title: 'a debugger traces it',
      start: async () => {
        const target = await refuse('none');
        const tracer = await seizeByAnother(target.pid);
        return {
          pid: target.pid,
          follow: async (): Promise<As> => {
            await tracer[Symbol.asyncDispose]();
            return 'root';
          },
          async [Symbol.asyncDispose]() {
            await tracer[Symbol.asyncDispose]();
            await target[Symbol.asyncDispose]();
          },
        };
      },
      code: 4,
      message: /process \d+ traces it, a debugger or strace; only one can/,
      stop: false,
    },
  ],
  architecture: 'not on every machine: see below',
  seccomp: [
    {
      title: 'a filter that one without rights cannot suspend',
      start: async () => ({ ...(await refuse('seccomp', USER)), follow: () => 'root' }),
      as: 'user',
      code: 4,
      message: /takes CAP_SYS_ADMIN: run as root/,
      stop: true,
    },
    ...(process.arch === 'x64'
      ? [
          {
            title: 'its system calls are reflected to itself',
            start: () => refuse('catches'),
            code: 4,
            message: /catches its own system calls|dispatch/,
            stop: true,
          },
        ]
      : []),
  ],
  busy: [
    {
      title: 'it waits for a child that it made by vfork',
      start: async () => {
        const target = await refuse('vfork');
        return {
          ...target,
          // The child has the same input. Then the parent is let go, and ends: that is all that one can wait for.
          [Symbol.asyncDispose]: async () => {
            target.child.stdin.end();
            await once(target.child, 'exit');
          },
        };
      },
      code: 1,
      message: /it waits for a child that it made by vfork/,
      stop: false,
    },
  ],
  frozen: [
    {
      title: 'its control group is frozen',
      start: async () => {
        const target = await refuse('none');
        const group = new FreezableGroup();
        group.add(target.pid);
        group.freeze();
        await group.isFrozen();
        return {
          pid: target.pid,
          follow: (): As => {
            group.freeze(false);
            return 'root';
          },
          async [Symbol.asyncDispose]() {
            group.freeze(false);
            await target[Symbol.asyncDispose]();
            await group[Symbol.asyncDispose]();
          },
        };
      },
      code: 1,
      message: /frozen/,
      stop: true,
    },
  ],
  userfaultfd: [
    {
      title: 'it uses userfaultfd itself',
      start: async () => {
        const target = await idle([nativeProgram('own-userfaultfd')]);
        target.child.stdin.write('o');
        await firstOutput(target.child);
        return {
          ...target,
          // Its next cycle; with that it closes what it had opened.
          follow: async (): Promise<As> => {
            target.child.stdin.write('r');
            await firstOutput(target.child);
            return 'root';
          },
        };
      },
      code: 1,
      message: /it uses userfaultfd itself(?![\s\S]*--anyway)/,
      stop: true,
    },
  ],
};

describe.each(Object.entries(CASES).filter(([, cases]) => typeof cases !== 'string') as [string, Case[]][])(
  '%s',
  (_, cases) => {
    inTable.each(cases)('$title', async ({ start, as = 'root', code, message, stop }) => {
      await using refused = await start();
      const run = await core(refused.pid, as);
      expect(run.stderr).toMatch(message);
      expect(run.stderr).toMatch(/^pmscan: Cannot /m);
      expect(run.stderr).not.toContain('    at ');
      expect({ code: run.code, stdout: run.stdout }).toEqual({ code, stdout: '' });
      expect(run.stderr.includes('--stop dumps it'), run.stderr).toBe(stop);
      const stopped = await core(refused.pid, as, ['--stop']);
      expect(stopped.code === 0, stopped.stderr).toBe(stop);
      if (refused.follow === undefined) return;
      const again = await core(refused.pid, await refused.follow());
      expect(again.code, again.stderr).toBe(0);
    });
  },
);

// --- What does not fit the table ----------------------------------------------------------------------------------

test('self: its own memory is tracked by the function that the message names', async ({ skip }) => {
  const refused = trackProcess(process.pid);
  await expect(refused).rejects.toThrow(/this process's own memory is tracked by trackMemory/);
  await refused.catch(({ reason }) => expect(reason).toBe('self'));
  let tracked: ReturnType<typeof trackMemory>;
  try {
    tracked = trackMemory(new ArrayBuffer(1 << 16));
  } catch {
    return skip('memory cannot be tracked here');
  }
  tracked[Symbol.dispose]();
});

asRoot('architecture: nothing is advised for a 32-bit program', async ({ skip }) => {
  const program = bare32();
  if (program === undefined) return skip('there is no 32-bit compiler, or no 32-bit programs run here');
  await using target = await idle([program]);
  const run = await core(target.pid);
  expect(run.stderr).toMatch(/its program is not for/);
  expect([run.code, run.stderr.includes('--stop')]).toEqual([5, false]);
  expect((await core(target.pid, 'root', ['--stop'])).code).toBe(5);
});

describe('a watch', () => {
  const watch = (pid: number, as: As, more: readonly string[] = []) =>
    pmscan(['watch', String(pid), '--interval', '50ms', '--duration', '100ms', '--json', ...more], as);

  asRoot('of one that uses userfaultfd itself goes on with --anyway', async () => {
    const target = await idle([nativeProgram('own-userfaultfd')]);
    await using _ = target;
    target.child.stdin.write('o');
    await firstOutput(target.child);
    const refused = await watch(target.pid, 'root');
    expect(refused.stderr).toMatch(/uses userfaultfd itself[\s\S]*\n`--anyway` tracks it all the same/);
    expect(refused.code).not.toBe(0);
    const again = await watch(target.pid, 'root', ['--anyway']);
    expect(again.code, again.stderr).toBe(0);
  });

  asRoot("of another user's goes on with the capability that is named", async () => {
    await using target = await refuse('none', { uid: 65533, gid: 65533 });
    const refused = await watch(target.pid, 'user');
    expect(refused.stderr).toMatch(/give node CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH/);
    expect(refused.code).toBe(4);
    const again = await watch(target.pid, 'user with both capabilities');
    expect(again.code, again.stderr).toBe(0);
  });
});

describe('a dump', () => {
  asRoot('for which the process has no descriptor free: with --stop, or when it has', async () => {
    await using target = await refuse('none');
    execFileSync('prlimit', ['--pid', String(target.pid), '--nofile=3:64']);
    const run = await core(target.pid);
    expect(run.stderr).toMatch(/EMFILE[\s\S]*--stop dumps it/);
    expect((await core(target.pid, 'root', ['--stop'])).code).toBe(0);
    execFileSync('prlimit', ['--pid', String(target.pid), '--nofile=64:64']);
    expect((await core(target.pid)).code).toBe(0);
  });

  asRoot('of memory that another tool tracks: when that has ended, or with --stop', async () => {
    const target = await startTorn(nativeProgram('torn', ['-pthread']), 80, 1, 1000);
    try {
      {
        using _tracker = await trackProcess(target.pid);
        const run = await core(target.pid);
        expect(run.stderr).toMatch(/EBUSY \(.*end that for as long as the dump takes[\s\S]*--stop dumps it/);
        expect((await core(target.pid, 'root', ['--stop'])).code).toBe(0);
      }
      expect((await core(target.pid)).code).toBe(0);
    } finally {
      await target.stop();
    }
  });

  asRoot('that would take longer than allowed: with --shared running, or a longer pause', async () => {
    // Nothing of it changes; yet at the stop all of it is copied, since others may write to it.
    await using target = await startWrites();
    await target.order('map 1 shared 65536');
    await target.order('write 1 0 65536 1');
    const run = await core(target.pid, 'root', ['--max-pause', '120ms']);
    expect(run.stderr).toMatch(/ETIMEDOUT \(about \d+ ms .*give a longer --max-pause, or --shared running/);
    expect([run.code, run.stderr.includes('--stop')]).toEqual([1, false]);
    for (const more of [
      ['--max-pause', '120ms', '--shared', 'running'],
      ['--max-pause', '1m'],
    ]) {
      const again = await core(target.pid, 'root', more);
      expect(again.code, again.stderr).toBe(0);
    }
  });

  onSmallDisk('for which there is no room: in another place', async () => {
    const target = await startTorn(nativeProgram('torn', ['-pthread']), 16, 1, 1000);
    using disk = new SmallDisk(2);
    try {
      for (const more of [[], ['--stop']]) {
        const run = await pmscan(['core', String(target.pid), '-o', join(disk.folder, 'core'), ...more]);
        expect(run.stderr).toMatch(/ENOSPC \(it takes about \d+ MiB, and \d MiB are free in .*\)/);
        expect([run.code, run.stderr.includes('--stop')]).toEqual([1, false]);
        expect((await core(target.pid, 'root', more)).code).toBe(0);
      }
    } finally {
      await target.stop();
    }
  });
});
