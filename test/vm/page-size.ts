/** Live work in pages of this kernel's size; what takes pages of 4 KiB is refused, by name, where they are of another. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_IS_HUGE, PAGE_SIZE, RegionBuffer } from '../../src/abi/index.js';
import { dumpCore } from '../../src/core/index.js';
import { hugePageSize, mapMemory, openPagemap, pageSize, SafeAccess } from '../../src/live/index.js';
import { parseSmaps } from '../../src/proc/index.js';
import { startSnapshots } from '../../src/snapshot/index.js';
import { finish, MAIN } from '../support/cli.js';

const [, kilobytes] = /^KernelPageSize:\s+(\d+) kB/m.exec(readFileSync('/proc/self/smaps', 'latin1'))!;
const pageBytes = Number(kilobytes) * 1024;
const isSmall = pageBytes === PAGE_SIZE;
const pmscan = (...args: string[]) => finish(spawn(process.execPath, [MAIN, ...args]));

/** Writes 50 pages of its own, tells so, and does so again every 50 ms. */
const WRITER = `
  const bytes = new Uint8Array(64 << 20);
  const write = () => { for (let page = 1; page <= 50; page++) bytes[page * ${2 * pageBytes}]++; };
  write();
  setInterval(write, 50);
  console.log('ready');
`;

let child: ChildProcess;
let folder: string;

async function start(source: string): Promise<void> {
  child = spawn(process.execPath, ['-e', source], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-'));
});

afterEach(async () => {
  if (child !== undefined && child.exitCode === null && child.signalCode === null) {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
  rmSync(folder, { recursive: true });
});

test('the sizes are those that the kernel tells', () => {
  expect(pageSize()).toBe(pageBytes);
  const setting = '/sys/kernel/mm/transparent_hugepage/hpage_pmd_size';
  if (existsSync(setting)) expect(hugePageSize()).toBe(Number(readFileSync(setting, 'utf8')));
  using pagemap = openPagemap('self');
  expect(pagemap.pageSize).toBe(pageBytes);
});

test('a scan counts in them, and a huge page has as many as it has', () => {
  using memory = mapMemory({ lengthBytes: 8 * pageBytes });
  using hugetlb = mapMemory({ lengthBytes: hugePageSize(), hugetlb: true });
  using access = new SafeAccess();
  for (const page of [1, 2, 5]) access.write(memory.address + page * pageBytes, 1);
  access.write(hugetlb.address, 1);
  using pagemap = openPagemap('self');
  const output = new RegionBuffer(16);
  const present = { categoryMask: 8, returnMask: 8 | PAGE_IS_HUGE };
  pagemap.scan({ start: memory.address, end: memory.end, ...present }, output);
  expect(
    [...output].map(({ start, end }) => [start, end].map((at) => (at - memory.address) / pageBytes)),
  ).toEqual([
    [1, 3],
    [5, 6],
  ]);
  expect([output.pages(0), output.totalPages()]).toEqual([2, 3]);
  pagemap.scan({ start: hugetlb.address, end: hugetlb.end, ...present }, output);
  expect([output.length, output.categories(0), output.pages(0)]).toEqual([
    1,
    8 | PAGE_IS_HUGE,
    pageBytes / 8,
  ]);
});

test('pmscan maps agrees with smaps, and scan with maps', async () => {
  await start("console.log('ready'); setInterval(() => {}, 1e9)");
  const pid = String(child.pid);
  // Two looks at it are compared, and its other threads may still be starting.
  child.kill('SIGSTOP');
  while (!/^State:\tT/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) await sleep(10);
  const maps = await pmscan('maps', pid, '--json', '--sort', 'address');
  expect(maps).toMatchObject({ code: 0, stderr: '' });
  const { pageSize: told, mappings, totals } = JSON.parse(maps.stdout);
  expect(told).toBe(pageBytes);
  const smaps = new Map(parseSmaps(readFileSync(`/proc/${pid}/smaps`)).map((each) => [each.start, each]));
  let compared = 0;
  for (const { start: text, end, name, pages, present, pfnzero } of mappings) {
    const start = Number(text);
    expect(pages * pageBytes).toBe(Number(end) - start);
    // Rss leaves out the zero page, and of files what is only in the page cache; of the kernel's own mappings it counts nothing.
    if (name !== '' && name !== '[heap]' && name !== '[stack]') continue;
    expect([text, (present - pfnzero) * pageBytes]).toEqual([text, smaps.get(start)!.sizes.Rss]);
    compared++;
  }
  expect(compared).toBeGreaterThan(5);
  const scan = await pmscan('scan', pid, '--where', 'present', '--json');
  const found = JSON.parse(scan.stdout);
  expect(found.pageSize).toBe(pageBytes);
  expect(found.totals.pages).toBe(totals.present);
  for (const { start, end, pages } of found.regions)
    expect(pages * pageBytes).toBe(Number(end) - Number(start));
});

test('a range is taken in whole pages', async () => {
  await start("console.log('ready'); setInterval(() => {}, 1e9)");
  const [stack] = parseSmaps(readFileSync(`/proc/${child.pid}/smaps`)).filter(
    ({ name }) => name === '[stack]',
  );
  const last = stack!.end - pageBytes;
  const range = `0x${(last + 100).toString(16)}-0x${(last + 200).toString(16)}`;
  const { stdout } = await pmscan(
    'scan',
    String(child.pid),
    '--range',
    range,
    '--where',
    'present',
    '--json',
  );
  expect(JSON.parse(stdout).regions).toMatchObject([{ start: `0x${last.toString(16)}`, pages: 1 }]);
});

test('pmscan watch tells of each page that is written', async () => {
  await start(WRITER);
  const { code, stdout } = await pmscan(
    ...['watch', String(child.pid), '--interval', '1s', '--duration', '4s', '--regions', '--json'],
  );
  expect(code).toBe(0);
  const intervals = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const wanted = intervals.find(
    ({ regions }) => regions?.filter(({ pages }: { pages: number }) => pages === 1).length >= 50,
  );
  expect(wanted).toBeDefined();
  expect(wanted.writtenBytes).toBe(wanted.writtenPages * pageBytes);
  for (const { start, end, pages } of wanted.regions)
    expect(pages * pageBytes).toBe(Number(end) - Number(start));
});

test('pmscan wss counts what is resident in them', async () => {
  await start("console.log('ready'); setInterval(() => {}, 1e9)");
  const { code, stdout } = await pmscan(
    ...['wss', String(child.pid), '--interval', '1s', '--duration', '2s', '--json'],
  );
  expect(code).toBe(0);
  const { pageSize: told, residentPages, mappings } = JSON.parse(stdout);
  expect(told).toBe(pageBytes);
  const entries = parseSmaps(readFileSync(`/proc/${child.pid}/smaps`));
  const rss = entries.reduce((sum, { sizes }) => sum + (sizes.Rss ?? 0), 0);
  // By the ioctl, pages of files that only the page cache has do not count either; the kernel's own mappings may.
  expect(residentPages * pageBytes).toBeGreaterThan(0.9 * rss);
  expect(residentPages * pageBytes).toBeLessThan(1.1 * rss);
  const stack = entries.find(({ name }) => name === '[stack]')!;
  const shown = mappings.find(({ name }: { name: string }) => name === '[stack]');
  expect(shown.residentPages * pageBytes).toBe(stack.sizes.Rss);
});

test('pmscan doctor says what works, and the size', async () => {
  const { code, stdout } = await pmscan('doctor', '--json');
  expect(code).toBe(0);
  const { capabilities } = JSON.parse(stdout);
  const answer = (id: string) => capabilities.find((each: { id: string }) => each.id === id)?.answer;
  for (const id of ['pagemap-scan', 'category-huge', 'wp-async', 'hugetlb', 'ptrace'])
    expect([id, answer(id)]).toEqual([id, 'yes']);
  expect(answer('fallback')).toBe(isSmall ? 'yes' : 'no');
  expect((await pmscan('doctor')).stdout).toContain(`${pageBytes / 1024} KiB, huge ones`);
});

const other = isSmall ? test.skip : test;

describe('what takes pages of 4 KiB', () => {
  other.each([
    ['core', ['-o', 'file']],
    ['core', ['--stop', '-o', 'file']],
    ['snap', ['-o', 'store']],
    ['record', ['-o', 'recordings']],
    ['report', ['-o', 'report.html']],
    ['serve', ['--port', '0']],
  ])('pmscan %s %j is refused, and nothing is left', async (command, args) => {
    await start("console.log('ready'); setInterval(() => {}, 1e9)");
    const paths = args.map((arg) =>
      /^(file|store|recordings|report.html)$/.test(arg) ? join(folder, arg) : arg,
    );
    const { code, stderr } = await pmscan(command, String(child.pid), ...paths);
    expect(stderr).toContain(
      `this kernel has pages of ${pageBytes / 1024} KiB, and that takes pages of 4 KiB`,
    );
    expect(stderr).toMatch(/scan, maps, watch, wss and doctor work/);
    expect(code).toBe(5);
    expect(readdirSync(folder)).toEqual([]);
    expect(readFileSync(`/proc/${child.pid}/status`, 'utf8')).toMatch(/^State:\s+S/m);
  });

  other('the library refuses it, too', async () => {
    await start("console.log('ready'); setInterval(() => {}, 1e9)");
    const refused = { code: 'EOPNOTSUPP', needs: 'a kernel with pages of 4 KiB' };
    await expect(dumpCore(child.pid!, { file: join(folder, 'core') })).rejects.toMatchObject(refused);
    await expect(startSnapshots(child.pid!, join(folder, 'store'))).rejects.toMatchObject(refused);
    expect(() => openPagemap('self', { provider: 'fallback' })).toThrow(/pages without PAGEMAP_SCAN/);
    expect(readdirSync(folder)).toEqual([]);
  });

  other('pmscan demo shows the simulator, and says why', async () => {
    const { code, stdout } = await pmscan('demo');
    expect(code).toBe(0);
    expect(stdout).toContain(`SIMULATED because this kernel has pages of ${pageBytes / 1024} KiB`);
  });
});
