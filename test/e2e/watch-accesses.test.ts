/** `pmscan watch --accesses` on a process whose accesses are known; where the kernel cannot tell them, that it says so. */
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { available, testWhere } from '../support/needs.js';
import { until } from '../support/until.js';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'ptrace', 'compiler');
const canTell = available('category-accessed');
const byPage = canTell ? live : (test.skip as unknown as typeof test);
const refusing = canTell ? (test.skip as unknown as typeof test) : live;

interface Line {
  readonly schema: string;
  readonly accessedPages: number;
  readonly accessedBytes: number;
  readonly writtenPages?: number;
  readonly mappings: readonly { start: string; accessedPages: number }[];
  readonly regions: readonly { start: string; end: string; pages: number }[];
}

byPage(
  'each page that is read or written, in one interval or the next, and no other of the mapping',
  async () => {
    await using target = await startWrites();
    const range = await target.order('map 1 anon 256');
    await target.order('write 1 0 256 1');
    const child = startPmscan([
      'watch',
      String(target.pid),
      '--accesses',
      '--regions',
      '--json',
      '--interval',
      '500ms',
    ]);
    const result = finish(child);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const seen = new Map<number, number>();
    const take = async () => {
      const line = JSON.parse((await lines.next()).value) as Line;
      expect(line.schema).toBe('pagemap-scan/watch@1');
      expect(line.accessedBytes).toBe(line.accessedPages * 4096);
      expect(line.writtenPages).toBeUndefined();
      expect(line.mappings.reduce((sum, { accessedPages }) => sum + accessedPages, 0)).toBe(
        line.accessedPages,
      );
      expect(line.regions.reduce((sum, { pages }) => sum + pages, 0)).toBe(line.accessedPages);
      for (const { start, end } of line.regions) {
        for (let at = Number(start); at < Number(end); at += 4096) {
          if (at >= range.start && at < range.end) {
            const page = (at - range.start) / 4096;
            seen.set(page, (seen.get(page) ?? 0) + 1);
          }
        }
      }
    };
    await take();
    expect([...seen.keys()]).toEqual([]);
    await target.order('read 1 10 20 3');
    await target.order('write 1 200 5 1');
    const expected = [...Array.from({ length: 20 }, (_, index) => 10 + 3 * index), 200, 201, 202, 203, 204];
    // Lines may have been written before all of it was done.
    for (let lines = 0; lines < 40 && seen.size < expected.length; lines++) await take();
    await take();
    expect([...seen.keys()].sort((a, b) => a - b)).toEqual(expected);
    // A collect that comes between a page fault and its access has the page told once more: see `ProcessTracker.collect`.
    expect([...seen.values()].every((times) => times <= 2)).toBe(true);
    child.kill('SIGINT');
    const { code, stderr } = await result;
    expect(code).toBe(130);
    expect(stderr).toMatch(/accessed [\d.]+ [KM]iB: /);
    expect(stderr).toMatch(/: working set of 1 interval: /);
    expect(stderr).toMatch(/most accessed: /);
  },
);

byPage('a command, and a sample', async () => {
  const sampled = ['--accesses', '--sample', '50%', '--interval', '200ms'];
  const child = startPmscan(['watch', ...sampled, '--', 'sleep', '600']);
  const finished = finish(child);
  let text = '';
  child.stdout.on('data', (chunk: string) => {
    text += chunk;
  });
  await until('three intervals', () => text.split('\n').length > 3 || child.exitCode !== null);
  child.kill('SIGINT');
  const { code, stdout, stderr } = await finished;
  expect([code, stderr]).toEqual([130, expect.stringContaining('accessed ')]);
  expect(stdout.split('\n').length).toBeGreaterThan(3);
});

refusing('before Linux 7.3 it is exit code 5, and says from when on it can', async () => {
  await using target = await startWrites();
  const { code, stdout, stderr } = await pmscan(['watch', String(target.pid), '--accesses']);
  expect([code, stdout]).toEqual([5, '']);
  expect(stderr).toMatch(/came with Linux 7\.3/);
  expect(stderr).toMatch(/pmscan doctor/);
});
