/** PAGE_IS_SOFT_DIRTY, which only kernels that are built with it report. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PAGE_IS_SOFT_DIRTY, PAGE_SIZE, RegionBuffer } from '../../src/abi/index.js';
import { mapMemory, openPagemap, SafeAccess } from '../../src/live/index.js';
import { finish, MAIN } from '../support/cli.js';

const PAGES = 16;

const clear = (pid: number | 'self') => writeFileSync(`/proc/${pid}/clear_refs`, '4');

function dirtyPages(start: number): number[] {
  using pagemap = openPagemap('self');
  const output = new RegionBuffer(PAGES);
  const masks = { categoryMask: PAGE_IS_SOFT_DIRTY, returnMask: PAGE_IS_SOFT_DIRTY };
  pagemap.scan({ start, end: start + PAGES * PAGE_SIZE, ...masks }, output);
  return [...output].flatMap((region) => {
    expect(region.categories).toBe(PAGE_IS_SOFT_DIRTY);
    const first = (region.start - start) / PAGE_SIZE;
    const count = (region.end - region.start) / PAGE_SIZE;
    return Array.from({ length: count }, (_, index) => first + index);
  });
}

const all = Array.from({ length: PAGES }, (_, page) => page);

test('of a new mapping, all is; after clearing, what is written, and not what is read', () => {
  using memory = mapMemory({ lengthBytes: PAGES * PAGE_SIZE });
  using access = new SafeAccess();
  for (const page of all) access.write(memory.address + page * PAGE_SIZE, 1);
  expect(dirtyPages(memory.address)).toEqual(all);
  clear('self');
  expect(dirtyPages(memory.address)).toEqual([]);
  access.write(memory.address + 3 * PAGE_SIZE, 2);
  access.read(memory.address + 5 * PAGE_SIZE);
  access.write(memory.address + 15 * PAGE_SIZE, 2);
  expect(dirtyPages(memory.address)).toEqual([3, 15]);
  clear('self');
  expect(dirtyPages(memory.address)).toEqual([]);
});

test('pmscan scan --where softdirty finds what a process has written since', async () => {
  const script = `const kept = Buffer.alloc(64 << 20, 1); console.log('ready');
    process.stdin.once('data', () => { kept.fill(2, 8 << 20, 24 << 20); console.log('written'); });`;
  const child = spawn(process.execPath, ['-e', script]);
  const answers = child.stdout.setEncoding('utf8')[Symbol.asyncIterator]();
  const dirty = async () => {
    const args = ['scan', String(child.pid), '--where', 'softdirty & present', '--json'];
    const { code, stdout, stderr } = await finish(spawn(process.execPath, [MAIN, ...args]));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return (JSON.parse(stdout) as { totals: { pages: number } }).totals.pages;
  };
  await answers.next();
  expect(await dirty()).toBeGreaterThan((64 << 20) / PAGE_SIZE);
  clear(child.pid!);
  const before = await dirty();
  child.stdin.write('\n');
  await answers.next();
  const written = (16 << 20) / PAGE_SIZE;
  const found = await dirty();
  child.kill('SIGKILL');
  // The rest is what the program itself writes while it does so.
  expect(before).toBeLessThan(written / 2);
  expect(found).toBeGreaterThanOrEqual(written);
  expect(found).toBeLessThan(2 * written);
});
