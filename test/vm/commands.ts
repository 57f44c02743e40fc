/**
 * The command by the fallback, as root and as an ordinary user: chosen by itself where the kernel has no ioctl, else asked
 * for. What takes the ioctl says so there, with exit code 5.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { kernelCategories } from '../../src/live/index.js';
import type { StreamMessage } from '../../src/model/index.js';
import { aggregateRecording, openRecording } from '../../src/record/internal.js';
import {
  formatScenario,
  measureProfile,
  parseScenarios,
  SimulatorBackend,
} from '../../src/scenario/index.js';
import { finish, MAIN, type Run } from '../support/cli.js';
import { nativeProgram } from '../support/native.js';
import { CoreReader, findTear, startTorn } from '../support/torn.mjs';

const OLD = kernelCategories() === 0;
const FALLBACK = OLD ? {} : { PMSCAN_PROVIDER: 'fallback' };
const YAMA = '/proc/sys/kernel/yama/ptrace_scope';
if (existsSync(YAMA)) writeFileSync(YAMA, '0');

interface User {
  readonly uid?: number;
  readonly gid?: number;
}

const folder = mkdtempSync(join(tmpdir(), 'commands-'));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

function pmscan(
  args: readonly string[],
  user: User = {},
  env: Record<string, string> = FALLBACK,
): Promise<Run> {
  return finish(spawn(process.execPath, [MAIN, ...args], { ...user, env: { ...process.env, ...env } }));
}

/** The JSON documents that a command that went well has written. */
async function documents(args: readonly string[], user?: User, env?: Record<string, string>) {
  const { code, stdout, stderr } = await pmscan(args, user, env);
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  // `watch` writes one a line, the others one that may take several.
  const texts = args[0] === 'watch' ? stdout.trim().split('\n') : [stdout];
  return texts.map((text) => JSON.parse(text));
}

/** Long enough for an interval on a machine that has much else to do. */
const briefly = ['--interval', '200ms', '--duration', '4s', '--json'];

describe.each<[string, User]>([
  ['root', {}],
  ['an ordinary user', { uid: 1000, gid: 1000 }],
])('%s', (_, user) => {
  const target = spawn('sleep', ['1000'], user);
  children.push(target);
  const pid = String(target.pid);

  test('scan and maps count the same pages', async () => {
    const [scan] = await documents(
      ['scan', pid, '--where', 'present', '--return', 'present', '--json'],
      user,
    );
    const [maps] = await documents(['maps', pid, '--json'], user);
    expect(scan).toMatchObject({ schema: 'pagemap-scan/scan@1', pid: target.pid });
    expect(maps).toMatchObject({ schema: 'pagemap-scan/maps@1', pid: target.pid });
    expect(scan.totals.pages).toBeGreaterThan(100);
    expect(maps.totals.present).toBe(scan.totals.pages);
  });

  test('what is not known without more permission is refused, and said how to get it', async () => {
    const { code, stdout, stderr } = await pmscan(['scan', pid, '--where', 'pfnzero', '--json'], user);
    if (user.uid === undefined) {
      expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
      return;
    }
    expect({ code, stdout }).toEqual({ code: 4, stdout: '' });
    expect(stderr).toMatch(/^pmscan: Cannot tell pfnzero pages .*CAP_SYS_ADMIN.*root/m);
  });

  test('watch, of a process that is there and of one that it starts', async () => {
    for (const args of [
      ['watch', pid, ...briefly],
      ['watch', ...briefly, '--', 'sleep', '1000'],
    ]) {
      const [first, ...intervals] = await documents(args, user);
      expect(first).toMatchObject({ schema: 'pagemap-scan/watch@1' });
      expect(intervals.length).toBeGreaterThan(0);
    }
  });

  test("core --stop, and not another user's process", async () => {
    const file = join(folder, 'core');
    if (user.uid !== undefined) {
      const { code, stderr } = await pmscan(['core', String(process.pid), '--stop', '-o', '/tmp/none'], user);
      expect({ code, made: existsSync('/tmp/none') }).toEqual({ code: 4, made: false });
      expect(stderr).toMatch(/^pmscan: Cannot .*run as its user or as root, or give node CAP_SYS_PTRACE/);
      const own = join('/tmp', `core-${user.uid}`);
      await documents(['core', pid, '--stop', '-o', own, '--json'], user);
      const core = new CoreReader(own);
      expect(core.loads.length).toBeGreaterThan(5);
      core.close();
      rmSync(own);
      return;
    }
    const torn = await startTorn(nativeProgram('torn', ['-pthread']), 8, 2, 2000);
    try {
      const [core] = await documents(['core', String(torn.pid), '--stop', '-o', file, '--json']);
      expect(core).toMatchObject({ schema: 'pagemap-scan/core@1', unreadablePages: 0 });
      const reader = new CoreReader(file);
      expect(findTear(reader, torn)).toBeUndefined();
      reader.close();
    } finally {
      await torn.stop();
    }
  });

  test('doctor', async () => {
    const [doctor] = await documents(['doctor', '--json'], user);
    const answer = (what: string) =>
      doctor.conclusions.find((one: { what: string }) => one.what.includes(what))?.answer;
    expect([answer('pmscan scan'), answer('pmscan watch)')]).toEqual(['yes', 'yes']);
  });
});

describe('pictures, by soft-dirty bits', () => {
  /** Pages that two writers write, all of them within a second or two. */
  const startWriting = () => startTorn(nativeProgram('torn', ['-pthread']), 1, 2, 2000);

  test('record, and a report of it', async () => {
    const torn = await startWriting();
    const recording = join(folder, 'rec.parquet');
    try {
      const args = [
        'record',
        String(torn.pid),
        '-o',
        recording,
        '--interval',
        '200ms',
        '--budget',
        '100%',
        '--duration',
        '3s',
      ];
      const { code, stderr } = await pmscan(args);
      expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
      const { heat } = await aggregateRecording(await openRecording(recording));
      const band = heat!.bands.find(({ start, end }) => start <= torn.start && torn.end <= end)!;
      const pages = band.cells.reduce((sum, value, index) => sum + (index % 3 === 2 ? value : 0), 0);
      expect(pages).toBeGreaterThan(200);
      expect(heat!.columns.length).toBeGreaterThan(3);
    } finally {
      await torn.stop();
    }
  });

  test('serve', async () => {
    const torn = await startWriting();
    const child = spawn(process.execPath, [MAIN, 'serve', String(torn.pid), '--interval', '200ms'], {
      env: { ...process.env, ...FALLBACK },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    const exited = once(child, 'exit');
    try {
      const [line] = (await once(child.stdout!.setEncoding('utf8'), 'data')) as [string];
      const answer = await fetch(`${line.trim()}stream?pid=${torn.pid}`);
      expect(answer.status).toBe(200);
      let band: number | undefined;
      let pages = 0;
      let stops: boolean | undefined;
      const see = (message: StreamMessage) => {
        if (message.type === 'model') stops ??= message.model.tracking.stops;
        if (message.type === 'tracking') stops = message.tracking.stops;
        if (message.type !== 'column') return;
        for (const { id, start, end } of message.bands) if (start <= torn.start && torn.end <= end) band = id;
        for (const [id, ...cells] of message.cells)
          if (id === band) for (let at = 1; at < cells.length; at += 2) pages += cells[at]!;
      };
      let text = '';
      const decoder = new TextDecoder();
      for await (const bytes of answer.body!) {
        text += decoder.decode(bytes as Uint8Array, { stream: true });
        for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
          const event = text.slice(0, end);
          text = text.slice(end + 2);
          if (event.startsWith('data: ')) see(JSON.parse(event.slice(6)));
        }
        if (pages > 200) break;
      }
      expect(pages).toBeGreaterThan(200);
      expect(stops).toBe(true);
    } finally {
      child.kill('SIGTERM');
      expect(await exited).toEqual([0, null]);
      await torn.stop();
    }
  });
});

/** The first two scenarios of a recording, and the same with the answers that are expected of this kernel. */
const RECORDING = join(import.meta.dirname, '../traces/6.12/anon.jsonl');
const RECORDED = [...parseScenarios(readFileSync(RECORDING, 'utf8'), RECORDING)].slice(0, 2);
const SCENARIOS = readFileSync(RECORDING, 'utf8')
  .split(/^(?=\{"scenario")/m)
  .slice(0, 2)
  .join('');

async function scenariosHere(): Promise<string> {
  if (OLD) return SCENARIOS;
  const simulator = new SimulatorBackend((await measureProfile()).profile);
  return RECORDED.map((scenario) => formatScenario(scenario, simulator.run(scenario))).join('');
}

test.each([
  ['core', ['core', String(children[0]!.pid), '-o', join(folder, 'tracked'), '--json']],
  ['run --on kernel', ['run', join(folder, 'scenarios'), '--on', 'kernel', '--check', '--json']],
])('%s takes the ioctl', async (_, args) => {
  writeFileSync(join(folder, 'scenarios'), await scenariosHere());
  if (!OLD) {
    await documents(args, {}, {});
    return;
  }
  const { code, stdout, stderr } = await pmscan(args);
  expect({ code, stdout }).toEqual({ code: 5, stdout: '' });
  expect(stderr).toMatch(/^pmscan: Cannot .*Linux 6\.7/);
  expect(stderr).not.toContain('    at ');
});

test('run on the simulator works everywhere', async () => {
  writeFileSync(join(folder, 'scenarios'), SCENARIOS);
  const [run] = await documents(['run', join(folder, 'scenarios'), '--check', '--json']);
  expect(run).toMatchObject({ scenarios: 2, mismatches: 0 });
});
