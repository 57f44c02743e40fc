/** Core files of real programs at work: every page of their own as it was at the stop, every thread for gdb, and they work on. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { PAGE_IS_FILE, PAGE_IS_PFNZERO, PAGE_IS_PRESENT, PAGE_IS_SWAPPED } from '../../src/abi/index.js';
import { dumpCore } from '../../src/core/hooks.js';
import { bufferAddress, openPagemap, ProcessHandle, ProcessMemory } from '../../src/live/internal.js';
import { parseSmaps } from '../../src/proc/index.js';
import { forEachRegion } from '../../src/query/index.js';
import { leftovers } from '../support/kills.mjs';
import { modulesByGdb, modulesIn, modulesOf } from '../support/modules.js';
import { PROMETHEUS, testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { startChromium, startPostgres, startRedis, stopServers, testWithServer } from '../support/servers.js';
import { CoreReader } from '../support/torn.mjs';

const needs = ['pagemap-scan', 'wp-async', 'ptrace', 'gdb', 'elfutils'];
const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-core-real-'));
const file = join(folder, 'core');

afterAll(async () => {
  await stopServers();
  rmSync(folder, { recursive: true });
});

/** Memory that is a process's own, read while it stands still. */
class Truth {
  readonly ranges: { start: number; bytes: Buffer }[] = [];
  pages = 0;

  take(pid: number): void {
    using handle = new ProcessHandle(pid);
    using pagemap = openPagemap(pid);
    using memory = new ProcessMemory(handle);
    for (const { start, end, perms, vmFlags, name } of parseSmaps(handle.read('smaps'))) {
      // Others may write to shared memory meanwhile. The kernel dumps no device memory, and nothing marked so.
      if (
        perms[3] === 's' ||
        name === '[vsyscall]' ||
        vmFlags.some((flag) => ['dd', 'io', 'pf'].includes(flag))
      )
        continue;
      const unwanted = PAGE_IS_FILE | PAGE_IS_PFNZERO;
      const query = {
        ...{ start, end, categoryInverted: unwanted, categoryMask: unwanted },
        categoryAnyofMask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
      };
      forEachRegion(pagemap, query, (from, to) => {
        const bytes = Buffer.from(new ArrayBuffer(to - from));
        memory.read([from, to], new Uint8Array(bytes.buffer), bufferAddress(bytes.buffer), () => {
          throw new Error(`Cannot read ${from.toString(16)} of ${name}`);
        });
        this.ranges.push({ start: from, bytes });
        this.pages += bytes.length / 4096;
      });
    }
  }

  compare(core: CoreReader): string[] {
    return this.ranges.flatMap(({ start, bytes }) => {
      const copy = core.memory(start, bytes.length);
      if (copy === undefined) return [`${start.toString(16)} is not there`];
      return copy.equals(bytes) ? [] : [`${start.toString(16)} differs`];
    });
  }
}

async function check(
  pid: number,
  program: string,
  leastPages: number,
  truthOfModules = (): Promise<string[]> => modulesByGdb(pid, join(folder, 'gdb')),
): Promise<void> {
  const truth = new Truth();
  const { threads, rounds } = await dumpCore(pid, { file, whileStopped: () => truth.take(pid) });
  expect(leftovers(pid)).toBeUndefined();
  expect(rounds[0]!.pages).toBeGreaterThan(leastPages);
  expect(truth.pages).toBeGreaterThan(leastPages);
  const core = new CoreReader(file);
  expect(truth.compare(core)).toEqual([]);
  const prstatus = core.notes().filter(({ type }) => type === 1).length;
  core.close();
  expect(prstatus).toBe(threads);
  // Symbols do not matter, and looking for them in the network would take time.
  const settings = ['set debuginfod enabled off', 'set auto-solib-add off'].flatMap((line) => ['-iex', line]);
  const { stdout } = await run(
    'gdb',
    ['-nx', '-batch', ...settings, program, file, '-ex', 'info threads', '-ex', 'x/4xb $sp'],
    { maxBuffer: 2 ** 26 },
  );
  expect(stdout.match(/^[ *] +\d+ +(Thread|LWP) /gm)?.length).toBe(threads);
  expect(stdout).toMatch(/^0x[0-9a-f]+:\t0x/m);
  const modules = await modulesIn(file);
  expect(modules.length).toBeGreaterThan(3);
  expect(modules).toEqual(await truthOfModules());
  rmSync(file);
}

testWithServer('redis-server', ...needs)('Redis, while keys are set', async () => {
  await using redis = await startRedis();
  await redis.commands('DEBUG POPULATE 200000 key 100\n');
  let busy = true;
  const setting = (async () => {
    for (let turn = 0; busy; turn++) {
      const keys = Array.from({ length: 500 }, (_, index) => `SET key:${turn * 500 + index} ${turn}`);
      await redis.commands(`${keys.join('\n')}\n`);
    }
  })();
  try {
    await check(redis.pid, '/usr/bin/redis-server', 5000);
  } finally {
    busy = false;
    await setting;
  }
  expect((await redis.commands('PING\n')).trim()).toBe('PONG');
});

testWithServer(
  'postgresql',
  ...needs,
  'root',
)('a process of PostgreSQL, in the middle of a query', async () => {
  await using postgres = await startPostgres('32MB');
  const session = await postgres.session();
  await session.query("SET work_mem = '256MB'");
  const query = session.query(
    'SELECT count(*) FROM (SELECT random() AS r FROM generate_series(1, 1500000) ORDER BY r) AS sorted',
  );
  await sleep(200);
  const program = (await run('readlink', [`/proc/${session.backend}/exe`])).stdout.trim();
  await check(session.backend, program, 500);
  expect(await query).toEqual(['1500000']);
});

testWhere(...needs)('Node.js, while it allocates', async () => {
  const script = `
    const kept = [];
    setInterval(() => { for (let i = 0; i < 100; i++) kept.push({ i, text: 'x'.repeat(i) + kept.length }); }, 1);
    process.stdin.once('data', () => { console.log(kept.length > 0); process.exit(0); });
    console.log('ready');`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    await firstOutput(child);
    await check(child.pid!, process.execPath, 1000);
    child.stdin.write('q');
    expect(await firstOutput(child)).toBe('true\n');
  } finally {
    child.kill();
  }
});

testWithServer('chromium', ...needs)('Chromium, its main process and a page', async () => {
  await using chromium = await startChromium(
    "<title>ready</title><script>const kept = []; setInterval(() => kept.push('x'.repeat(1000) + kept.length), 2)</script>",
  );
  const program = (await run('readlink', [`/proc/${chromium.pid}/exe`])).stdout.trim();
  // gdb writes for minutes here.
  await check(chromium.pid, program, 2000, () => modulesOf(chromium.pid));
  await check(chromium.renderer, program, 1000, () => modulesOf(chromium.renderer));
  expect(readdirSync('/proc')).toContain(String(chromium.renderer));
});

testWhere(...needs, 'prometheus')('a program in Go: Prometheus', async () => {
  const child = spawn(
    PROMETHEUS,
    [
      '--config.file=/dev/null',
      `--storage.tsdb.path=${join(folder, 'data')}`,
      '--web.listen-address=127.0.0.1:0',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  try {
    await new Promise<void>((resolve, reject) => {
      let log = '';
      child.on('exit', () => reject(new Error(`It has ended: ${log}`)));
      child.stderr.on('data', (text: Buffer) => {
        log += text;
        if (/Server is ready/.test(log)) resolve();
      });
    });
    await check(child.pid!, PROMETHEUS, 1000);
    expect(child.exitCode).toBeNull();
  } finally {
    const ended = child.exitCode === null ? once(child, 'exit') : undefined;
    child.kill();
    await ended;
  }
});

test('nothing else is left in the folder', () => {
  expect(readdirSync(folder).filter((name) => name !== 'data')).toEqual([]);
});
