/**
 * The command on processes of real programs, against the reference in C, page for page.
 *
 * A process is stopped while it is looked at, but the kernel is not: it may reclaim or move a page at any moment. So
 * the reference runs before and after the command; when its two answers differ, all three are asked again. What the
 * command says between two equal answers must be equal to them.
 */
import { execFile } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { HUGE_PAGE_SIZE, mman, PAGE_SIZE } from '../../src/abi/index.js';
import { libc } from '../../src/live/libc.js';
import { hasZeroPage } from '../support/facts.js';
import { nativeProgram } from '../support/native.js';
import {
  freeze,
  type Redis,
  startChromium,
  startPostgres,
  startRedis,
  stopServers,
  testWithServer,
} from '../support/servers.js';
import { undisturbed } from '../support/undisturbed.js';

const execute = promisify(execFile);

const COMMAND = join(import.meta.dirname, '../../dist/cli/main.js');
const TIMEOUT_MS = 600_000;
const MIB = 2 ** 20;
/** Where the last page of user space begins; beyond lies the kernel's [vsyscall] page. */
const LAST_ADDRESS = 0x7ffffffff000;

/** Bits of the categories as the kernel's header has them: written here once more, not taken from the sources. */
const BIT = {
  wpallowed: 1,
  written: 2,
  file: 4,
  present: 8,
  swapped: 16,
  pfnzero: 32,
  huge: 64,
  softdirty: 128,
  guard: 256,
} as const;
type Category = keyof typeof BIT;

interface Masks {
  readonly inverted?: number;
  readonly mask?: number;
  readonly anyof?: number;
}

/** Filters in the command's words and, worked out by hand, in the ioctl's masks. */
const FILTERS = {
  none: { where: undefined },
  present: { where: 'present', mask: 8 },
  anonymous: { where: 'written & present & !file', inverted: 4, mask: 2 | 4 | 8 },
  swappedOrHuge: { where: 'swapped | huge', anyof: 16 | 64 },
  file: { where: 'file & (present|swapped)', mask: 4, anyof: 8 | 16 },
  zero: { where: 'pfnzero', mask: 32 },
} as const satisfies Record<string, Masks & { where: string | undefined }>;
type FilterName = keyof typeof FILTERS;

/** Pages with the same categories, `end` exclusive. */
interface Run {
  readonly start: number;
  readonly end: number;
  readonly categories: number;
}

interface ScanDocument {
  readonly schema: string;
  readonly pid: number;
  readonly pageSize: number;
  readonly regions: readonly {
    readonly start: string;
    readonly end: string;
    readonly pages: number;
    readonly categories: readonly Category[];
    readonly mapping: string | null;
  }[];
  readonly totals: { readonly regions: number; readonly pages: number };
  readonly incomplete?: string;
}

const COUNTED = ['present', 'swapped', 'file', 'pfnzero', 'huge', 'guard'] as const;
type Counts = Record<'pages' | (typeof COUNTED)[number], number>;

interface MapsDocument {
  readonly schema: string;
  readonly pid: number;
  readonly pageSize: number;
  readonly mappings: readonly (Counts & { readonly start: string; readonly end: string })[];
  readonly totals: Counts & { readonly mappings: number };
}

function pagesOf(runs: readonly Run[]): number {
  return runs.reduce((pages, { start, end }) => pages + (end - start) / PAGE_SIZE, 0);
}

/** Runs joined where they touch and are equal: the form in which two answers can be compared. */
function joined(runs: Iterable<Run>): Run[] {
  const result: { start: number; end: number; categories: number }[] = [];
  for (const { start, end, categories } of runs) {
    const last = result.at(-1);
    if (last !== undefined && last.end > start) throw new Error(`0x${start.toString(16)} comes twice`);
    if (last !== undefined && last.end === start && last.categories === categories) last.end = end;
    else result.push({ start, end, categories });
  }
  return result;
}

/** How many pages are in one only, or in both with other categories; and where the first few are. */
function differences(a: readonly Run[], b: readonly Run[]): { pages: number; examples: string[] } {
  const borders = new Set([...a, ...b].flatMap(({ start, end }) => [start, end]));
  const sorted = [...borders].sort((x, y) => x - y);
  const cursor = (runs: readonly Run[]) => {
    let index = 0;
    return (address: number): number | undefined => {
      while (index < runs.length && runs[index]!.end <= address) index++;
      return index < runs.length && runs[index]!.start <= address ? runs[index]!.categories : undefined;
    };
  };
  const [inA, inB] = [cursor(a), cursor(b)];
  let pages = 0;
  const examples: string[] = [];
  for (const [index, start] of sorted.slice(0, -1).entries()) {
    const [left, right] = [inA(start), inB(start)];
    if (left === right) continue;
    const count = (sorted[index + 1]! - start) / PAGE_SIZE;
    pages += count;
    if (examples.length < 5) {
      const show = (categories: number | undefined) =>
        categories === undefined ? 'absent' : `0x${categories.toString(16)}`;
      examples.push(`0x${start.toString(16)}, ${count} pages: ${show(left)} and ${show(right)}`);
    }
  }
  return { pages, examples };
}

/** A mapping, read without the parsers of the sources. */
interface MappingLine {
  readonly start: number;
  readonly end: number;
  readonly perms: string;
  readonly name: string;
}

const MAPPING_LINE = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ *(.*)$/;

function mappingLines(pid: number): MappingLine[] {
  return readFileSync(`/proc/${pid}/maps`, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => MAPPING_LINE.exec(line)!)
    .map((match) => ({
      start: Number(`0x${match[1]}`),
      end: Number(`0x${match[2]}`),
      perms: match[3]!,
      name: match[4]!,
    }))
    .filter(({ start }) => start < LAST_ADDRESS);
}

/** Every category that this kernel accepts: the newest ones are refused by older kernels. */
let accepted: Promise<number> | undefined;

async function acceptedCategories(): Promise<number> {
  for (const all of [0x1ff, 0xff]) {
    const args = [process.pid, 0, PAGE_SIZE.toString(16), 0, 0, 0, all.toString(16)].map(String);
    try {
      await execute(nativeProgram('scan'), args);
      return all;
    } catch {
      // Not accepted: fewer.
    }
  }
  return 0x7f;
}

/** The reference's answer for everything from the first mapping to the last. */
async function reference(pid: number, masks: Masks): Promise<Run[]> {
  accepted ??= acceptedCategories();
  const mappings = mappingLines(pid);
  const range = [mappings[0]!.start, mappings.at(-1)!.end];
  const numbers = [...range, masks.inverted ?? 0, masks.mask ?? 0, masks.anyof ?? 0, await accepted];
  const args = [String(pid), ...numbers.map((value) => value.toString(16))];
  const { stdout } = await execute(nativeProgram('scan'), args, { maxBuffer: 2 ** 30 });
  const lines = stdout === '' ? [] : stdout.trimEnd().split('\n');
  return joined(
    lines.map((line) => {
      const [start, end, categories] = line.split(' ').map((text) => Number.parseInt(text, 16));
      return { start: start!, end: end!, categories: categories! };
    }),
  );
}

async function pmscan(...args: string[]): Promise<unknown> {
  const { stdout, stderr } = await execute(process.execPath, [COMMAND, ...args, '--json'], {
    maxBuffer: 2 ** 30,
  });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

/** `ask` between two equal answers of the reference. */
async function whileStill<T>(
  pid: number,
  masks: Masks,
  ask: () => Promise<T>,
): Promise<{ answer: T; runs: Run[] }> {
  const { answer, expected } = await undisturbed(
    `Process ${pid}`,
    () => reference(pid, masks),
    ask,
    (before, after) => differences(before, after).pages === 0,
  );
  return { answer, runs: expected };
}

/** The command's regions as runs, after checking all that holds for them by themselves. */
function runsOf(document: ScanDocument, pid: number, mappings: readonly MappingLine[]): Run[] {
  const { regions, totals, ...rest } = document;
  expect(rest).toEqual({ schema: 'pagemap-scan/scan@1', pid, pageSize: PAGE_SIZE });
  let index = 0;
  const runs = regions.map((region) => {
    const [start, end] = [Number(region.start), Number(region.end)];
    while (mappings[index]!.end <= start) index++;
    const mapping = mappings[index]!;
    // A mapping's name is all the path that /proc/PID/maps shows, without what it says about the file's being gone.
    const name = mapping.name.startsWith('/') ? mapping.name.replace(/ \(deleted\)$/, '') : mapping.name;
    const inside = start >= mapping.start && end <= mapping.end && start < end;
    if (!inside || region.mapping !== name || region.pages !== (end - start) / PAGE_SIZE) {
      throw new Error(`${JSON.stringify(region)} does not fit into ${JSON.stringify(mapping)}`);
    }
    return { start, end, categories: region.categories.reduce((set, category) => set | BIT[category], 0) };
  });
  expect(totals).toEqual({ regions: regions.length, pages: pagesOf(runs) });
  return joined(runs);
}

/** What the kernel itself has counted, by walking the same page tables in another way. Pages, not kB. */
interface KernelCounts {
  readonly Rss: number;
  readonly Anonymous: number;
  readonly Swap: number;
  /** Mapped by entries of the PMD's size. */
  readonly huge: number;
  /** Address space of mappings that the ioctl skips because no memory is behind them, such as [vvar]. */
  readonly raw: number;
}

function kernelCounts(pid: number): KernelCounts {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  const pages = (field: string) => {
    const match = new RegExp(`^${field}: +(\\d+) kB$`, 'm').exec(rollup);
    if (match === null) throw new Error(`smaps_rollup has no ${field}`);
    return (Number(match[1]) * 1024) / PAGE_SIZE;
  };
  let raw = 0;
  let size = 0;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    const mapping = MAPPING_LINE.exec(line);
    if (mapping) size = (Number(`0x${mapping[2]}`) - Number(`0x${mapping[1]}`)) / PAGE_SIZE;
    else if (/^VmFlags:.* pf\b/.test(line)) raw += size;
  }
  return {
    Rss: pages('Rss'),
    Anonymous: pages('Anonymous'),
    Swap: pages('Swap'),
    huge: pages('AnonHugePages') + pages('ShmemPmdMapped') + pages('FilePmdMapped'),
    raw,
  };
}

function noCounts(pages: number): Counts {
  return { pages, present: 0, swapped: 0, file: 0, pfnzero: 0, huge: 0, guard: 0 };
}

/** What `pmscan maps` should say, from the reference's runs. */
function countsByMapping(runs: readonly Run[], mappings: readonly MappingLine[]): Counts[] {
  let first = 0;
  return mappings.map(({ start, end }) => {
    const counts = noCounts((end - start) / PAGE_SIZE);
    while (first < runs.length && runs[first]!.end <= start) first++;
    for (let index = first; index < runs.length && runs[index]!.start < end; index++) {
      const run = runs[index]!;
      const pages = (Math.min(run.end, end) - Math.max(run.start, start)) / PAGE_SIZE;
      for (const category of COUNTED) if (run.categories & BIT[category]) counts[category] += pages;
    }
    return counts;
  });
}

/**
 * Looks at a stopped process with all filters and by its mappings.
 *
 * @param least how many pages each filter must find, so that a comparison of nothing with nothing is no success
 */
async function expectTruth(pid: number, least: Readonly<Record<FilterName, number>>): Promise<KernelCounts> {
  const mappings = mappingLines(pid);
  const found = new Map<string, number>();
  for (const [name, { where, ...masks }] of Object.entries(FILTERS)) {
    const filter = where === undefined ? [] : ['--where', where];
    const scan = async () => (await pmscan('scan', String(pid), ...filter)) as ScanDocument;
    const { answer, runs } = await whileStill(pid, masks, scan);
    const difference = differences(runs, runsOf(answer, pid, mappings));
    expect(difference, `${name} in process ${pid}`).toEqual({ pages: 0, examples: [] });
    const pages = pagesOf(runs);
    found.set(name, pages);
    expect(pages, `${name} in process ${pid}`).toBeGreaterThanOrEqual(least[name as FilterName]);
  }

  const maps = async () => ({
    document: (await pmscan('maps', String(pid), '--sort', 'address')) as MapsDocument,
    kernel: kernelCounts(pid),
  });
  const existing = { anyof: BIT.present | BIT.swapped | BIT.huge };
  const { answer, runs } = await whileStill(pid, existing, maps);
  const { document, kernel } = answer;
  expect(document).toMatchObject({ schema: 'pagemap-scan/maps@1', pid, pageSize: PAGE_SIZE });
  const expected = countsByMapping(runs, mappings);
  expect(
    document.mappings.map(({ start, end, pages, present, swapped, file, pfnzero, huge, guard }) => ({
      start: Number(start),
      end: Number(end),
      counts: { pages, present, swapped, file, pfnzero, huge, guard },
    })),
  ).toEqual(mappings.map(({ start, end }, index) => ({ start, end, counts: expected[index] })));
  const totals = noCounts(0);
  for (const counts of expected) for (const key of ['pages', ...COUNTED] as const) totals[key] += counts[key];
  expect(document.totals).toEqual({ mappings: mappings.length, ...totals });

  // Without a filter, every page of address space is reported, except where there can be no memory.
  expect(found.get('none')).toBe(totals.pages - kernel.raw);
  // smaps leaves the shared zero page out of Rss, because it costs nothing: that is the whole difference.
  const count = (filter: (categories: number) => boolean) =>
    pagesOf(runs.filter(({ categories }) => filter(categories & ~(BIT.wpallowed | BIT.written))));
  const isMemory = (categories: number) => (categories & (BIT.present | BIT.pfnzero)) === BIT.present;
  expect({
    Rss: count(isMemory),
    Anonymous: count((categories) => isMemory(categories) && !(categories & BIT.file)),
    huge: count((categories) => isMemory(categories) && (categories & BIT.huge) !== 0),
  }).toEqual({ Rss: kernel.Rss, Anonymous: kernel.Anonymous, huge: kernel.huge });
  // smaps adds shared memory that is swapped out, of which the page tables of this process know nothing.
  const swapped = count((categories) => (categories & (BIT.swapped | BIT.guard)) === BIT.swapped);
  expect(kernel.Swap).toBeGreaterThanOrEqual(swapped);
  console.log(`process ${pid}: ${mappings.length} mappings, ${[...found].join(' ')}`, kernel);
  return kernel;
}

describe('the comparison', () => {
  const run = (start: number, pages: number, categories: number) => ({
    start: start * PAGE_SIZE,
    end: (start + pages) * PAGE_SIZE,
    categories,
  });

  test('sees a page that is missing, and one that is another', () => {
    const runs = [run(1, 10, 8), run(11, 5, 12), run(20, 1, 16)];
    expect(differences(runs, runs).pages).toBe(0);
    expect(differences(runs, runs.slice(0, 2)).pages).toBe(1);
    expect(differences([], runs).pages).toBe(16);
    expect(differences(runs, [run(1, 9, 8), run(10, 6, 12), run(20, 1, 16)]).pages).toBe(1);
    expect(differences(runs, [run(1, 10, 8), run(11, 4, 12), run(19, 2, 16)]).pages).toBe(2);
  });

  test('joins what only mapping borders part', () => {
    expect(joined([run(1, 2, 8), run(3, 2, 8), run(5, 1, 9), run(7, 1, 9)])).toEqual([
      run(1, 4, 8),
      run(5, 1, 9),
      run(7, 1, 9),
    ]);
    expect(() => joined([run(1, 2, 8), run(2, 2, 8)])).toThrow('twice');
  });
});

afterAll(stopServers, TIMEOUT_MS);

/** Redis with some 90 MB in 150,000 keys. */
async function startFilledRedis(): Promise<Redis> {
  const redis = await startRedis();
  await redis.commands('DEBUG POPULATE 100000 key 600\n');
  await redis.commands(Array.from({ length: 50_000 }, (_, i) => `SET set:${i} ${i}\n`).join(''));
  return redis;
}

testWithServer('redis-server', 'pagemap-scan', 'compiler')(
  'redis-server',
  async () => {
    await using redis = await startFilledRedis();
    {
      using _frozen = await freeze(redis.pid);
      await expectTruth(redis.pid, {
        none: 20_000,
        present: 16_000,
        anonymous: 15_000,
        swappedOrHuge: 0,
        file: 500,
        zero: 0,
      });
    }
    expect((await redis.commands('DBSIZE\n')).trim()).toBe('150000');
  },
  TIMEOUT_MS,
);

// From 424 on, all architectures share the numbers of system calls.
const PROCESS_MADVISE = 440;

/** madvise(2) on memory of another process. False when the kernel refused, as it may for want of a page or a lock. */
function advise(pid: number, start: number, lengthBytes: number, advice: number): boolean {
  const { address, numbers, syscall } = libc();
  const range = new BigUint64Array([BigInt(start), BigInt(lengthBytes)]);
  const pidfd = syscall(numbers.pidfd_open, pid, 0, 0, 0, 0, 0);
  if (pidfd < 0) throw new Error(`pidfd_open failed with errno ${libc().errno()}`);
  try {
    return syscall(PROCESS_MADVISE, pidfd, address(range.buffer), 1, advice, 0, 0) === lengthBytes;
  } finally {
    closeSync(pidfd);
  }
}

/** Reads memory of another process, as a debugger does: what was never touched becomes the shared zero page. */
function peek(pid: number, start: number, lengthBytes: number): void {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    const bytes = new Uint8Array(lengthBytes);
    expect(readSync(memory, bytes, 0, lengthBytes, start)).toBe(lengthBytes);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  } finally {
    closeSync(memory);
  }
}

/** The parts of `mappings` in no run. */
function* untouched(runs: readonly Run[], mappings: readonly MappingLine[]): Generator<[number, number]> {
  for (const { start, end } of mappings) {
    let at = start;
    for (const run of runs) {
      if (run.end <= start || run.start >= end) continue;
      if (run.start > at) yield [at, run.start];
      at = run.end;
    }
    if (at < end) yield [at, end];
  }
}

// A server at rest has none of these pages, so they are made, as a machine short of memory, khugepaged and a debugger
// would make them.
testWithServer(
  'redis-server',
  'pagemap-scan',
  'compiler',
  'root',
  'category-swapped',
  'category-huge',
)(
  'redis-server, partly swapped out, with huge pages and zero pages',
  async () => {
    await using redis = await startFilledRedis();
    {
      using _frozen = await freeze(redis.pid);
      const { pid } = redis;
      const anonymous = mappingLines(pid).filter(({ perms, name }) => perms === 'rw-p' && name === '');

      const gaps = [...untouched(await reference(pid, FILTERS.present), anonymous)];
      const [gap] = gaps.sort(([a, b], [c, d]) => d - c - (b - a));
      expect(gap![1] - gap![0]).toBeGreaterThanOrEqual(MIB);
      for (let at = 0; at < MIB; at += 16 * PAGE_SIZE) peek(pid, gap![0] + at, 8 * PAGE_SIZE);

      // Aligned pieces of the keys: the first ones become huge pages, the last ones are swapped out in part.
      const pieces: number[] = [];
      for (const { start, end } of joined(await reference(pid, FILTERS.anonymous))) {
        const first = Math.ceil(start / HUGE_PAGE_SIZE) * HUGE_PAGE_SIZE;
        for (let at = first; at + HUGE_PAGE_SIZE <= end; at += HUGE_PAGE_SIZE) pieces.push(at);
      }
      expect(pieces.length).toBeGreaterThanOrEqual(16);
      const collapsed = pieces
        .slice(0, 8)
        .filter((at) => advise(pid, at, HUGE_PAGE_SIZE, mman.MADV_COLLAPSE));
      for (const at of pieces.slice(-8)) {
        advise(pid, at, HUGE_PAGE_SIZE / 4, mman.MADV_PAGEOUT);
        advise(pid, at + HUGE_PAGE_SIZE / 2, HUGE_PAGE_SIZE / 4, mman.MADV_PAGEOUT);
      }

      const kernel = await expectTruth(pid, {
        none: 20_000,
        present: 16_000,
        anonymous: 15_000,
        swappedOrHuge: 512 + 512,
        file: 500,
        zero: hasZeroPage() ? 128 : 0,
      });
      expect(collapsed.length).toBeGreaterThanOrEqual(1);
      expect(kernel.huge).toBe(collapsed.length * 512);
      expect(kernel.Swap).toBeGreaterThanOrEqual(512);
    }
    // It goes on as if nothing had been.
    expect((await redis.commands('DBSIZE\n')).trim()).toBe('150000');
    expect((await redis.commands('GET set:49999\n')).trim()).toBe('49999');
  },
  TIMEOUT_MS,
);

testWithServer('postgresql', 'pagemap-scan', 'compiler')(
  'postgresql',
  async () => {
    await using postgres = await startPostgres('128MB');
    const session = await postgres.session();
    await session.query(
      'CREATE TABLE t AS SELECT i AS id, repeat(md5(i::text), 8) AS filler FROM generate_series(1, 150000) AS i',
    );
    await session.query('UPDATE t SET filler = reverse(filler)');
    const count = 'SELECT count(*), sum(length(filler)) FROM t';
    expect(await session.query(count)).toEqual(['150000|38400000']);
    {
      // It has touched most of the shared buffers, which are shared memory: FILE in the ioctl's terms.
      using _frozen = await freeze(session.backend);
      await expectTruth(session.backend, {
        none: 35_000,
        present: 18_000,
        anonymous: 400,
        swappedOrHuge: 0,
        file: 16_000,
        zero: 0,
      });
    }
    {
      using _frozen = await freeze(postgres.pid);
      await expectTruth(postgres.pid, {
        none: 35_000,
        present: 2000,
        anonymous: 200,
        swappedOrHuge: 0,
        file: 1500,
        zero: 0,
      });
    }
    expect(await session.query(count)).toEqual(['150000|38400000']);
  },
  TIMEOUT_MS,
);

/** Holds 64 MiB in typed arrays, which are outside of the script's heap, and some 30 MiB in objects and elements. */
const PAGE = `<!doctype html><title>loading</title><body><script>
  const arrays = Array.from({ length: 8 }, (_, i) => new Uint8Array(8 << 20).fill(i + 1));
  const objects = Array.from({ length: 200000 }, (_, i) => ({ i, text: 'text ' + i }));
  for (let i = 0; i < 2000; i++) document.body.append(document.createElement('p'), objects[i].text);
  window.kept = { arrays, objects };
  document.title = 'ready';
</script>`;

testWithServer('chromium', 'pagemap-scan', 'compiler')(
  'chromium',
  async () => {
    await using chromium = await startChromium(PAGE);
    {
      // Its heaps lie in reservations of a terabyte.
      using _frozen = await freeze(chromium.renderer);
      await expectTruth(chromium.renderer, {
        none: 10_000_000,
        present: 20_000,
        anonymous: 16_384,
        swappedOrHuge: 0,
        file: 3000,
        zero: 0,
      });
    }
    {
      using _frozen = await freeze(chromium.pid);
      await expectTruth(chromium.pid, {
        none: 100_000,
        present: 15_000,
        anonymous: 3000,
        swappedOrHuge: 0,
        file: 5000,
        zero: 0,
      });
    }
  },
  TIMEOUT_MS,
);
