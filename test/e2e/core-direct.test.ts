/** Core files of processes to whose memory devices write: what was read past the page cache is there, or it is said. */
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect } from 'vitest';
import { dumpCore } from '../../src/core/index.js';
import { pmscan } from '../support/cli.js';
import { DirectRead } from '../support/direct-read.js';
import { leftovers } from '../support/kills.mjs';
import { testWhere } from '../support/needs.js';
import { CoreReader } from '../support/torn.mjs';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const asRoot = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'root');

/** Not in the folder for temporary files, which may be memory. */
const DISK = '/var/tmp';
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(DISK, 'pagemap-scan-direct-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const NOBODY = 65534;

/** Nothing is left in it. When it waits for its disk, that is its own doing. */
async function checkLeft(target: DirectRead): Promise<void> {
  let left: string | undefined;
  for (let tries = 0; tries < 1000; tries++) {
    left = leftovers(target.pid);
    if (left !== 'its state is D') break;
    await sleep(1);
  }
  expect(left).toBeUndefined();
}

async function dump(target: DirectRead) {
  const file = join(folder, 'core');
  const result = await dumpCore(target.pid, { file });
  const core = new CoreReader(file);
  const found = target.check(core);
  core.close();
  return { ...found, result };
}

live('what is read by calls that wait is there: nothing is torn, and nothing is in doubt', async () => {
  await using target = await DirectRead.start(folder, 'sync');
  for (let count = 0; count < 5; count++) {
    const { whole, torn, result } = await dump(target);
    expect(torn).toEqual([]);
    expect(whole).toBeGreaterThan(100);
    expect(result.mayBeTorn).toBeUndefined();
  }
  await checkLeft(target);
});

// Others may lock less memory than the buffers take (RLIMIT_MEMLOCK).
asRoot('what devices read into buffers that are registered with io_uring', async () => {
  await using target = await DirectRead.start(folder, 'fixed');
  for (let count = 0; count < 2; count++) {
    const { whole, torn, result } = await dump(target);
    expect(torn).toEqual([]);
    expect(whole).toBeGreaterThan(10);
    // All of it at the stop.
    expect(result.stoppedPages).toBeGreaterThan((64 << 20) / 4096);
  }
});

live.each(['uring', 'aio'] as const)('requests that are under way, 64 at a time: %s', async (way) => {
  await using target = await DirectRead.start(folder, way);
  for (let count = 0; count < 2; count++) {
    const { whole, torn, result } = await dump(target);
    expect(whole).toBeGreaterThan(10);
    if (result.mayBeTorn) expect(result.doubts!.length).toBeGreaterThan(0);
    else expect(torn).toEqual([]);
  }
  await checkLeft(target);
});

asRoot('where requests cannot be seen to end, it is said', async () => {
  const theirs = join(folder, 'theirs');
  mkdirSync(theirs);
  chownSync(theirs, NOBODY, NOBODY);
  chmodSync(folder, 0o711);
  await using target = await DirectRead.start(theirs, 'aio', NOBODY);
  const { code, stdout, stderr } = await pmscan(['core', target.pid, '-o', join(theirs, 'core'), '--json'], {
    uid: NOBODY,
  });
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    mayBeTorn: true,
    doubts: ['requests of io_uring or aio were under way that cannot be seen to end'],
  });
  const told = await pmscan(['core', target.pid, '-o', join(theirs, 'core')], { uid: NOBODY });
  expect(told.stderr).toContain('may be torn: requests of io_uring or aio');
});
