/** Core files of a process that has reserved terabytes, and filled little of them: one look at the stop tells all of it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { dumpCore } from '../../src/core/hooks.js';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { CoreReader } from '../support/torn.mjs';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-sparse-'));
afterAll(() => rmSync(folder, { recursive: true }));

const PAGES = 300;

async function startSparse() {
  const child = spawn(nativeProgram('sparse'), ['2', String(PAGES), '8'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [start, step] = (await firstOutput(child)).split(' ').map((text) => Number.parseInt(text, 16));
  const byteAt = (address: number) => {
    const fd = openSync(`/proc/${child.pid}/mem`, 'r');
    const byte = new Uint8Array(1);
    readSync(fd, byte, 0, 1, address);
    closeSync(fd);
    return byte[0];
  };
  return {
    pid: child.pid!,
    start: start!,
    step: step!,
    /** Has it write and discard, and waits until it has. */
    change: () => {
      child.kill('SIGUSR1');
      while (byteAt(start!) !== 0xee);
    },
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      await once(child, 'exit');
    },
  };
}

describe('terabytes with little in them', () => {
  live.each([{}, { stop: true }])('are in the file as they were at the stop: %j', async (options) => {
    await using target = await startSparse();
    const file = join(folder, 'core');
    const { bytes } = await dumpCore(target.pid, { file, ...options, beforeStop: target.change });
    const core = new CoreReader(file);
    const byteAt = (address: number) => core.memory(address, 1)?.[0];
    const { start, step } = target;
    expect([0, step, step + 4096, 2 * step].map((at) => byteAt(start + at))).toEqual([0xee, 0, 0xdd, 3]);
    const others = Array.from({ length: PAGES - 2 }, (_, index) => index + 2);
    const wanted = others.map((page) => 1 + (page % 255));
    expect(others.map((page) => byteAt(start + page * step))).toEqual(wanted);
    core.close();
    expect(bytes).toBeLessThan(2 ** 40);
    rmSync(file);
  });
});
