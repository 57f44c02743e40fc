/** Owners of the memory of real programs, compared with what the programs say of themselves. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/abi/index.js';
import { ProcessHandle } from '../../src/live/index.js';
import { type OwnedMapping, type OwnerKind, ownersOf } from '../../src/owners/index.js';
import { findOwners } from '../../src/owners/internal.js';
import { parseStatus } from '../../src/proc/index.js';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { installNode } from '../support/nodes.mjs';
import { firstOutput, wordsUntilEnd } from '../support/output.mjs';
import { startChromium, startPostgres, startRedis, stopServers, testWithServer } from '../support/servers.js';
import { startTarget } from '../support/target.js';
import { until } from '../support/until.js';

const MIB = 2 ** 20;

const bytes = (list: readonly OwnedMapping[], key: 'pages' | 'present' = 'present') =>
  list.reduce((sum, mapping) => sum + mapping[key], 0) * PAGE_SIZE;

const ofKind = (mappings: readonly OwnedMapping[], ...kinds: OwnerKind[]) =>
  mappings.filter(({ owner }) => owner !== undefined && kinds.includes(owner.kind));

/** The share of anonymous bytes in memory that have a name. */
function namedShare(mappings: readonly OwnedMapping[]): number {
  const anonymous = mappings.filter(({ mapping }) => !mapping.name.startsWith('/'));
  return bytes(anonymous.filter(({ owner }) => owner !== undefined)) / bytes(anonymous);
}

function at(mappings: readonly OwnedMapping[], address: number): OwnedMapping {
  return mappings.find(({ mapping }) => mapping.start <= address && address < mapping.end)!;
}

/** Ends a program by the end of its input. */
function ended(child: ChildProcess): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit');
      child.stdin!.end();
      await exited;
    },
  };
}

const named = (lines: readonly string[][], name: string) =>
  lines.filter(([first]) => first === name).map((line) => line.slice(1));

afterAll(stopServers);

describe('glibc', () => {
  testWhere('compiler')('stacks, arenas, large blocks and variables are what the library says', async () => {
    const child = spawn(nativeProgram('threads'), ['6'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await using _ending = ended(child);
    const lines = await wordsUntilEnd(child);
    const { mappings } = ownersOf(child.pid!);
    const hexadecimal = (text: string) => Number.parseInt(text, 16);

    const stacks = named(lines, 'thread');
    expect(stacks).toHaveLength(6);
    for (const [tid, start, end] of stacks) {
      const { owner, mapping } = at(mappings, hexadecimal(end!) - PAGE_SIZE);
      expect(owner).toMatchObject({ kind: 'stack', sure: true });
      expect(owner!.name).toMatch(new RegExp(`^\\[stack: (worker \\d|odd\x1b\\[31m\n1) ${tid}\\]$`));
      expect([mapping.start, mapping.end]).toEqual([hexadecimal(start!), hexadecimal(end!)]);
      expect(at(mappings, mapping.start - 1).owner).toMatchObject({ name: '[stack guard]', sure: true });
    }

    const arenas = ofKind(mappings, 'malloc').filter(({ owner }) => owner!.name.startsWith('[malloc arena'));
    const accessible = arenas.filter(({ mapping }) => mapping.perms === 'rw-p');
    const sizes = accessible.map((mapping) => mapping.pages * PAGE_SIZE);
    expect(sizes.toSorted()).toEqual(
      named(lines, 'arena')
        .map(([size]) => Number(size))
        .toSorted(),
    );
    expect(new Set(accessible.map(({ owner }) => owner!.name)).size).toBe(6);
    expect(arenas.every(({ owner }) => owner!.sure)).toBe(true);

    for (const [start, end] of named(lines, 'block')) {
      for (const address of [hexadecimal(start!), hexadecimal(end!) - 1]) {
        expect(at(mappings, address).owner).toMatchObject({ kind: 'malloc', sure: true });
      }
    }
    const [[first, last]] = named(lines, 'bss') as [[string, string]];
    expect(at(mappings, hexadecimal(first) + PAGE_SIZE).owner).toMatchObject({
      name: '[bss: threads]',
      sure: true,
    });
    expect(at(mappings, hexadecimal(last) - PAGE_SIZE).owner).toMatchObject({ name: '[bss: threads]' });
    expect(
      at(mappings, mappings.find(({ mapping }) => mapping.name === '[heap]')!.mapping.start).owner!.kind,
    ).toBe('malloc');
    expect(ofKind(mappings, 'tls')).toHaveLength(1);
    expect(namedShare(mappings)).toBeGreaterThan(0.95);
  });
});

describe('a process in a container', () => {
  testWhere('root', 'compiler')(
    'stacks of threads that run, and variables, by their numbers there',
    async () => {
      // `threads` is number 1 in a namespace of its own; its first thread runs, so that only the descriptor tells its stack.
      const child = spawn('unshare', ['--pid', '--fork', nativeProgram('threads'), '2'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      await using _ending = ended(child);
      const stacks = named(await wordsUntilEnd(child), 'thread');
      const pid = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8'));
      const { mappings } = ownersOf(pid);
      const tids = readdirSync(`/proc/${pid}/task`).map(Number);
      expect(stacks).toHaveLength(2);
      for (const [ownTid, , end] of stacks) {
        const { owner } = at(mappings, Number.parseInt(end!, 16) - PAGE_SIZE);
        expect(owner).toMatchObject({ kind: 'stack', sure: true });
        const tid = Number(/(\d+)\]$/.exec(owner!.name)![1]);
        const status = parseStatus(readFileSync(`/proc/${pid}/task/${tid}/status`));
        expect([tids.includes(tid), status.nspid.at(-1)]).toEqual([true, Number(ownTid)]);
      }
      expect(ofKind(mappings, 'tls')).toHaveLength(1);
    },
  );
});

describe('Node.js', () => {
  const programs: [string, () => string][] = [
    ['this one', () => process.execPath],
    ['the newest', () => join(installNode('newest').bin, 'node')],
  ];

  test.each(programs)("V8's spaces are what V8 says: %s", async (_, program) => {
    const script = join(import.meta.dirname, '../support/node-owners.mjs');
    const child = spawn(program(), [script], { stdio: ['pipe', 'pipe', 'inherit'] });
    await using _ending = ended(child);
    const told = JSON.parse(await firstOutput(child)) as {
      spaces: Record<string, number>;
      buffer: number;
      wasm: number;
    };
    const { mappings } = ownersOf(child.pid!);

    const inSpace = (name: string) =>
      mappings.filter(({ owner }) => owner?.name === `[v8 ${name}]` && owner.sure);
    for (const [space, label] of [
      ['old_space', 'old space'],
      ['large_object_space', 'large object space'],
      ['trusted_space', 'trusted space'],
    ]) {
      const size = told.spaces[space!] ?? 0;
      // V8 gives back the ends of its chunks, and whole ones, as it goes on.
      expect([space, Math.abs(bytes(inSpace(label!), 'pages') - size)]).toEqual([
        space,
        expect.toSatisfy((difference: number) => difference <= Math.max(size * 0.1, MIB)),
      ]);
    }
    expect(bytes(inSpace('new space'), 'pages')).toBeGreaterThan(told.spaces['new_space']! * 0.9);
    const young = bytes(ofKind(mappings, 'v8-new'), 'pages');
    expect(young).toBeLessThan(2.1 * told.spaces['new_space']! + MIB);
    expect(
      bytes(
        ofKind(mappings, 'wasm').filter(({ mapping }) => mapping.perms === 'rw-p'),
        'pages',
      ),
    ).toBe(told.wasm);
    const blocks = ofKind(mappings, 'malloc').filter(({ owner }) => owner!.name.startsWith('[malloc: large'));
    expect(bytes(blocks)).toBeGreaterThanOrEqual(told.buffer);
    expect(bytes(ofKind(mappings, 'v8-code'))).toBeGreaterThan(0);
    expect(namedShare(mappings)).toBeGreaterThan(0.95);
  });

  test('of this process, with what V8 counts', () => {
    const { v8, pid } = ownersOf('self');
    expect(pid).toBe(process.pid);
    const old = v8!.find(({ name }) => name === 'old_space')!;
    expect(old.presentBytes).toBeGreaterThan(old.usedBytes / 2);
    expect(v8!.map(({ name }) => name)).toContain('new_space');
  });

  test('of this process, where the kernel has no PAGEMAP_SCAN', () => {
    const before = process.env['PMSCAN_PROVIDER'];
    process.env['PMSCAN_PROVIDER'] = 'fallback';
    try {
      const { owners } = ownersOf('self');
      expect(owners.find(({ kind }) => kind === 'v8-old')!.present).toBeGreaterThan(100);
    } finally {
      if (before === undefined) delete process.env['PMSCAN_PROVIDER'];
      else process.env['PMSCAN_PROVIDER'] = before;
    }
  });
});

describe('others', () => {
  testWhere('python')("CPython's arenas are as many as it says", async () => {
    const script = `
import sys
keep = [(i, str(i)) for i in range(200000)]
sys._debugmallocstats()
sys.stderr.flush()
print("ready", flush=True)
sys.stdin.read()`;
    const child = spawn('python3', ['-c', script], { stdio: ['pipe', 'pipe', 'pipe'] });
    await using _ending = ended(child);
    let told = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      told += text;
    });
    await firstOutput(child);
    const arenas = await until(
      'its account of arenas',
      () => /^(\d+) arenas \* (\d+) bytes\/arena/m.exec(told) ?? undefined,
    );
    const arenaBytes = Number(arenas[1]) * Number(arenas[2]);
    const { mappings } = ownersOf(child.pid!);
    const python = ofKind(mappings, 'python');
    expect(
      bytes(
        python.filter(({ owner }) => owner!.sure),
        'pages',
      ),
    ).toBeLessThanOrEqual(arenaBytes);
    expect(bytes(python, 'pages')).toBeGreaterThan(arenaBytes * 0.8);
    expect(namedShare(mappings)).toBeGreaterThan(0.95);
  });

  testWithServer('redis-server')("Redis: jemalloc's memory is what it says is resident", async () => {
    await using redis = await startRedis();
    await redis.commands('DEBUG POPULATE 200000 key 100\n');
    const told = await redis.commands('INFO memory\n');
    const resident = Number(/^allocator_resident:(\d+)/m.exec(told)![1]);
    const { mappings } = ownersOf(redis.pid);
    const found = bytes(ofKind(mappings, 'jemalloc'));
    expect(found / resident).toBeGreaterThan(0.8);
    expect(found / resident).toBeLessThan(1.2);
    expect(namedShare(mappings)).toBeGreaterThan(0.95);
    const stacks = ofKind(mappings, 'stack').map(({ owner }) => owner!.name);
    expect(stacks).toContainEqual(expect.stringMatching(/^\[stack: bio_lazy_free \d+\]$/));
  });

  testWithServer('postgresql')('PostgreSQL: its shared memory holds its buffers', async () => {
    await using postgres = await startPostgres('24MB');
    const { mappings } = ownersOf(postgres.pid);
    const shared = ofKind(mappings, 'shared').filter(({ owner }) => owner!.name === '[shared anonymous]');
    expect(bytes(shared, 'pages')).toBeGreaterThan(24 * MIB);
    expect(namedShare(mappings)).toBeGreaterThan(0.95);
  });

  testWithServer('chromium')('Chromium: nearly all of a page has a name', async () => {
    const html = `<script>window.kept = Array.from({ length: 200000 }, (_, i) => ({ i, text: 'x' + i }));
      document.title = 'ready';</script>`;
    await using chromium = await startChromium(html);
    for (const pid of [chromium.renderer, chromium.pid]) {
      const { mappings } = ownersOf(pid);
      expect(namedShare(mappings)).toBeGreaterThan(0.95);
      if (pid === chromium.renderer) expect(bytes(ofKind(mappings, 'v8-heap'))).toBeGreaterThan(8 * MIB);
    }
  });
});

describe('what must hold', () => {
  testWhere('compiler')('10,000 mappings and 200 threads take less than a second', async () => {
    const child = spawn(nativeProgram('many'), ['10000', '200'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await using _ending = ended(child);
    await firstOutput(child);
    using handle = new ProcessHandle(child.pid!);
    const mappings = handle.mappings();
    expect(mappings.length).toBeGreaterThan(10_000);
    // The best of a few: others use the processors, too.
    let best = Number.POSITIVE_INFINITY;
    for (let attempt = 0; attempt < 5 && best >= 1000; attempt++) {
      const begin = performance.now();
      const owners = findOwners(handle, mappings);
      best = Math.min(best, performance.now() - begin);
      const stacks = owners.filter((owner) => owner?.kind === 'stack');
      expect(stacks.length).toBeGreaterThanOrEqual(200);
    }
    expect(best).toBeLessThan(1000);
  });

  testWhere('compiler')('nothing is brought into memory, and nothing of it is changed', async () => {
    await using target = await startTarget('target', [64]);
    const look = () =>
      ownersOf(target.pid).mappings.map(({ present, swapped, pages }) => [pages, present, swapped]);
    const before = look();
    for (let times = 0; times < 3; times++) look();
    expect(look()).toEqual(before);
  });
});
