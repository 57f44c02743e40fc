/** Attaching: refusals, ends, kills, and that nothing is left behind. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/abi/index.js';
import { x64 } from '../../src/live/arch-x64.js';
import { isProgramFor } from '../../src/live/attach.js';
import { Attacher, ProcessError, ProcessHandle } from '../../src/live/internal.js';
import { explainPermission } from '../../src/live/permission.js';
import { type ProcessStatus, parseStatus } from '../../src/proc/index.js';
import { type ProcessTracker, trackProcess } from '../../src/track/index.js';
import { giveBack } from '../../src/track/internal.js';
import { bare32 } from '../support/bare32.js';
import { openDescriptors } from '../support/descriptors.js';
import { killTrackers, leftovers } from '../support/kills.mjs';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { seizeByAnother } from '../support/seized.js';
import { startPoked } from '../support/snapshot-target.js';
import { startTarget } from '../support/target.js';
import { until } from '../support/until.js';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const asRoot = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'root');

async function refusal(work: () => Promise<unknown>): Promise<ProcessError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof ProcessError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('threads that the kernel made for it', () => {
  live('are not the ones to run a system call in', async () => {
    const child = spawn(nativeProgram('sqpoll'));
    const ended = once(child, 'exit');
    try {
      await firstOutput(child);
      const pid = child.pid!;
      // It gets its name when it runs for the first time.
      await until('the thread of the ring', () =>
        readdirSync(`/proc/${pid}/task`).some((tid) =>
          readFileSync(`/proc/${pid}/task/${tid}/comm`, 'utf8').startsWith('iou-sqp'),
        ),
      );
      using handle = new ProcessHandle(pid);
      {
        await using attacher = await Attacher.start(handle);
        const { fd, tid } = await attacher.attach();
        closeSync(fd);
        expect(tid).toBe(pid);
      }
      using tracker = await trackProcess(pid, PATIENT);
      tracker.collect();
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
  });
});

/** For targets that do stop: on a busy machine they may get no time on a processor for long. */
const PATIENT = { stopTimeoutMs: 60_000 };

describe('refused', () => {
  live('what is no process, or not one with memory, or this one', async () => {
    expect(await refusal(() => trackProcess(999_999_999))).toMatchObject({ reason: 'not-found' });
    expect(await refusal(() => trackProcess(2))).toMatchObject({ reason: 'kernel-thread' });
    expect(await refusal(() => trackProcess(process.pid))).toMatchObject({ reason: 'self' });
  });

  live('one that ended, whoever has its number now', async () => {
    const target = await startTarget('target', [1]);
    using handle = new ProcessHandle(target.pid);
    await target[Symbol.asyncDispose]();
    expect(await refusal(() => Attacher.start(handle))).toMatchObject({ reason: 'ended' });
  });

  live('one that ends after the checks', async () => {
    const target = await startTarget('target', [1]);
    using handle = new ProcessHandle(target.pid);
    await using attacher = await Attacher.start(handle);
    await target[Symbol.asyncDispose]();
    expect(await refusal(() => attacher.attach())).toMatchObject({ reason: 'ended' });
  });

  live('one that is traced already', async () => {
    await using target = await startTarget('target', [1]);
    {
      await using strace = await seizeByAnother(target.pid);
      const error = await refusal(() => trackProcess(target.pid));
      expect(error).toMatchObject({ reason: 'traced', code: 'EBUSY' });
      expect(error.hint).toContain(String(strace.pid));
    }
    using tracker = await trackProcess(target.pid, PATIENT);
    expect(tracker.ended).toBe(false);
  });

  live('one that waits for its vfork child, after the given patience', async () => {
    await using target = await startTarget('refuse', ['vfork']);
    const error = await refusal(() => trackProcess(target.pid, { stopTimeoutMs: 200 }));
    expect(error).toMatchObject({ reason: 'busy', code: 'ETIMEDOUT' });
    expect(error.hint).toContain('within 200 ms');
    expect(readFileSync(`/proc/${target.pid}/status`, 'utf8')).toMatch(/^TracerPid:\s+0$/m);
  });

  // arm64's kernels have no such thing: prctl refuses it, and ptrace the question (6.12).
  const reflects = process.arch === 'arm64' ? test.skip : live;
  reflects('one that has its system calls reflected', async () => {
    await using target = await startTarget('refuse', ['catches']);
    expect(await refusal(() => trackProcess(target.pid))).toMatchObject({ reason: 'seccomp' });
    expect(leftovers(target.pid)).toBeUndefined();
  });

  testWhere('pagemap-scan')('a 32-bit program', async ({ skip }) => {
    const program = bare32();
    if (program === undefined) return skip('there is no 32-bit compiler, or no 32-bit programs run here');
    const child = spawn(program);
    await firstOutput(child);
    expect(await refusal(() => trackProcess(child.pid!))).toMatchObject({ reason: 'architecture' });
    child.stdin.end();
    await once(child, 'exit');
  });

  /** What a user without rights gets: [reason, hint]. */
  function asNobody(pid: number): string {
    const script = `
      import { trackProcess } from '${join(import.meta.dirname, '../../dist/index.js')}';
      try { await trackProcess(${pid}); console.log('attached'); } catch (error) { console.log(error.reason, error.hint); }`;
    return execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      uid: 65534,
      gid: 65534,
      encoding: 'utf8',
    });
  }

  asRoot("another user's, for one without rights", async () => {
    await using target = await startTarget('target', [1]);
    expect(asNobody(target.pid)).toMatch(/^not-permitted .*CAP_SYS_PTRACE/);
  });

  asRoot('a filter that cannot be suspended; a process that hides its memory', async () => {
    for (const [mode, pattern] of [
      ['seccomp', /^seccomp .*filter.*CAP_SYS_ADMIN/],
      ['dumpable', /^not-permitted /],
      ['none', /^attached/],
    ] as const) {
      const child = spawn(nativeProgram('refuse'), [mode], { uid: 65534, gid: 65534 });
      await firstOutput(child);
      expect(asNobody(child.pid!)).toMatch(pattern);
      child.stdin.end();
      expect((await once(child, 'exit'))[0]).toBe(0);
    }
  });

  test('and says which permission is missing', () => {
    const status = (uid: number, capEff = 0n) =>
      ({
        ...parseStatus(readFileSync('/proc/self/status')),
        uids: [uid, uid, uid, uid],
        capEff,
        seccomp: 0,
      }) as ProcessStatus;
    expect(explainPermission(status(7), status(8), 7, '0')).toMatch(/uid 7, this process as 8/);
    expect(explainPermission(status(7), status(7), 0, '0')).toMatch(/non-dumpable/);
    expect(explainPermission(status(7), status(7), 7, '1')).toMatch(/ptrace_scope is 1/);
    expect(explainPermission(status(7), status(7), 7, '2')).toMatch(/ptrace_scope is 2.*run as root/);
    expect(explainPermission(status(7), status(7), 7, '3')).toMatch(/next boot/);
    expect(explainPermission(status(7), status(7), 7, undefined)).toMatch(/more capabilities/);
    const traceAll = status(8, 1n << 19n);
    expect(explainPermission(status(7), traceAll, 7, '0')).toMatch(/security module/);
    expect(explainPermission(status(7), traceAll, 7, '3')).toMatch(/next boot/);
    expect(explainPermission(status(7), traceAll, 7, '0', true)).toMatch(/user namespace/);
    expect(explainPermission(status(7), { ...traceAll, seccomp: 2 }, 7, '0')).toMatch(
      /seccomp filter.*ptrace/,
    );
    expect(explainPermission(status(7), { ...status(7), seccomp: 2 }, 7, '0')).toMatch(
      /seccomp filter.*ptrace/,
    );
  });

  test('programs are told by their headers', () => {
    const header = (bits: number, machine: number) =>
      Uint8Array.of(
        0x7f,
        0x45,
        0x4c,
        0x46,
        bits,
        1,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        2,
        0,
        machine & 255,
        machine >> 8,
      );
    expect(isProgramFor(x64, header(2, 62))).toBe(true);
    expect(isProgramFor(x64, header(1, 3))).toBe(false);
    expect(isProgramFor(x64, header(1, 62))).toBe(false);
    expect(isProgramFor(x64, header(2, 183))).toBe(false);
    expect(isProgramFor(x64, new TextEncoder().encode('#!/bin/sh and more text'))).toBeUndefined();
    expect(isProgramFor(x64, new Uint8Array())).toBeUndefined();
  });
});

asRoot('a filter that would kill is suspended, by one who may', async () => {
  await using target = await startTarget('refuse', ['seccomp']);
  {
    using tracker = await trackProcess(target.pid, PATIENT);
    tracker.collect();
  }
  expect(leftovers(target.pid)).toBeUndefined();
  expect(readFileSync(`/proc/${target.pid}/status`, 'utf8')).toMatch(/^Seccomp:\s+2$/m);
});

live('a stopped process is tracked and stays stopped', async () => {
  await using target = await startWrites();
  const range = await target.order('map 1 anon 100');
  await target.order('write 1 0 100 1');
  process.kill(target.pid, 'SIGSTOP');
  const state = () => /^State:\s+(\S)/m.exec(readFileSync(`/proc/${target.pid}/status`, 'utf8'))![1];
  await until('the stop', () => state() === 'T');
  using tracker = await trackProcess(target.pid, PATIENT);
  // One that ran on would wait for the next order, and not be in this state again.
  await until('the stop, again', () => state() === 'T');
  expect(tracker.collect().writtenPages).toBeLessThan(3);
  process.kill(target.pid, 'SIGCONT');
  await target.order('write 1 7 1 1');
  expect(tracker.collect().mappings.find(({ start }) => start === range.start)?.writtenPages).toBe(1);
});

live('a process without a main thread', async () => {
  await using target = await startTarget('leaderless', [], { flags: ['-pthread'] });
  await until('the end of the main thread', () =>
    /^State:\s+Z/m.test(readFileSync(`/proc/${target.pid}/status`, 'utf8')),
  );
  using tracker = await trackProcess(target.pid, PATIENT);
  expect(tracker.collect().mappings.length).toBeGreaterThan(3);
  expect(tracker.ended).toBe(false);
  target.child.kill('SIGKILL');
  await until('the end', () => tracker.ended);
});

live('what has come next to tracked memory can be moved with it, once it was looked for', async () => {
  for (const isLookedFor of [false, true]) {
    await using target = await startTarget('merged-mremap');
    const order = async () => {
      const answer = once(target.child.stdout, 'data');
      target.child.stdin.write('x');
      return String((await answer)[0]).trim();
    };
    using tracker = await trackProcess(target.pid);
    expect(await order()).toBe('grown');
    if (isLookedFor) tracker.lookForNeighbours!();
    // What a program can notice otherwise, as the guide says.
    expect(await order()).toBe(isLookedFor ? 'ok' : 'Bad address');
    // All that is new counts, whoever registered it.
    if (isLookedFor) expect(tracker.collect().writtenPages).toBeGreaterThanOrEqual((1 << 20) / PAGE_SIZE);
  }
});

describe('a process that uses userfaultfd itself', () => {
  const startOwn = async () => {
    const target = await startTarget('own-userfaultfd');
    const order = async () => {
      const answer = once(target.child.stdout, 'data');
      target.child.stdin.write('x');
      return String((await answer)[0]).trim();
    };
    return { target, order };
  };

  live('is not tracked, unless that is wanted: then what it registers fails', async () => {
    const { target, order } = await startOwn();
    await using _ = target;
    expect(await order()).toBe('open');
    const error = await refusal(() => trackProcess(target.pid));
    expect(error).toMatchObject({ reason: 'userfaultfd', code: 'EBUSY' });
    expect(error.hint).toContain('the option `anyway`');
    expect(await order()).toBe('ok');
    expect(await order()).toBe('open');
    using tracker = await trackProcess(target.pid, { anyway: true });
    expect(await order()).toBe('Device or resource busy');
    // Written before it opens the next one.
    expect(await order()).toBe('open');
    expect(tracker.collect().writtenPages).toBeGreaterThanOrEqual((8 << 20) / PAGE_SIZE);
  });

  live('is let go of when it begins to', async () => {
    const { target, order } = await startOwn();
    await using _ = target;
    using tracker = await trackProcess(target.pid);
    expect(tracker.collect().mappings.length).toBeGreaterThan(3);
    expect(await order()).toBe('open');
    expect(tracker.collect()).toMatchObject({ writtenPages: 0, mappings: [] });
    expect(tracker.skipped.length).toBeGreaterThan(3);
    expect(new Set(tracker.skipped.map(({ reason }) => reason))).toEqual(new Set(['userfaultfd']));
    for (let cycle = 0; cycle < 3; cycle++) {
      expect(await order()).toBe('ok');
      expect(tracker.collect().writtenPages).toBe(0);
      expect(await order()).toBe('open');
    }
  });
});

live('exit and exec end the tracking, and say which', async () => {
  {
    const target = await startTarget('target', [10]);
    using tracker = await trackProcess(target.pid, PATIENT);
    tracker.collect();
    expect(tracker.ended).toBe(false);
    await target[Symbol.asyncDispose]();
    expect(tracker.ended).toBe(true);
    expect(await refusal(async () => tracker.collect())).toMatchObject({ reason: 'ended' });
  }
  await using target = await startTarget('target', [10]);
  using tracker = await trackProcess(target.pid, PATIENT);
  target.child.stdin.write('x');
  await until('the end', () => tracker.ended);
  expect((await refusal(async () => tracker.collect())).hint).toMatch(/replaced its program/);
  expect(leftovers(target.pid)).toBeUndefined();
});

live('two trackers of one process: the second is told', async () => {
  await using target = await startTarget('target', [10]);
  using first = await trackProcess(target.pid, PATIENT);
  using second = await trackProcess(target.pid, PATIENT);
  expect(first.skipped.filter(({ reason }) => reason === 'busy')).toEqual([]);
  expect(second.skipped.some(({ start, reason }) => start <= target.start && reason === 'busy')).toBe(true);
  first[Symbol.dispose]();
  second.collect();
  expect(second.skipped.filter(({ reason }) => reason === 'busy')).toEqual([]);
});

/** A third of the pages of such a target exist: more than is given back at once. */
const THIN_MIB = 240;

live('what is given back piece by piece is free before its tracker is disposed', async () => {
  await using target = await startPoked(THIN_MIB);
  using first = await trackProcess(target.pid, PATIENT);
  using second = await trackProcess(target.pid, PATIENT);
  const isBusy = () => second.skipped.some(({ reason }) => reason === 'busy');
  second.collect();
  expect(isBusy()).toBe(true);
  await giveBack(first);
  second.collect();
  expect(isBusy()).toBe(false);
  // It may be gone on with.
  first.collect();
  expect(first.skipped.some(({ reason }) => reason === 'busy')).toBe(true);
  await giveBack(first);
});

live('a process that ends while its memory is given back is no error', async () => {
  const target = await startPoked(THIN_MIB);
  using tracker = await trackProcess(target.pid, PATIENT);
  await target[Symbol.asyncDispose]();
  await giveBack(tracker);
  expect(tracker.ended).toBe(true);
});

live.each(['anon', 'shared', 'thp'])(
  'two trackers, and %s memory that is mapped anew: what the other one took is told, not lost',
  async (kind) => {
    await using target = await startWrites();
    const { start, end } = await target.order(`map 1 ${kind} 512`);
    await target.order('write 1 0 512 1');
    using first = await trackProcess(target.pid, PATIENT);
    using second = await trackProcess(target.pid, PATIENT);
    const collect = (tracker: ProcessTracker) => {
      const pages = new Set<number>();
      tracker.collect((from, to) => {
        for (let at = Math.max(from, start); at < Math.min(to, end); at += PAGE_SIZE)
          pages.add((at - start) / PAGE_SIZE);
      });
      return pages;
    };
    const isTaken = (tracker: ProcessTracker) =>
      tracker.skipped.some((one) => one.start <= start && one.end > start && one.reason === 'busy');
    collect(first);
    collect(second);
    expect([isTaken(first), isTaken(second)]).toEqual([false, true]);
    // Memory that is mapped anew is free. Whoever looks first has it from then on.
    await target.order(`again 1 ${kind}`);
    collect(second);
    await target.order('write 1 3 2 1');
    // One of them tells each write; the other one says that it does not.
    expect(collect(first)).toEqual(new Set());
    expect([isTaken(first), isTaken(second)]).toEqual([true, false]);
    await target.order('write 1 5 1 1');
    const told = collect(second);
    expect([3, 4, 5].filter((page) => told.has(page))).toEqual([3, 4, 5]);
    if (kind !== 'thp') expect(told.size).toBe(3);
    // The other way round, the first of them left alone.
    second[Symbol.dispose]();
    collect(first);
    expect(isTaken(first)).toBe(false);
    await target.order('write 1 7 1 1');
    expect(collect(first).has(7)).toBe(true);
  },
);

live('mappings that come and go as fast as they can: no error, and what stays is exact', async () => {
  await using target = await startTarget('churn', [], { flags: ['-pthread'] });
  using tracker = await trackProcess(target.pid, PATIENT);
  for (let round = 0; round < 300; round++) {
    const { mappings } = tracker.collect((start, end) => expect(end).toBeGreaterThan(start));
    const stays = mappings.find(({ start, end }) => start <= target.start && end >= target.end);
    expect(stays?.writtenPages).toBe(0);
  }
});

live.each([
  ['checksum', 1, 13],
  ['epoll', 4, 12],
])('trackers that are killed at random moments leave nothing: %s', async (mode, threads, kills) => {
  const program = nativeProgram('harmless', ['-pthread']);
  expect(await killTrackers(program, mode, threads, kills)).toMatch(/^ok [1-9]/);
});

live('no descriptor is left, here or there', async () => {
  await using target = await startTarget('target', [10]);
  const round = async () => {
    using tracker = await trackProcess(target.pid, PATIENT);
    tracker.collect();
    await refusal(() => trackProcess(999_999_999));
  };
  await round();
  const before = openDescriptors();
  for (let times = 0; times < 5; times++) await round();
  for (let wait = 0; wait < 200 && openDescriptors().length > before.length; wait++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(openDescriptors()).toEqual(before);
  expect(leftovers(target.pid)).toBeUndefined();
});
