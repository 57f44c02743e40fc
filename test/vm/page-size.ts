/** What this kernel's page size makes of live work: it is done with pages of 4 KiB, and refused, by name, with others. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PAGE_SIZE, PagemapError } from '../../src/abi/index.js';
import { allocateTracked } from '../../src/index.js';
import { openPagemap } from '../../src/live/index.js';
import { finish, MAIN } from '../support/cli.js';

const [, kilobytes] = /^KernelPageSize:\s+(\d+) kB/m.exec(readFileSync('/proc/self/smaps', 'latin1'))!;
const pageBytes = Number(kilobytes) * 1024;
const pmscan = (...args: string[]) => finish(spawn(process.execPath, [MAIN, ...args]));

function problem(work: () => Disposable): PagemapError | undefined {
  try {
    work()[Symbol.dispose]();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(PagemapError);
    return error as PagemapError;
  }
}

test.each([
  ['a pagemap', () => openPagemap('self')],
  ['tracking of own memory', () => allocateTracked(1 << 20).tracker],
])('%s', (_, work) => {
  const found = problem(work);
  if (pageBytes === PAGE_SIZE) return expect(found).toBeUndefined();
  expect(found?.code).toBe('ENOSYS');
  expect(found?.message).toContain(`pages of ${pageBytes} bytes`);
});

test.each(['scan', 'maps'])('pmscan %s', async (command) => {
  const { code, stderr } = await pmscan(command, String(process.pid));
  if (pageBytes === PAGE_SIZE) return expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(code).toBe(5);
  expect(stderr).toContain(`pages of ${pageBytes} bytes`);
});
