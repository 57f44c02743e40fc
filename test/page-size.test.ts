/**
 * Pages are not of 4,096 bytes everywhere: kernels for arm64 have others, too. What is about live processes asks a `Pagemap`, or
 * `pageSize()`, and this test finds the constant, and its number, wherever they come back. Comments and quoted texts do not count.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..');

const CONSTANT = new RegExp(
  [
    String.raw`\b(HUGE_)?PAGE_SIZE\b`,
    String.raw`\b4_?096n?\b`,
    String.raw`\b0x(1000|fff)n?\b`,
    String.raw`(>>>?|<<) ?12n?\b`,
    String.raw`\b2n? ?\*\* ?(12|21)n?\b`,
    String.raw`\b2 << 20\b`,
    String.raw`\b4 << 10\b`,
    String.raw`\b2 \* 1024 \* 1024\b`,
  ].join('|'),
);

/** Files, and folders, whose pages are of 4 KiB on every machine. */
const OF_X64: Readonly<Record<string, string>> = {
  'src/abi/pagemap-scan.ts': 'the constants themselves',
  'src/abi/region-buffer.ts': 'what an output has before its first scan',
  'src/engine/': 'walks tables of 4 KiB pages: the simulator, snapshots, the fallback',
  'src/x86/': "x86-64's page tables",
  'src/sim/': 'simulates x86-64',
  'src/scenario/': 'scenarios are recorded on x86-64',
  'src/playground/': 'the simulator in a browser',
  'src/live/machine.ts': "x86-64's page size needs no asking",
  'src/live/libc.ts': 'requireSmallPages itself',
  'src/metrics/metrics.ts': 'the default of an option',
  'src/cli/commands/demo.ts': 'its sample is simulated where pages are of another size',
  'src/cli/sample-layout.ts': 'the sample of demo',
  'src/cli/sample.ts': 'the sample of demo',
  'src/cli/snap/describe.ts': 'tells of snapshots',
  'src/proc/recognise.ts': 'what the fallback asks of hugetlb memory',
};

/** Files, and folders, that count in pages of 4 KiB, and refuse others: in which file they do. */
const REFUSING: Readonly<Record<string, string>> = {
  'src/live/fallback/': 'src/live/fallback/knowledge.ts',
  'src/track/soft-dirty.ts': 'src/live/fallback/knowledge.ts',
  'src/core/': 'src/core/dump.ts',
  'src/snapshot/': 'src/snapshot/snapshotter.ts',
  'src/record/': 'src/record/recorder.ts',
  'src/web/': 'src/web/session.ts',
  'src/cli/commands/record.ts': 'src/cli/commands/record.ts',
};

/** Lines with such a number that is no size of pages, as `path: line`. */
const OTHER_NUMBERS: readonly string[] = [
  'src/abi/userfaultfd.ts: export const UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 1 << 12;',
  'src/owners/live.ts: const MOST_THREADS = 4096;',
  'src/owners/malloc.ts: const MOST_BLOCKS = 4096;',
  'src/owners/v8.ts: const MOST_CHUNKS = 4096;',
  'src/owners/allocators.ts: const JEMALLOC_STEP = 2 << 20;',
  'src/owners/allocators.ts: const SUPER_PAGE = 2 << 20;',
  'src/owners/python.ts: { arena: 1 << 18, pool: 1 << 12 },',
];

/** Without comments and quoted texts; what an expression in a template is stays. */
function codeOf(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ''))
    .replace(/^\s*\/\/.*$/gm, '')
    .replace(/'(?:[^'\\\n]|\\.)*'/g, "''");
}

/** Lines of a file that have the constant or its number. */
function found(text: string): string[] {
  return codeOf(text)
    .split('\n')
    .filter((line) => CONSTANT.test(line))
    .map((line) => line.trim());
}

const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
  .map((name) => relative(ROOT, join(ROOT, 'src', name)));
const exceptions = [...Object.keys(OF_X64), ...Object.keys(REFUSING)];
const isWithin = (file: string, exception: string) =>
  exception.endsWith('/') ? file.startsWith(exception) : file === exception;
const linesOf = (file: string) => found(readFileSync(join(ROOT, file), 'utf8'));

test('the constant, and its number in any form, are found', () => {
  const source = [
    "import { PAGE_SIZE } from '../abi/index.js';",
    'const bytes = pages * 4096; // 4096',
    'const page = address >>> 12;',
    'const block = address & 0xfff;',
    'const huge = 2 << 20;',
    "const text = 'of 4096 bytes';",
    '/** 4096\n * 4096 */',
    'const own = pageSize() * 4097;',
  ].join('\n');
  expect(found(source)).toHaveLength(5);
});

describe('pages of 4,096 bytes', () => {
  test('are nowhere but where they must be', () => {
    const lines = files
      .filter((file) => !exceptions.some((exception) => isWithin(file, exception)))
      .flatMap((file) => linesOf(file).map((line) => `${file}: ${line}`));
    expect(lines.filter((line) => !OTHER_NUMBERS.includes(line))).toEqual([]);
    for (const line of OTHER_NUMBERS) expect(lines).toContain(line);
  });

  test.each(exceptions)('%s is an exception that is needed', (exception) => {
    const within = files.filter((file) => isWithin(file, exception));
    expect(within.flatMap(linesOf).length).toBeGreaterThan(0);
  });

  test.each(Object.entries(REFUSING))('%s refuses others, in %s', (_, file) => {
    expect(existsSync(join(ROOT, file))).toBe(true);
    expect(codeOf(readFileSync(join(ROOT, file), 'utf8'))).toMatch(/\brequireSmallPages\(/);
  });
});
