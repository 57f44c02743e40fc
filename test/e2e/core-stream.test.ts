/** Core files that go straight to a pipe or through compression, while the process stands still: without a file in between. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  createWriteStream,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { gunzipSync } from 'node:zlib';
import { afterAll, expect } from 'vitest';
import { dumpCore } from '../../src/core/index.js';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { leftovers } from '../support/kills.mjs';
import { modulesByGdb, modulesIn } from '../support/modules.js';
import { nativeProgram } from '../support/native.js';
import { available, testWhere } from '../support/needs.js';
import { CoreReader, findTear, startTorn } from '../support/torn.mjs';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const withDebuggers = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'gdb', 'elfutils');

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-core-stream-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'core');

/** Nothing can be put there. */
const NOWHERE = { TMPDIR: '/nonexistent' };

live('-o - and --compress with --stop: exact, and without a place for a file in between', async () => {
  const target = await startTorn(nativeProgram('torn', ['-pthread']), 32, 2, 20_000);
  try {
    const child = startPmscan(['core', String(target.pid), '--stop', '-o', '-'], { env: NOWHERE });
    child.stderr.resume();
    const closed = once(child, 'close');
    await pipeline(child.stdout, createWriteStream(file));
    expect(await closed).toEqual([0, null]);
    const compressed = join(folder, 'core.gz');
    const args = ['core', target.pid, '--stop', '--compress', 'gzip', '-o', compressed, '--json'];
    const { code, stdout, stderr } = await pmscan(args, { env: NOWHERE });
    expect(code, stderr).toBe(0);
    expect(statSync(compressed).mode & 0o777).toBe(0o600);
    const unzipped = gunzipSync(readFileSync(compressed));
    const { bytes, stoppedPages } = JSON.parse(stdout);
    expect(bytes).toBe(unzipped.length);
    expect(stoppedPages).toBeGreaterThan(8192);
    writeFileSync(join(folder, 'unzipped'), unzipped);
    for (const name of ['core', 'unzipped']) {
      const core = new CoreReader(join(folder, name));
      expect(findTear(core, target)).toBeUndefined();
      core.close();
    }
    expect(leftovers(target.pid)).toBeUndefined();
  } finally {
    await target.stop();
  }
});

live('memory that is hardly there, shared holes and stacks alone make no long stream', async () => {
  await using target = await startWrites();
  const sparse = await target.order(`map 1 anon ${(16 * 2 ** 30) / 4096}`);
  await target.order('write 1 5 3 100000');
  const shared = await target.order(`map 2 memfd ${(1 * 2 ** 30) / 4096}`);
  await target.order('write 2 70000 2 1');
  const stream = createWriteStream(file);
  const { bytes, storedBytes } = await dumpCore(target.pid, { file: stream, stop: true });
  stream.end();
  await once(stream, 'close');
  expect([bytes, storedBytes]).toEqual([statSync(file).size, statSync(file).size]);
  // Where memory that is shared has holes is known to who may open /proc/PID/map_files, which takes root.
  expect(bytes).toBeLessThan(available('root') ? 64 << 20 : (64 << 20) + 2 ** 30);
  const core = new CoreReader(file);
  const isSet = ({ start }: { start: number }, page: number) =>
    core.memory(start + page * 4096, 4096)?.some((byte) => byte !== 0);
  expect([4, 5, 6, 100_005, 200_005].map((page) => isSet(sparse, page))).toEqual([
    ...[false, true, false, true, true],
  ]);
  expect([69_999, 70_000, 70_001, 70_002].map((page) => isSet(shared, page))).toEqual([
    ...[false, true, true, false],
  ]);
  core.close();
  const child = startPmscan(['core', String(target.pid), '--stacks', '-o', '-'], { env: NOWHERE });
  child.stderr.resume();
  const closed = once(child, 'close');
  await pipeline(child.stdout, createWriteStream(file));
  expect(await closed).toEqual([0, null]);
  expect(statSync(file).size).toBeLessThan(512 << 10);
});

live('it takes no more memory for more of it, however slow the reader is', async () => {
  const mebibytes = 600;
  const target = await startTorn(nativeProgram('torn', ['-pthread']), mebibytes, 1, 1000);
  try {
    const child = startPmscan(['core', String(target.pid), '--stop', '-o', '-'], { env: NOWHERE });
    child.stderr.resume();
    const closed = once(child, 'close');
    let [bytes, peak] = [0, 0];
    for await (const chunk of child.stdout) {
      bytes += (chunk as Buffer).length;
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      peak = Math.max(peak, Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024);
    }
    expect(await closed).toEqual([0, null]);
    expect(bytes / 2 ** 20).toBeGreaterThan(mebibytes);
    expect(peak).toBeGreaterThan(20);
    expect(peak).toBeLessThan(350);
  } finally {
    await target.stop();
  }
});

live('a reader that goes away, and Ctrl-C: the process goes on', async () => {
  const target = await startTorn(nativeProgram('torn', ['-pthread']), 128, 1, 1000);
  try {
    const gone = startPmscan(['core', String(target.pid), '--stop', '-o', '-']);
    const code = once(gone, 'close');
    gone.stderr.resume();
    await once(gone.stdout, 'readable');
    gone.stdout.destroy();
    expect((await code)[0]).not.toBe(null);
    expect(leftovers(target.pid)).toBeUndefined();
    const interrupted = startPmscan(['core', String(target.pid), '--stop', '-o', '-']);
    // It waits for its reader, and the process with it.
    await once(interrupted.stdout, 'readable');
    interrupted.kill('SIGINT');
    const result = await finish(interrupted);
    expect([result.code, result.stderr.includes('interrupted')]).toEqual([130, true]);
    expect(leftovers(target.pid)).toBeUndefined();
    const there = join(folder, 'there.gz');
    const signal = AbortSignal.abort(new Error('enough'));
    const aborted = dumpCore(target.pid, { file: there, compress: 'gzip', stop: true, signal });
    await expect(aborted).rejects.toThrow('enough');
    expect(existsSync(there)).toBe(false);
  } finally {
    await target.stop();
  }
});

withDebuggers('gdb and elfutils find what they find in a file', async () => {
  const target = await startTorn(nativeProgram('torn', ['-pthread']), 4, 1, 1000);
  try {
    const stream = createWriteStream(file);
    await dumpCore(target.pid, { file: stream, stop: true });
    stream.end();
    await once(stream, 'close');
    const found = await modulesIn(file);
    expect(found.length).toBeGreaterThan(2);
    expect(found).toEqual(await modulesByGdb(target.pid, join(folder, 'gcore')));
    const program = nativeProgram('torn', ['-pthread']);
    const look = ['-q', '-nx', '-batch', '-iex', 'set debuginfod enabled off', '-ex', 'thread apply all bt'];
    expect(
      execFileSync('gdb', [...look, program, file], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    ).toMatch(/in main /);
  } finally {
    await target.stop();
  }
});
