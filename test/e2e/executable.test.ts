/**
 * The single executable where there is nothing else: in a root folder that has the C and C++ libraries only, and in those of
 * PMSCAN_TEST_ROOTS (`npm run test:roots` makes Debian's). What it makes is looked at from outside.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startChromium } from '../support/browser.js';
import { available, testWhere } from '../support/needs.js';
import { freshEnvironment, installNode } from '../support/nodes.mjs';
import { firstOutput } from '../support/output.mjs';

const execute = promisify(execFile);
const ROOT = join(import.meta.dirname, '../..');
const PROGRAM = join(ROOT, 'build/pmscan');
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-executable-'));
const BARE = join(folder, 'bare');
const roots = [
  BARE,
  ...(process.env['PMSCAN_TEST_ROOTS'] ?? '').split(delimiter).filter((path) => path !== ''),
];

/** The Node.js that it is made of. */
let node = '';
/** Why there is no executable here. */
let missing: string | undefined;

/** A root folder with what `ldd` says that the program needs. */
function makeBareRoot(): void {
  for (const name of ['dev', 'proc', 'tmp']) mkdirSync(join(BARE, name), { recursive: true });
  const libraries = execFileSync('ldd', [PROGRAM], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g);
  for (const [, path] of libraries) {
    mkdirSync(join(BARE, dirname(path!)), { recursive: true });
    copyFileSync(path!, join(BARE, path!));
  }
}

beforeAll(async () => {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    missing = 'the executable is for Linux on x86-64';
    return;
  }
  try {
    node = join(installNode('24').bin, 'node');
  } catch (error) {
    if (process.env['CI']) throw error;
    missing = `Node.js 24 cannot be installed: ${(error as Error).message.slice(-300)}`;
    console.log(`Skipped: ${missing}`);
    return;
  }
  await execute(process.execPath, [join(ROOT, 'scripts/executable/build.mjs')]);
  makeBareRoot();
  for (const root of roots) {
    copyFileSync(PROGRAM, join(root, 'pmscan'));
    mkdirSync(join(root, 'out'), { recursive: true });
  }
}, 600_000);

beforeEach(({ skip }) => skip(missing !== undefined, missing));

afterAll(() => {
  for (const root of roots)
    for (const name of ['pmscan', 'out']) rmSync(join(root, name), { recursive: true, force: true });
  rmSync(folder, { recursive: true });
});

/** Runs what stands behind it in a root folder; mounts are seen by nobody else. */
const IN_ROOT = `set -e
mount --make-rprivate /
mount --rbind /proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o "$2" none "$1/tmp"
root=$1; shift 2
exec chroot "$root" /pmscan "$@"`;

function inRoot(root: string, args: readonly string[], tmp = 'mode=1777'): [string, string[]] {
  return ['unshare', ['--mount', 'sh', '-c', IN_ROOT, 'sh', root, tmp, ...args]];
}

async function pmscan(root: string, ...args: (string | number)[]): Promise<string> {
  const [program, rest] = inRoot(root, args.map(String));
  return (await execute(program, rest, { env: freshEnvironment(), maxBuffer: 2 ** 26 })).stdout;
}

test('says what it is made of, and under which licences', async () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  // What is for Node.js is not for it.
  const env = { ...freshEnvironment(), NODE_OPTIONS: '--no-such-option' };
  const { stdout } = await execute(PROGRAM, ['--version'], { env });
  expect(stdout).toMatch(
    new RegExp(`^${version.replaceAll('.', '\\.')} \\(one file: Node\\.js 24\\.\\d+\\.\\d+, koffi `),
  );
  const { stdout: licences } = await execute(PROGRAM, ['@licences'], { maxBuffer: 2 ** 22 });
  for (const name of ['Node.js 24', 'koffi', 'commander', 'hyparquet', '@opentelemetry/api'])
    expect(licences).toContain(`\n${name}`);
});

const needs = ['pagemap-scan', 'wp-async', 'ptrace', 'root'];

describe.each(roots.map((root) => [basename(root), root] as const))('in the root folder %s', (_, root) => {
  let target: ChildProcess;

  beforeEach(async () => {
    if (!available(...needs)) return;
    const script =
      'setInterval(() => { globalThis.kept = Buffer.alloc(1 << 16, 1) }, 5); console.log("ready")';
    target = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    await firstOutput(target);
  });

  afterEach(async () => {
    if (target === undefined || target.exitCode !== null) return;
    target.kill();
    await once(target, 'exit');
  });

  testWhere(...needs)('maps, scan, watch', async () => {
    const maps = JSON.parse(await pmscan(root, 'maps', target.pid!, '--json'));
    expect(maps.mappings.some(({ name }: { name: string }) => name === process.execPath)).toBe(true);
    expect(await pmscan(root, 'scan', target.pid!, '--where', 'present')).toMatch(
      /pages .* in [\d,]+ regions/,
    );
    const watched = await pmscan(
      root,
      'watch',
      target.pid!,
      '--interval',
      '200ms',
      '--duration',
      '1s',
      '--json',
    );
    const written = watched
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).writtenPages as number);
    expect(Math.max(...written.filter(Number.isFinite))).toBeGreaterThan(0);
  });

  testWhere(...needs)('a command of its own under watch, scenarios on the kernel, the demo', async () => {
    const command = ['/pmscan', '@live/idle'];
    expect(await pmscan(root, 'watch', '--duration', '200ms', '--json', '--', ...command)).toContain(
      'writtenPages',
    );
    expect(await pmscan(root, 'demo')).toContain('a counter');
    expect(JSON.parse(await pmscan(root, 'doctor', '--json')).system.node).toMatch(/^v24\./);
  });

  testWhere(...needs, 'gdb')('core files, which gdb reads from outside', async () => {
    await pmscan(root, 'core', target.pid!, '-o', '/out/a.core');
    const args = ['-batch', '-nx', '-ex', 'info threads', process.execPath, join(root, 'out/a.core')];
    expect((await execute('gdb', args)).stdout).toMatch(/LWP \d+/);
    await pmscan(root, 'core', target.pid!, '-o', '/out/a.core.zst', '--compress', 'zstd');
    const magic =
      "require('zlib').zstdDecompressSync(require('fs').readFileSync(process.argv[1])).latin1Slice(1, 4)";
    const { stdout } = await execute(node, ['-p', magic, join(root, 'out/a.core.zst')]);
    expect(stdout).toBe('ELF\n');
  });

  testWhere(...needs, 'chromium')(
    'a recording and its report; the page, which a browser outside looks at',
    async () => {
      const [duration, out] = [['--duration', '1s'], '/out/a.parquet'];
      await pmscan(root, 'record', target.pid!, '--interval', '200ms', ...duration, '-o', out);
      await pmscan(root, 'report', out, '-o', '/out/a.html');
      expect(readFileSync(join(root, 'out/a.html'), 'utf8')).toContain('</html>');

      const [program, args] = inRoot(root, ['serve', String(target.pid), '--interval', '100ms']);
      const server = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], env: freshEnvironment() });
      const ended = once(server, 'exit');
      const browser = await startChromium();
      try {
        const page = await browser.newPage();
        await page.goto((await firstOutput(server)).trim());
        await page.getByText(String(target.pid)).first().waitFor();
        expect(await page.title()).toContain(String(target.pid));
      } finally {
        await browser.close();
        server.kill();
        await ended;
      }
    },
  );
});

testWhere(...needs)(
  'leaves no file where it puts native code, and finds a place when code may not be run in /tmp',
  async () => {
    for (const options of ['mode=1777', 'mode=1777,noexec']) {
      const [program, args] = inRoot(
        BARE,
        ['watch', '--interval', '100ms', '--json', '--', '/pmscan', '@live/idle'],
        options,
      );
      const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], env: freshEnvironment() });
      const ended = once(child, 'exit');
      try {
        await firstOutput(child);
        expect(readdirSync(`/proc/${child.pid}/root/tmp`)).toEqual([]);
        const native = readFileSync(`/proc/${child.pid}/maps`, 'utf8')
          .split('\n')
          .filter((line) => line.includes('koffi.node'));
        expect(native.length).toBeGreaterThan(0);
        for (const line of native) expect(line).toMatch(/ \(deleted\)$/);
        expect(native[0]!.includes('/dev/shm/')).toBe(options.includes('noexec'));
      } finally {
        child.kill();
        await ended;
      }
    }
  },
);
