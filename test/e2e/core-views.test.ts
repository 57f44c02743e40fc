/** Core files of a process that maps the same shared memory several times. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { dumpCore } from '../../src/core/hooks.js';
import type { CoreOptions } from '../../src/core/index.js';
import { bufferAddress, ProcessHandle, ProcessMemory, pause } from '../../src/live/internal.js';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { CoreReader } from '../support/torn.mjs';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const withGdb = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'gdb');
const withElfutils = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'elfutils');
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-views-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'core');

const MIB = 16;
const BYTES = MIB << 20;

async function startViews() {
  const child = spawn(nativeProgram('views'), [String(MIB)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const starts = (await firstOutput(child)).trim().split(' ');
  const views = starts.map((text) => Number.parseInt(text, 16));
  const handle = new ProcessHandle(child.pid!);
  const memory = new ProcessMemory(handle);
  /** A page of one of the mappings, as the process has it. */
  const numberAt = (view: number, page: number) => {
    const bytes = new Uint8Array(new ArrayBuffer(4096));
    const start = views[view]! + page * 4096;
    memory.read([start, start + 4096], bytes, bufferAddress(bytes.buffer), () => undefined);
    return new DataView(bytes.buffer).getInt32(0, true);
  };
  const order = (signal: 'SIGUSR1' | 'SIGUSR2', done: () => boolean) => {
    child.kill(signal);
    while (!done()) pause(1);
  };
  return {
    pid: child.pid!,
    views,
    write: () => order('SIGUSR1', () => numberAt(0, 2) === 77),
    replace: () => order('SIGUSR2', () => numberAt(1, BYTES / 4096 - 1) === 5),
    [Symbol.asyncDispose]: async () => {
      memory[Symbol.dispose]();
      handle[Symbol.dispose]();
      child.stdin.end();
      await once(child, 'exit');
    },
  };
}

/** The numbers of all pages of a mapping in the core file. */
function numbersIn(start: number): number[] {
  const core = new CoreReader(file);
  const bytes = core.memory(start, BYTES)!;
  core.close();
  return Array.from({ length: BYTES / 4096 }, (_, page) => bytes.readInt32LE(page * 4096));
}

const count = (...changed: number[]) =>
  Array.from({ length: BYTES / 4096 }, (_, page) => (changed.includes(page) ? 77 : page));

describe('shared memory that is mapped several times', () => {
  live.each<[string, Partial<CoreOptions>]>([
    ['while it runs', {}],
    ['stopped throughout', { stop: true }],
  ])('is as it was at the stop in each mapping, and in the file once: %s', async (_, options) => {
    await using target = await startViews();
    await dumpCore(target.pid, { file, ...options, beforeStop: target.write });
    for (const view of target.views.slice(0, 3)) expect(numbersIn(view)).toEqual(count(1, 2));
    for (const view of target.views.slice(3)) expect(numbersIn(view)).toEqual(count(1));
    // Of five mappings, two: and the rest of the program.
    expect(statSync(file).blocks * 512).toBeLessThan(2.5 * BYTES);
    const core = new CoreReader(file);
    const places = target.views.map((start) => core.loads.find(({ address }) => address === start)!.offset);
    core.close();
    expect(new Set(places).size).toBe(2);
  });

  live('is copied apart where a mapping is another one by the stop', async () => {
    await using target = await startViews();
    // The process may be let go, and stopped once more: then it has been replaced already.
    let isReplaced = false;
    const beforeStop = () => {
      if (!isReplaced) target.replace();
      isReplaced = true;
    };
    await dumpCore(target.pid, { file, beforeStop });
    expect(numbersIn(target.views[0]!)).toEqual(count());
    expect(new Set(numbersIn(target.views[1]!))).toEqual(new Set([5]));
    expect(numbersIn(target.views[2]!)).toEqual(count());
  });

  live('through a stream, and while it runs as far as that is wanted, each is copied', async () => {
    await using target = await startViews();
    await dumpCore(target.pid, { file, shared: 'running' });
    for (const view of target.views.slice(0, 3)) expect(numbersIn(view)).toEqual(count());
    const compressed = `${file}.gz`;
    await dumpCore(target.pid, { file: compressed, compress: 'gzip', stop: true });
    execFileSync('gunzip', ['-f', compressed]);
    expect(readFileSync(file).length).toBeGreaterThan(5 * BYTES);
    for (const view of target.views.slice(0, 3)) expect(numbersIn(view)).toEqual(count());
  });

  withGdb('gdb reads each mapping', async () => {
    await using target = await startViews();
    await dumpCore(target.pid, { file });
    const commands = target.views.flatMap((start) => ['-ex', `x/dw 0x${(start + 9 * 4096).toString(16)}`]);
    const text = execFileSync('gdb', ['-batch', ...commands, nativeProgram('views'), file], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    expect(text.match(/:\s+9$/gm)).toHaveLength(5);
  });

  withElfutils('elfutils finds the modules', async () => {
    await using target = await startViews();
    await dumpCore(target.pid, { file });
    const text = execFileSync('eu-unstrip', ['-n', '--core', file], { encoding: 'utf8' });
    expect(text).toMatch(/libc\.so/);
    expect(text).toMatch(/views/);
  });
});
