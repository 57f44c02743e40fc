/** Core files that are made when something happens. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { compileWhen, waitUntil } from '../../src/core/index.js';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { leftovers } from '../support/kills.mjs';
import { MemoryGroup } from '../support/memory-group.js';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { CoreReader, findTear, startTorn } from '../support/torn.mjs';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const inGroup = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'memory-group');

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-core-when-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'core');
beforeEach(() => rmSync(file, { force: true }));

const MIB = 2 ** 20;
const PAGES = MIB / 4096;

/** Starts the command, and waits until it waits. */
async function startWaiting(pid: number, condition: string, ...more: string[]) {
  const child = startPmscan(['core', String(pid), '-o', file, '--when', condition, ...more]);
  const result = finish(child);
  await new Promise<void>((resolve, reject) => {
    let said = '';
    child.stderr.on('data', (text: string) => {
      said += text;
      if (said.includes('waiting for')) resolve();
    });
    result.then(({ stderr }) => reject(new Error(stderr)), reject);
  });
  return { child, result };
}

inGroup.each([['--stop'], ['--stacks'], ['--max-rounds', '9']])(
  'before the OOM killer comes: %s',
  async (...more) => {
    await using group = new MemoryGroup(64 * MIB);
    await using target = await startWrites();
    group.add(target.pid);
    const ended = once(target.child, 'exit');
    const { start } = await target.order(`map 1 anon ${96 * PAGES}`);
    await target.order(`write 1 0 ${16 * PAGES} 1`);
    const { child, result } = await startWaiting(target.pid, 'cgroup.memory > 60%', '--json', ...more);
    expect(child.exitCode).toBe(null);
    expect(existsSync(file)).toBe(false);
    await target.order(`write 1 0 ${48 * PAGES} 1`);
    const { code, stdout, stderr } = await result;
    expect(code, stderr).toBe(0);
    const { when } = JSON.parse(stdout);
    expect(when.condition).toBe('cgroup.memory > 60%');
    expect(when.values.groupShare).toBeGreaterThan(0.6);
    expect(when.values.groupShare).toBeLessThanOrEqual(1);
    expect(leftovers(target.pid)).toBeUndefined();
    const core = new CoreReader(file);
    expect(core.notes().filter(({ type }) => type === 1).length).toBe(1);
    // Written before the condition was met.
    const written = core.memory(start + 30 * MIB, 4096)?.some((byte) => byte !== 0);
    core.close();
    expect(written).toBe(more[0] === '--stacks' ? undefined : true);
    // And that it would have come.
    target.child.stdin.write(`write 1 0 ${96 * PAGES} 1\n`);
    expect(await ended).toEqual([null, 'SIGKILL']);
  },
);

live('a signal, and what else is asked for besides', async () => {
  await using target = await startWrites();
  const { start } = await target.order(`map 1 anon ${64 * PAGES}`);
  const { child, result } = await startWaiting(target.pid, 'signal USR1 & rss > 32M', '--json');
  child.kill('SIGUSR1');
  // It is remembered until the other half comes.
  await target.order(`write 1 0 ${40 * PAGES} 1`);
  const { code, stdout, stderr } = await result;
  expect(code, stderr).toBe(0);
  const { when } = JSON.parse(stdout);
  expect(when.values.signals).toEqual(['USR1']);
  expect(when.values.rss).toBeGreaterThan(32 * MIB);
  const core = new CoreReader(file);
  expect(core.memory(start, 4096)).toBeDefined();
  core.close();
});

live('what it writes, by tracking, which has ended when the dump begins', async () => {
  const target = await startTorn(nativeProgram('torn', ['-pthread']), 16, 1, 0);
  try {
    const { code, stdout, stderr } = await pmscan([
      ...['core', target.pid, '-o', file, '--json'],
      ...['--when', 'written > 100K/s & threads > 1', '--interval', '100ms'],
    ]);
    expect(code, stderr).toBe(0);
    const { when, rounds } = JSON.parse(stdout);
    expect(when.values.written).toBeGreaterThan(100 * 1024);
    expect(when.values.threads).toBe(3);
    expect(rounds.length).toBeGreaterThan(0);
    const core = new CoreReader(file);
    expect(findTear(core, target)).toBeUndefined();
    core.close();
    expect(leftovers(target.pid)).toBeUndefined();
  } finally {
    await target.stop();
  }
});

live('several, each with its number, until the process ends', async () => {
  await using target = await startWrites();
  const { code, stdout, stderr } = await pmscan([
    ...['core', target.pid, '-o', file, '--json', '--stacks'],
    ...['--when', 'rss > 1K', '--count', '2', '--cooldown', '1ms'],
  ]);
  expect(code, stderr).toBe(0);
  const lines = stdout.trim().split('\n');
  expect(lines.map((line) => JSON.parse(line).file)).toEqual([`${file}.1`, `${file}.2`]);
  expect(readdirSync(folder).sort()).toEqual(['core.1', 'core.2']);
  const { child, result } = await startWaiting(
    target.pid,
    'signal USR2',
    ...['--count', '3', '--cooldown', '1ms', '--stacks', '--json'],
  );
  const first = once(child.stdout, 'data');
  child.kill('SIGUSR2');
  await first;
  target.child.stdin.end();
  const { code: last, stderr: told } = await result;
  expect([last, told.includes('the process has ended; 1 core file')]).toEqual([0, true]);
  for (const name of readdirSync(folder)) rmSync(join(folder, name));
});

live('a process that ends while it is waited for, and Ctrl-C', async () => {
  const child = spawn('sleep', ['60']);
  await once(child, 'spawn');
  const interrupted = await startWaiting(child.pid!, 'threads > 5');
  interrupted.child.kill('SIGINT');
  expect(await interrupted.result).toMatchObject({ code: 130 });
  const waiting = await startWaiting(child.pid!, 'threads > 5', '--hold', '5s');
  child.kill('SIGKILL');
  const { code, stderr } = await waiting.result;
  expect([code, /ended/.test(stderr)]).toEqual([3, true]);
  expect(readdirSync(folder)).toEqual([]);
});

live('conditions that make no sense are refused at once', async () => {
  await using target = await startWrites();
  for (const [args, expected, message] of [
    [['--when', 'rss > 90%'], 2, /rss > 90%\n {8}\^~~\nGive a size/],
    [['--when', ''], 2, /empty/],
    [['--hold', '5s'], 2, /--hold without --when/],
    [['--when', 'rss > 1', '--hold', 'x'], 2, /Give a time/],
    [['--when', 'rss > 1', '--count', '2', '-o', '-'], 2, /several core files/],
  ] as const) {
    const { code, stdout, stderr } = await pmscan(['core', target.pid, '-o', file, ...args]);
    expect([code, stdout], stderr).toEqual([expected, '']);
    expect(stderr).toMatch(message);
  }
});

test('it has to hold for as long as was asked for', async () => {
  const { values, waitedMs } = await waitUntil(process.pid, compileWhen('rss > 1M & cpu >= 0%'), {
    holdMs: 120,
    intervalMs: 20,
  });
  expect(waitedMs).toBeGreaterThanOrEqual(120);
  expect(values.rss).toBeGreaterThan(MIB);
  const signal = AbortSignal.timeout(100);
  const never = waitUntil(process.pid, compileWhen('threads > 100000'), { intervalMs: 20, signal });
  await expect(never).rejects.toThrow();
  expect(process.listenerCount('SIGUSR2')).toBe(0);
});
