/** Stores as a user meets them that are damaged, made up, other users', or on a full disk. None takes a process. */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { BASE_CATEGORIES, PAGE_IS_WPALLOWED, PAGE_IS_WRITTEN } from '../../src/abi/index.js';
import { PageTable } from '../../src/snapshot/page-table.js';
import { pmscan } from '../support/cli.js';
import { testFolders } from '../support/folders.js';
import { testWhere } from '../support/needs.js';
import { SmallDisk } from '../support/small-disk.js';
import { STATE } from '../support/snapshot-state.mjs';
import { ABOUT, addSnapshot, mappingOf, PAGE_SIZE, START, StoreWriter } from '../support/snapshot-store.js';

const newFolder = testFolders('snap-store');
/** What is noted of pages. */
const KNOWN = BASE_CATEGORIES & ~(PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED);
const END = START + 2048 * PAGE_SIZE;

/** A mapping of a file. */
const fileMapping = (start: number, name: string, inode: number, perms = 'r--p', pages = 4) => {
  const stored = mappingOf(start, start + pages * PAGE_SIZE);
  return { ...stored, mapping: { ...stored.mapping, name, inode, perms } };
};

/** Three snapshots of 8 MiB. The second one has another file, and a shorter one, where the first has one. */
async function fill(folder: string, about = ABOUT): Promise<void> {
  using store = StoreWriter.open(folder, about, { compression: 'none' });
  for (const turn of [1, 2, 3]) {
    const model = new Map(Array.from({ length: 2048 }, (_, page) => [page, page + 1]));
    model.set(0, 10_000 + turn);
    model.set(2048, 20_000 + turn);
    if (turn === 1) model.set(2048 + 6, 30_000);
    const file = turn === 1 ? fileMapping(END, '/tmp/gone', 1, 'r--p', 8) : fileMapping(END, '/tmp/come', 2);
    await addSnapshot(store, model, turn === 1 ? undefined : [], undefined, {
      mappings: [mappingOf(START, END), file],
      categories: KNOWN,
    });
  }
}

const json = async (...args: string[]) => {
  const { code, stdout, stderr } = await pmscan([...args, '--json']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
};

describe('a store of which a manifest is damaged', () => {
  const folder = newFolder();
  beforeAll(async () => {
    await fill(folder);
    writeFileSync(join(folder, 'snapshot-00000003'), 'nothing of it is left');
  });

  test('is listed, with a mark at that one, and the others are looked at', async () => {
    const list = await json('snap', 'list', folder);
    const problem = expect.stringContaining('snapshot-00000003: it is no manifest');
    expect(list.damaged).toEqual([{ number: 3, problem }]);
    expect(list.snapshots.map(({ number }: { number: number }) => number)).toEqual([1, 2]);
    const { code, stdout } = await pmscan(['snap', 'list', folder]);
    const lines = stdout.trim().split('\n');
    expect([code, lines[0]]).toEqual([0, expect.stringMatching(/^3 snapshots of .*; 1 of them damaged$/)]);
    expect(lines.slice(2).map((line) => line.trim().split(/\s+/)[0])).toEqual(['1', '2', '3']);
    expect(lines.at(-1)).toMatch(/^ {5}3 {2}damaged: Cannot read /);
    expect(await json('maps', `${folder}@2`)).toMatchObject({ snapshot: 2 });
    const history = await pmscan(['snap', 'history', folder, START.toString(16), '--json']);
    expect(JSON.parse(history.stdout)).toMatchObject({
      entries: [{ number: 1 }, { number: 2 }],
      damaged: [3],
    });
    expect(history.stderr).toContain('left out damaged snapshots: 3;');
    const out = newFolder();
    const exported = ['snap', 'export', `${folder}@1`, `${START.toString(16)}+4K`, '-o', out];
    expect([(await pmscan(exported)).code, statSync(out).size]).toEqual([0, 4096]);
    expect((await json('snap', 'list', folder)).damaged.length).toBe(1);
    expect((await pmscan(['snap', 'verify', folder])).code).toBe(1);
  });
});

describe('the newest snapshot, when it is damaged', () => {
  const folder = newFolder();
  beforeAll(async () => {
    await fill(folder);
    writeFileSync(join(folder, 'snapshot-00000003'), 'nothing of it is left');
  });
  const out = () => newFolder();
  const told = (which: string, number: number) =>
    expect.stringContaining(`left out damaged snapshots: 3; ${which} is snapshot ${number} without them`);

  test.each(['maps', 'scan'])('%s takes the newest whole one, and says so', async (command) => {
    for (const target of [folder, `${folder}@latest`, `${folder}@-1`]) {
      const which = target.split('@')[1] ?? 'latest';
      const { code, stdout, stderr } = await pmscan([command, target, '--json']);
      expect([code, stderr]).toEqual([0, told(which, 2)]);
      expect(JSON.parse(stdout)).toMatchObject({ snapshot: 2 });
    }
    expect(await pmscan([command, `${folder}@3`])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('snapshot-00000003: it is no manifest'),
    });
  });

  test('so do core, export, diff and report', async () => {
    const core = await pmscan(['snap', 'core', folder, '-o', out(), '--json']);
    expect([core.code, JSON.parse(core.stdout), core.stderr]).toMatchObject([
      0,
      { number: 2 },
      told('latest', 2),
    ]);
    const bytes = ['snap', 'export', `${folder}@latest`, `${START.toString(16)}+8`, '-o', out()];
    expect(await pmscan(bytes)).toMatchObject({ code: 0, stderr: told('latest', 2) });
    const diff = await pmscan(['snap', 'diff', `${folder}@-2`, `${folder}@latest`, '--json']);
    expect(JSON.parse(diff.stdout)).toMatchObject({ from: 1, to: 2 });
    expect([diff.stderr, diff.stderr]).toEqual([told('-2', 1), told('latest', 2)]);
    const report = await pmscan(['report', `${folder}@latest`, '-o', out()]);
    expect(report).toMatchObject({ code: 0, stderr: told('latest', 2) });
  });

  test('and all others are too: the message says so', async () => {
    const lost = newFolder();
    await fill(lost);
    for (const number of [1, 2, 3]) writeFileSync(join(lost, `snapshot-0000000${number}`), 'lost');
    expect(await pmscan(['maps', lost])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('all snapshots are damaged; `pmscan snap verify` says'),
    });
  });
});

describe('a store', () => {
  const folder = newFolder();
  beforeAll(() => fill(folder, { ...ABOUT, commandLine: 'made \x1b[31mup' }));

  test('that tells no process leads no file elsewhere', async () => {
    const made = newFolder();
    await fill(made);
    const path = join(made, 'store.json');
    const victim = newFolder();
    const store = JSON.parse(readFileSync(path, 'utf8'));
    const pid = `x/../../${victim.split('/').at(-1)}`;
    writeFileSync(path, JSON.stringify({ ...store, process: { ...store.process, pid } }));
    const cwd = join(dirname(victim), 'cwd');
    mkdirSync(join(cwd, 'core.x'), { recursive: true });
    for (const part of ['core', 'list', 'verify'])
      expect(await pmscan(['snap', part, made], { cwd })).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('it does not tell the process'),
      });
    const name = victim.split('/').at(-1)!;
    expect(readdirSync(dirname(victim)).filter((each) => each.startsWith(`${name}.`))).toEqual([]);
  });

  test('with control characters is listed without', async () => {
    const { stdout } = await pmscan(['snap', 'list', folder]);
    expect(stdout).toContain('made \\x1b[31mup');
    expect(stdout).not.toContain('\x1b');
  });

  test('alone is its newest snapshot, and what stands behind @ is to be one', async () => {
    for (const command of ['maps', 'scan']) {
      expect(await json(command, folder)).toMatchObject({ provider: 'snapshot', snapshot: 3 });
      const cwd = dirname(folder);
      symlinkSync(folder, join(cwd, `named-${command}`));
      const { stdout } = await pmscan([command, `named-${command}`, '--json'], { cwd });
      expect(JSON.parse(stdout)).toMatchObject({ snapshot: 3 });
    }
    // A number is a process: this one is none that there can be.
    symlinkSync(folder, join(dirname(folder), '4194399'));
    expect((await pmscan(['maps', '4194399'], { cwd: dirname(folder) })).code).toBe(3);
    for (const command of [['maps'], ['scan'], ['snap', 'core'], ['report', '-o', newFolder()]])
      expect(await pmscan([...command, `${folder}@`])).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('DIR@latest'),
      });
    expect(await pmscan(['snap', 'list', join(folder, 'store.json')])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('it is a file'),
    });
  });

  test('says of a first snapshot why its writes are not known, and nothing of this kernel', async () => {
    const { code, stderr } = await pmscan(['scan', `${folder}@1`, '--where', 'written']);
    expect([code, stderr]).toEqual([5, expect.stringContaining('the snapshot before it')]);
    expect(stderr).not.toContain('doctor');
  });

  test('gives what is gone the owner that it had, also where another mapping lies by now', async () => {
    const { mappings } = await json('snap', 'diff', `${folder}@1`, `${folder}@2`);
    const rows = mappings.map(({ state, name, owner }: Record<string, string>) => [state, name, owner]);
    expect(rows).toContainEqual(['gone', '/tmp/gone', '/tmp/gone']);
    expect(rows).toContainEqual(['new', '/tmp/come', '/tmp/come']);
    const { stdout } = await pmscan(['snap', 'diff', `${folder}@1`, `${folder}@2`]);
    expect(stdout).toMatch(/\/tmp\/gone \(gone\)$/m);
    expect(stdout).toMatch(/\/tmp\/come \(new\)$/m);
  });

  test('of a process in a container finds stacks and variables by the numbers that threads have there', async () => {
    const contained = newFolder();
    const ids = (pid: number) => ({ pid, ppid: 0, pgid: 1, sid: 1 });
    const thread = {
      signalMask: 0n,
      ticks: [0, 0, 0, 0] as const,
      registers: new Uint8Array(216),
      registerSets: [],
    };
    /** What glibc keeps of a thread: where it is, twice, and the thread's own number. */
    const descriptor = (address: number, ownTid: number) => {
      const bytes = Buffer.alloc(PAGE_SIZE);
      for (const at of [0, 16]) bytes.writeBigUInt64LE(BigInt(address), at);
      bytes.writeUInt32LE(ownTid, 720);
      return bytes;
    };
    const [stack, variables] = [START + PAGE_SIZE, START + 64 * PAGE_SIZE];
    const guard = mappingOf(START, stack);
    {
      using store = StoreWriter.open(contained, ABOUT);
      const table = new PageTable();
      table.set(stack / PAGE_SIZE + 7, store.put(descriptor(stack + 7 * PAGE_SIZE, 3)));
      table.set(variables / PAGE_SIZE, store.put(descriptor(variables, 1)));
      await store.add({
        ...STATE,
        threads: [
          { ...thread, tid: ABOUT.pid, name: 'main', ids: ids(1) },
          { ...thread, tid: ABOUT.pid + 5, name: 'worker', ids: ids(3) },
        ],
        table,
        timeMs: 0,
        written: undefined,
        mappings: [
          { ...guard, mapping: { ...guard.mapping, perms: '---p' }, holds: 'nothing' },
          mappingOf(stack, stack + 8 * PAGE_SIZE),
          mappingOf(variables, variables + PAGE_SIZE),
        ],
        categories: KNOWN,
      });
    }
    const { mappings } = await json('maps', contained);
    expect(mappings.map(({ owner }: { owner: string }) => owner).sort()).toEqual([
      '[stack guard]',
      `[stack: worker ${ABOUT.pid + 5}]`,
      '[tls]',
    ]);
  });

  test('tells the program from a file that lies below it', async () => {
    const low = newFolder();
    const auxv = Buffer.alloc(32);
    // AT_PHDR.
    auxv.writeBigUInt64LE(3n);
    auxv.writeBigUInt64LE(BigInt(END + 64), 8);
    {
      using store = StoreWriter.open(low, ABOUT);
      await addSnapshot(store, new Map(), undefined, undefined, {
        mappings: [
          fileMapping(START, '/opt/java/classes.jsa', 1),
          fileMapping(END, '/usr/bin/java', 2),
          fileMapping(END + 8 * PAGE_SIZE, '/usr/bin/java', 2, 'r-xp'),
        ],
        categories: KNOWN,
        facts: { ...STATE.facts, auxv: new Uint8Array(auxv) },
      });
    }
    const { mappings } = await json('maps', low);
    const kinds = mappings
      .map(({ name, ownerKind }: Record<string, string>) => `${name} ${ownerKind}`)
      .sort();
    expect(kinds).toEqual(['/opt/java/classes.jsa file', '/usr/bin/java program', '/usr/bin/java program']);
  });

  testWhere('root')(
    'of another user, who keeps it for himself, is not permitted, and told as such',
    async () => {
      const own = newFolder();
      await fill(own);
      // The user is to come as far as this.
      chmodSync(dirname(own), 0o755);
      for (const mode of [0o700, 0o755]) {
        chmodSync(own, mode);
        for (const command of [
          ['snap', 'list', own],
          ['snap', 'verify', own],
          ['snap', 'core', own],
          ['maps', `${own}@1`],
          ['maps', own],
          // A file that the user could write: `report` looks at that first.
          ['report', `${own}@1`, '-o', join(tmpdir(), 'pagemap-scan-none.html')],
        ]) {
          const { code, stderr } = await pmscan(command, { uid: 65_534 });
          expect([code, stderr], `${command} ${mode}`).toEqual([
            4,
            expect.stringContaining('permission denied'),
          ]);
          expect(stderr).toContain(own);
        }
      }
    },
  );

  testWhere('small-disk')(
    'says which file a full disk has no room for, and leaves nothing of it',
    async () => {
      using disk = new SmallDisk(2);
      const file = join(disk.folder, 'out');
      for (const command of [
        ['snap', 'core', folder],
        ['snap', 'export', folder, `${START.toString(16)}+8M`],
      ]) {
        expect(await pmscan([...command, '-o', file])).toMatchObject({
          code: 1,
          stderr: expect.stringMatching(
            /^pmscan: Cannot write \S+\/out: \S+ has no room for it, .* -o FILE\n$/,
          ),
        });
        expect(readdirSync(disk.folder)).toEqual([]);
      }
    },
  );
});

test('a report replaces links, and not what they lead to', async () => {
  const folder = newFolder();
  await fill(folder);
  const [link, target] = [newFolder(), newFolder()];
  symlinkSync(target, link);
  expect(await pmscan(['report', folder, '-o', link])).toMatchObject({ code: 1 });
  expect(existsSync(target)).toBe(false);
  expect(await pmscan(['report', folder, '-o', link, '--force'])).toMatchObject({ code: 0 });
  expect([existsSync(target), lstatSync(link).isFile()]).toEqual([false, true]);
});
