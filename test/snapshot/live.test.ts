/** Snapshots of processes that write all the time: each is what the process was at its stop, whatever happens to the writer. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { PAGE_IS_PRESENT, PAGE_IS_WRITTEN, PAGE_SIZE, RegionBuffer } from '../../src/abi/index.js';
import { bufferAddress, ProcessMemory } from '../../src/live/internal.js';
import { countPages } from '../../src/query/index.js';
import { startSnapshots } from '../../src/snapshot/hooks.js';
import { openSnapshots, type Snapshot } from '../../src/snapshot/index.js';
import { finish, MAIN, pmscan } from '../support/cli.js';
import { DirectRead } from '../support/direct-read.js';
import { leftovers } from '../support/kills.mjs';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { wordsUntilEnd } from '../support/output.mjs';
import { randomBelow } from '../support/random.mjs';
import { startPoked } from '../support/snapshot-target.js';
import { CoreReader, findTear, startTorn, type Torn } from '../support/torn.mjs';
import { until } from '../support/until.js';
import { startWrites } from '../support/writes.js';

const base = mkdtempSync(join(tmpdir(), 'pagemap-scan-snapshots-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

let folders = 0;
const newFolder = () => join(base, String(++folders));
const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');

const torn = (mebibytes: number, writers: number, rate: number, kinds = '') =>
  startTorn(nativeProgram('torn', ['-pthread']), mebibytes, writers, rate, kinds);

/** What `findTear` takes, of a snapshot. */
const asCore = (snapshot: Snapshot): CoreReader =>
  ({ memory: (address: number, length: number) => Buffer.from(snapshot.read(address, length)) }) as never;

function expectWhole(folder: string, target: Torn): number {
  using snapshots = openSnapshots(folder);
  const infos = snapshots.list();
  for (const { number } of infos) {
    const tear = findTear(asCore(snapshots.open(number)), target);
    expect(tear, `snapshot ${number}`).toBeUndefined();
  }
  return infos.length;
}

describe('a process that writes all the time', () => {
  live('is in every snapshot as it was at the stop, byte for byte', async () => {
    const target = await torn(2, 2, 3000, 'dmt');
    const folder = newFolder();
    const memory: Buffer[] = [];
    try {
      using snapshotter = await startSnapshots(
        target.pid,
        folder,
        {},
        {
          whileStopped: ({ handle }) => {
            using reader = new ProcessMemory(handle);
            const bytes = new Uint8Array(new ArrayBuffer(target.end - target.start));
            reader.read([target.start, target.end], bytes, bufferAddress(bytes.buffer), () => undefined);
            memory.push(Buffer.from(bytes.buffer));
          },
        },
      );
      for (let turn = 0; turn < 12; turn++) {
        await snapshotter.take();
        await target.gap();
      }
    } finally {
      await target.stop();
    }
    expect(expectWhole(folder, target)).toBe(12);
    using snapshots = openSnapshots(folder);
    const numbers = snapshots.numbers();
    for (const number of numbers) {
      const bytes = snapshots.open(number).read(target.start, target.end - target.start);
      expect(Buffer.compare(bytes, memory[number - 1]!), `snapshot ${number}`).toBe(0);
    }
    const file = join(base, 'core');
    await snapshots.open(9).writeCore(file);
    const core = new CoreReader(file);
    const dumped = core.memory(target.start, target.end - target.start)!;
    core.close();
    expect(Buffer.compare(dumped, memory[8]!)).toBe(0);
    expect((await snapshots.verify()).problems).toEqual([]);
  });

  live('with threads, mappings and discarded memory that come and go, is never torn', async () => {
    const target = await torn(1, 3, 0, 'dmt');
    const folder = newFolder();
    try {
      using snapshotter = await startSnapshots(target.pid, folder, { keep: 4, maxRounds: 3 }, {});
      for (let turn = 0; turn < 8; turn++) await snapshotter.take();
    } finally {
      await target.stop();
    }
    expect(expectWhole(folder, target)).toBe(4);
  });
});

describe('a process that reads past the page cache', () => {
  live.each(['sync', 'uring'] as const)(
    'has in each snapshot what devices wrote to its memory: %s',
    async (way) => {
      // Not in the folder for temporary files, which may be memory.
      const disk = mkdtempSync(join('/var/tmp', 'pagemap-scan-direct-'));
      const folder = newFolder();
      try {
        await using target = await DirectRead.start(disk, way);
        {
          using snapshotter = await startSnapshots(target.pid, folder, { compression: 'none' }, {});
          for (let turn = 0; turn < 3; turn++) await snapshotter.take();
        }
        using snapshots = openSnapshots(folder);
        for (const { number, doubts } of snapshots.list()) {
          const { whole, torn: chunks } = target.check(asCore(snapshots.open(number)));
          expect(whole).toBeGreaterThan(10);
          if (way === 'sync') expect(doubts).toEqual([]);
          if (doubts.length === 0) expect(chunks, `snapshot ${number}`).toEqual([]);
        }
      } finally {
        rmSync(disk, { recursive: true });
      }
    },
  );
});

describe('a snapshot', () => {
  live('has the pages of a file that were written, discarded, and read again', async () => {
    await using target = await startWrites();
    const { start } = await target.order('map 1 file 16');
    await target.order('write 1 0 16 1');
    const folder = newFolder();
    const memory: Buffer[] = [];
    using snapshotter = await startSnapshots(
      target.pid,
      folder,
      {},
      {
        whileStopped: ({ handle }) => {
          using reader = new ProcessMemory(handle);
          const bytes = new Uint8Array(new ArrayBuffer(16 * PAGE_SIZE));
          reader.read([start, start + bytes.length], bytes, bufferAddress(bytes.buffer), () => undefined);
          memory.push(Buffer.from(bytes.buffer));
        },
      },
    );
    await snapshotter.take();
    await target.order('discard 1 2 6');
    await target.order('read 1 4 2 1');
    await snapshotter.take();
    // What is read while it stands still is the process's doing as well.
    await snapshotter.take();
    using snapshots = openSnapshots(folder);
    expect(memory[1]!.equals(memory[0]!)).toBe(false);
    for (const [index, bytes] of memory.entries())
      expect(Buffer.from(snapshots.open(index + 1).read(start, bytes.length)).equals(bytes)).toBe(true);
  });

  live('tells which pages were there, and which were written since the one before', async () => {
    await using target = await startPoked(4, 1);
    const folder = newFolder();
    {
      using snapshotter = await startSnapshots(target.pid, folder, {}, {});
      await snapshotter.take();
      await target.poke(6 * PAGE_SIZE + 8, 7);
      await target.poke(7 * PAGE_SIZE, 1);
      // With what it has already.
      await target.poke(9 * PAGE_SIZE + 500, 0);
      await snapshotter.take();
      await snapshotter.take();
    }
    using snapshots = openSnapshots(folder);
    const range = { start: target.start, end: target.end };
    const pagesOf = (which: number, category: number) =>
      countPages(snapshots.open(which), { ...range, categoryMask: category });
    const third = Math.ceil(1024 / 3);
    expect([1, 2, 3].map((which) => pagesOf(which, PAGE_IS_PRESENT))).toEqual([third, third + 1, third + 1]);
    const output = new RegionBuffer(10);
    const query = { ...range, categoryMask: PAGE_IS_WRITTEN, returnMask: PAGE_IS_WRITTEN };
    snapshots.open(2).scan(query, output);
    expect(
      [...output].map(({ start, end }) => [
        (start - target.start) / PAGE_SIZE,
        (end - target.start) / PAGE_SIZE,
      ]),
    ).toEqual([
      [6, 8],
      [9, 10],
    ]);
    expect(pagesOf(3, PAGE_IS_WRITTEN)).toBe(0);
    expect(() => pagesOf(1, PAGE_IS_WRITTEN)).toThrow('EOPNOTSUPP');
    const { mappings } = await snapshots.diff(1, 2);
    const [mapping] = mappings.filter(({ start, end }) => start <= target.start && target.start < end);
    expect(mapping).toMatchObject({ changedPages: 2, changedBytes: 2, rewrittenPages: 1 });
  });
});

describe('threads in a snapshot', () => {
  live('have the names that the process gave them', async () => {
    const child = spawn(nativeProgram('threads'), ['3'], { stdio: ['pipe', 'pipe', 'inherit'] });
    const folder = newFolder();
    try {
      // Its threads are all there then.
      await wordsUntilEnd(child);
      const tids = readdirSync(`/proc/${child.pid}/task`).map(Number);
      const names = () =>
        tids.map((tid) => readFileSync(`/proc/${child.pid}/task/${tid}/comm`, 'utf8').slice(0, -1));
      await until('all threads have theirs', () => names().includes('worker 2'));
      {
        using snapshotter = await startSnapshots(child.pid!, folder, {}, {});
        await snapshotter.take();
      }
      using snapshots = openSnapshots(folder);
      const { threads } = snapshots.open(1);
      expect(new Map(threads.map(({ tid, name }) => [tid, name]))).toEqual(
        new Map(names().map((name, index) => [tids[index], name])),
      );
      expect(threads[0]).toMatchObject({ tid: child.pid, name: 'threads' });
      const worker = threads.find(({ name }) => name === 'worker 2')!.tid;
      const { stdout } = await pmscan(['maps', `${folder}@1`]);
      expect(stdout).toContain(`[stack: worker 2 ${worker}]`);
    } finally {
      child.kill();
    }
  });

  testWhere(
    'pagemap-scan',
    'wp-async',
    'ptrace',
    'compiler',
    'root',
  )('of a process in a container have the numbers that they know themselves by, too', async () => {
    const child = spawn('unshare', ['--pid', '--fork', nativeProgram('threads'), '2'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    const folder = newFolder();
    try {
      await wordsUntilEnd(child);
      const pid = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8'));
      {
        using snapshotter = await startSnapshots(pid, folder, {}, {});
        await snapshotter.take();
      }
      using snapshots = openSnapshots(folder);
      const { threads } = snapshots.open(1);
      expect(threads.map(({ tid, ownTid }) => [tid, ownTid])).toEqual(
        threads.map(({ tid }) => {
          const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
          return [tid, Number(/^NSpid:.*\s(\d+)$/m.exec(status)![1])];
        }),
      );
      expect(threads[0]).toMatchObject({ tid: pid, ownTid: 1 });
      const { stdout } = await pmscan(['maps', folder]);
      expect(stdout).toContain('[tls]');
    } finally {
      // The program ends with its input.
      child.stdin.end();
      await exited;
    }
  });
});

describe('a writer', () => {
  const SEED = Math.floor(Math.random() * 2 ** 31);

  live(
    `that is killed at any moment leaves whole snapshots, and the process as it was (seed ${SEED})`,
    async () => {
      const below = randomBelow(SEED);
      const target = await torn(2, 2, 5000, 'm');
      const folder = newFolder();
      let newest = 0;
      try {
        for (let kill = 0; kill < 5; kill++) {
          const child: ChildProcess = spawn(
            process.execPath,
            [MAIN, 'snap', String(target.pid), '-o', folder, '--every', '1ms', '--keep', '5'],
            { stdio: ['ignore', 'pipe', 'inherit'] },
          );
          const exited = once(child, 'exit');
          // After some snapshots, or while the first is taken, at any step of it.
          if (kill % 3 > 0) await once(child.stdout!, 'data');
          await new Promise((resolve) => setTimeout(resolve, below(kill % 3 > 0 ? 150 : 500)));
          child.kill('SIGKILL');
          await exited;
          await until('nothing is left', () => leftovers(target.pid) === undefined);
          if (
            !readdirSync(base).includes(String(folders)) ||
            readdirSync(folder).every((name) => !/^snapshot-\d+$/.test(name))
          )
            continue;
          using snapshots = openSnapshots(folder);
          expect(await snapshots.verify()).toMatchObject({ problems: [], damaged: [] });
          const numbers = snapshots.numbers();
          expect(numbers.at(-1)).toBeGreaterThanOrEqual(newest);
          newest = numbers.at(-1)!;
        }
        const { code } = await pmscan(['snap', target.pid, '-o', folder, '--count', '2', '--keep', '5']);
        expect(code).toBe(0);
        expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);
      } finally {
        await target.stop();
      }
      expect(newest).toBeGreaterThan(0);
      expectWhole(folder, target);
    },
  );

  live('without room says so, and what it has is whole', async () => {
    await using target = await startPoked(1, 0);
    const folder = newFolder();
    expect((await pmscan(['snap', target.pid, '-o', folder, '--count', '2'])).code).toBe(0);
    // A limit on the size of files, in 512 bytes: no disk has to be filled. The manifest is too large, then the pages are.
    for (const [limit, where] of [
      [1, folder],
      [100, newFolder()],
    ] as const) {
      const command = `trap "" XFSZ; ulimit -f ${limit}; exec "$0" "$@"`;
      const args = ['snap', String(target.pid), '-o', where, '--count', '2', '--compress', 'none'];
      const done = await finish(spawn('sh', ['-c', command, process.execPath, MAIN, ...args]));
      expect(done).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('there is no room for it any more'),
      });
      expect(leftovers(target.pid)).toBeUndefined();
    }
    using snapshots = openSnapshots(folder);
    expect(await snapshots.verify()).toMatchObject({ snapshots: 2, problems: [] });
    expect((await pmscan(['snap', target.pid, '-o', folder, '--count', '1'])).code).toBe(0);
    expect(snapshots.numbers()).toEqual([1, 2, 3]);
  });
});
