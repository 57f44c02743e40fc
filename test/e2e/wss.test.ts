/** `pmscan wss` on processes whose accesses are known: by page where the kernel can (Linux 7.3), else by mapping. */
import { describe, expect, test } from 'vitest';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { available, testWhere } from '../support/needs.js';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'ptrace', 'compiler');
const asRoot = testWhere('pagemap-scan', 'root');
const canTell = available('category-accessed');
const byPage = canTell ? live : (test.skip as unknown as typeof test);
const byMapping = canTell ? (test.skip as unknown as typeof test) : live;

const PAGES = 4096;
const TOUCHED = 100;

/** Measures a process that holds 4,096 pages and reads the first hundred of them all the time. */
async function measure(...args: string[]) {
  await using target = await startWrites();
  const range = await target.order(`map 1 anon ${PAGES}`);
  await target.order(`write 1 0 ${PAGES} 1`);
  const child = startPmscan(['wss', String(target.pid), '--json', ...args]);
  let ended = false;
  const result = finish(child).finally(() => {
    ended = true;
  });
  while (!ended) {
    await target.order(`read 1 0 ${TOUCHED} 1`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const { code, stdout, stderr } = await result;
  expect([code, stderr.replace(/^pmscan: by the referenced bits.*\n/, '')]).toEqual([0, '']);
  const report = JSON.parse(stdout);
  const row = report.mappings.find(({ start }: { start: string }) => Number(start) === range.start);
  return { report, row };
}

describe('working sets', () => {
  byPage('--exact: to the page', async () => {
    const { report, row } = await measure('--exact', '--duration', '3s', '--interval', '500ms');
    expect(row).toMatchObject({ residentPages: PAGES, accessedPages: TOUCHED, idlePages: PAGES - TOUCHED });
    expect(report).toMatchObject({
      schema: 'pagemap-scan/wss@1',
      provider: 'ioctl',
      pageSize: 4096,
      intervalMs: 500,
    });
    expect(report.sampled).toBeUndefined();
    expect(report.windows.map(({ ms }: { ms: number }) => ms)).toEqual([500, 1000]);
    for (const { meanPages, p95Pages, maxPages, errorPages } of report.windows) {
      expect(errorPages).toBe(0);
      expect(maxPages).toBeGreaterThanOrEqual(TOUCHED);
      expect(maxPages).toBeLessThan(TOUCHED + 300);
      expect([meanPages <= p95Pages, p95Pages <= maxPages]).toEqual([true, true]);
    }
    const idle = report.idle as { atLeastMs: number; pages: number }[];
    expect(idle.map(({ atLeastMs }) => atLeastMs)).toEqual([500, 1000, 3000]);
    expect(idle.at(-1)!.pages).toBeGreaterThanOrEqual(PAGES - TOUCHED);
  });

  byPage('of a sample, within its error', async () => {
    const { report, row } = await measure('--sample', '20%', '--duration', '2s', '--interval', '500ms');
    expect(report.sampled).toBe(0.2);
    expect(Math.abs(row.residentPages - PAGES)).toBeLessThan(1000);
    expect(Math.abs(row.accessedPages - TOUCHED)).toBeLessThan(100);
    expect(report.windows[0].errorPages).toBeGreaterThan(0);
  });

  byMapping('by mapping, from the referenced bits, and says so', async () => {
    const { report, row } = await measure('--duration', '2s', '--interval', '500ms');
    expect(report).toMatchObject({ schema: 'pagemap-scan/wss@1', provider: 'referenced', intervalMs: 500 });
    expect(report.windows.map(({ ms }: { ms: number }) => ms)).toEqual([500, 1000, 2000]);
    expect(row.residentPages).toBe(PAGES);
    // Neighbours' bits may be set beside; most of it was left alone.
    expect(row.accessedPages).toBeGreaterThanOrEqual(TOUCHED);
    expect(row.accessedPages).toBeLessThan(PAGES / 2);
    expect(row.accessedPages + row.idlePages).toBe(PAGES);
  });

  live('for people: tables, and what they mean', async () => {
    await using target = await startWrites();
    await target.order('map 1 anon 512');
    await target.order('write 1 0 512 1');
    const { code, stdout } = await pmscan([
      'wss',
      String(target.pid),
      '--duration',
      '1s',
      '--interval',
      '500ms',
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Touched\n +WITHIN +MEAN/);
    expect(stdout).toMatch(/not touched in 1 s +[\d.]+ [KM]iB/);
    expect(stdout).toMatch(
      /\nIn 1 s it touched .* that are resident; .* were not touched, .* of it in .*\.\n(?:The error is large: .*\n)?(?:Measuring cost the process about .*\n)?$/,
    );
  });

  asRoot("of another user's process nothing is said to be reset: it is not permitted", async () => {
    const { code, stdout, stderr } = await pmscan(['wss', String(process.pid)], { uid: 65534 });
    expect([code, stdout]).toEqual([4, '']);
    expect(stderr).toMatch(/^pmscan: Cannot /);
    expect(stderr).not.toContain('is reset');
  });

  live('a process that ends meanwhile is exit code 3, with the reason', async () => {
    const target = await startWrites();
    const child = startPmscan(['wss', String(target.pid), '--duration', '30s']);
    const result = finish(child);
    // Whether it has begun or not: it is gone before the time is over.
    await target.order('map 1 anon 1');
    await target[Symbol.asyncDispose]();
    const { code, stderr } = await result;
    expect(code).toBe(3);
    expect(stderr).toMatch(/ended|there is no such process/);
  });

  live('doctor says what can be told here, and what it costs others', async () => {
    const { stdout } = await pmscan(['doctor', '--json']);
    const conclusions = JSON.parse(stdout).conclusions as { what: string; answer: string }[];
    const of = (part: string) => conclusions.find(({ what }) => what.includes(part))!;
    expect(of('(pmscan watch --accesses)').answer).toBe(canTell ? 'yes' : 'no');
    expect(of('(pmscan wss)').answer).toBe('yes');
    expect(of('(pmscan wss)').what.includes('by mapping only, and it resets')).toBe(!canTell);
  });

  test.each([
    [
      ['wss', '1', '--duration', '1s', '--interval', '2s'],
      /give a longer --duration, or a shorter --interval/,
    ],
    [['wss', '1', '--sample', '0'], /Give a share of the pages/],
    [['wss', '1', '--sample', '200%'], /Give a share of the pages/],
    [['wss'], /missing required argument/],
  ])('%j is a usage error', async (args, message) => {
    const { code, stderr } = await pmscan(args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});
