/** Processes whose control group is frozen: before, while they are attached to, and later. Nothing hangs, and nothing is left. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect } from 'vitest';
import { dumpCore } from '../../src/core/hooks.js';
import { NotResumed, TracedThread, tracedArchitecture } from '../../src/live/ptrace.js';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { FreezableGroup } from '../support/freezer.js';
import { leftovers } from '../support/kills.mjs';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { CoreReader, findTear, startTorn, type Torn } from '../support/torn.mjs';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'root', 'freezer');

const file = join(tmpdir(), `pagemap-scan-frozen-${process.pid}`);
afterAll(() => rmSync(file, { force: true }));

/** A process that writes all the time, in a group of its own. */
class Frozen implements AsyncDisposable {
  readonly group = new FreezableGroup();
  readonly torn: Torn;

  private constructor(torn: Torn) {
    this.torn = torn;
    this.group.add(torn.pid);
  }

  static async start(): Promise<Frozen> {
    return new Frozen(await startTorn(nativeProgram('torn', ['-pthread']), 4, 1, 1000));
  }

  get pid(): number {
    return this.torn.pid;
  }

  /**
   * It works on as if nothing had been. Frozen between the two system calls of an attach, it keeps a descriptor, and only then: the
   * message says which.
   */
  async checkThawed(stderr = ''): Promise<void> {
    this.group.freeze(false);
    expect(await this.torn.gap()).toBeGreaterThanOrEqual(0);
    const kept = /descriptor (\d+), a userfaultfd that is used for nothing, stays open/.exec(stderr)?.[1];
    expect(leftovers(this.pid)).toBe(kept === undefined ? undefined : `descriptor ${kept} is a userfaultfd`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.group.freeze(false);
    await this.torn.stop();
    await this.group[Symbol.asyncDispose]();
  }
}

const tracerOf = (pid: number) =>
  /^TracerPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1];

/** Programs of ours that have to do with a process, by their command lines. */
function helpersOf(pid: number): string[] {
  return readdirSync('/proc').filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      const words = readFileSync(`/proc/${entry}/cmdline`, 'latin1').split('\0');
      return words.includes(String(pid)) && words.some((word) => /attacher\.js|main\.js/.test(word));
    } catch {
      return false;
    }
  });
}

live.each([
  ['core', '-o', file],
  ['watch', '--duration', '1s'],
])('frozen before: %s says so, and by which group', async (command, ...more) => {
  await using target = await Frozen.start();
  target.group.freeze();
  await target.group.isFrozen();
  const begin = performance.now();
  const { code, stderr } = await pmscan([command!, target.pid, ...more]);
  expect(performance.now() - begin).toBeLessThan(10_000);
  expect(code).toBe(1);
  expect(stderr).toContain(`it is frozen, with the control group /${target.group.name}`);
  expect(stderr).toContain(`echo 0 > ${target.group.folder}/cgroup.freeze`);
  if (command === 'core') expect(stderr).toContain('--stop dumps it');
  expect(tracerOf(target.pid)).toBe('0');
  await target.checkThawed();
});

live('frozen before: --stop does what is advised', async () => {
  await using target = await Frozen.start();
  target.group.freeze();
  await target.group.isFrozen();
  const { code, stderr } = await pmscan(['core', target.pid, '--stop', '-o', file]);
  expect(code, stderr).toBe(0);
  const core = new CoreReader(file);
  expect(findTear(core, target.torn)).toBeUndefined();
  core.close();
  await target.checkThawed();
});

live('frozen right before a system call is run in a thread: it is taken back', async () => {
  await using target = await Frozen.start();
  const thread = new TracedThread(target.pid, tracedArchitecture()!);
  thread.seize(0);
  expect(thread.interrupt(1000)).toBe(true);
  expect(thread.save()).toBe(true);
  thread.blockSignals();
  target.group.freeze();
  // Where there is a system call instruction does not matter: it never gets there.
  expect(() => thread.run(0x1000, 39, [])).toThrow(NotResumed);
  thread.restore();
  thread.detach();
  expect(tracerOf(target.pid)).toBe('0');
  await target.checkThawed();
});

live('frozen at any moment of an attach, a round or a stop: it ends in time, or goes on', async () => {
  for (let trial = 0; trial < 12; trial++) {
    await using target = await Frozen.start();
    const child = startPmscan(['core', String(target.pid), '-o', file]);
    const ended = finish(child);
    await sleep(250 + trial * 60);
    target.group.freeze();
    const { code, stderr } = await ended;
    // Whatever has come of it.
    if (code !== 0) expect(stderr).toContain('it is frozen');
    expect(helpersOf(target.pid)).toEqual([]);
    expect(tracerOf(target.pid)).toBe('0');
    await target.checkThawed(stderr);
  }
});

live('frozen in the middle of a round, and at the stop', async () => {
  await using target = await Frozen.start();
  let told = false;
  const freezeOnce = () => {
    if (!told) target.group.freeze();
    told = true;
  };
  for (const moment of ['onProgress', 'beforeStop'] as const) {
    told = false;
    await dumpCore(target.pid, { file, [moment]: freezeOnce });
    expect(told).toBe(true);
    expect(tracerOf(target.pid)).toBe('0');
    const core = new CoreReader(file);
    expect(findTear(core, target.torn)).toBeUndefined();
    core.close();
    await target.checkThawed();
  }
});

live('ended by SIGTERM at any moment, frozen or not, nothing of ours is left', async () => {
  const trials = Number(process.env['PMSCAN_TRIALS'] ?? 16);
  for (let trial = 0; trial < trials; trial++) {
    await using target = await Frozen.start();
    const command = trial % 2 === 0 ? ['core', '-o', file] : ['watch', '--duration', '10s'];
    const child = startPmscan([command[0]!, String(target.pid), ...command.slice(1)]);
    const ended = finish(child);
    const after = Math.random() * 900;
    if (trial % 4 >= 2) setTimeout(() => target.group.freeze(), after * Math.random()).unref();
    await sleep(after);
    child.kill('SIGTERM');
    const { stderr } = await ended;
    for (let tries = 0; tries < 400 && helpersOf(target.pid).length > 0; tries++) await sleep(5);
    expect(helpersOf(target.pid), `after ${after} ms`).toEqual([]);
    expect(tracerOf(target.pid)).toBe('0');
    await target.checkThawed(stderr);
  }
});
