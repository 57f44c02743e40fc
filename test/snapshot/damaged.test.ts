/** A store of which some manifests are damaged: all others can be had. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openSnapshots } from '../../src/snapshot/index.js';
import { snapshotsModel } from '../../src/web/index.js';
import { testFolders } from '../support/folders.js';
import { STATE } from '../support/snapshot-state.mjs';
import {
  ABOUT,
  addSnapshot,
  FIRST_PAGE,
  type Model,
  mappingOf,
  PAGE_SIZE,
  pageOfNumber,
  reasonOf,
  START,
  StoreWriter,
} from '../support/snapshot-store.js';

const newFolder = testFolders('damaged');
const manifest = (folder: string, number: number) =>
  join(folder, `snapshot-${String(number).padStart(8, '0')}`);

/** Flips a byte of manifests for as long as they are looked at. */
async function withDamage(folder: string, numbers: readonly number[], look: () => Promise<void>) {
  const whole = numbers.map((number) => readFileSync(manifest(folder, number)));
  numbers.forEach((number, index) => {
    const bytes = Buffer.from(whole[index]!);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(manifest(folder, number), bytes);
  });
  try {
    await look();
  } finally {
    numbers.forEach((number, index) => {
      writeFileSync(manifest(folder, number), whole[index]!);
    });
  }
}

/** Page 0 holds the number of the snapshot. Runs are of so many. */
async function fill(folder: string, runs: readonly number[]): Promise<void> {
  let number = 0;
  for (const count of runs) {
    using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
    for (let turn = 0; turn < count; turn++) {
      const model = new Map([
        [0, ++number],
        [1, 7],
      ]);
      await addSnapshot(store, model, turn === 0 ? undefined : [[FIRST_PAGE, 2, 0]], undefined, {
        mappings: [mappingOf(START, START + 16 * PAGE_SIZE)],
      });
    }
  }
}

describe('a store with damaged manifests', () => {
  const folder = newFolder();
  beforeAll(() => fill(folder, [3, 3]));

  test.each([
    { broken: [2], damaged: [2, 3], usable: [1, 4, 5, 6] },
    { broken: [1], damaged: [1, 2, 3], usable: [4, 5, 6] },
    { broken: [6], damaged: [6], usable: [1, 2, 3, 4, 5] },
    { broken: [3, 5, 6], damaged: [3, 5, 6], usable: [1, 2, 4] },
    { broken: [1, 2, 3, 4, 5, 6], damaged: [1, 2, 3, 4, 5, 6], usable: [] },
  ])('$broken has the others: $usable', async ({ broken, damaged, usable }) => {
    await withDamage(folder, broken, async () => {
      using snapshots = openSnapshots(folder);
      expect(snapshots.numbers()).toEqual([1, 2, 3, 4, 5, 6]);
      expect(snapshots.list().map(({ number }) => number)).toEqual(usable);
      expect(snapshots.damaged()).toEqual(
        damaged.map((number) => ({
          number,
          problem: expect.stringMatching(/^Cannot read .*snapshot-0000000/),
        })),
      );
      for (const number of usable) {
        const page = snapshots.open(number).page(START)!;
        expect(Buffer.compare(page, pageOfNumber(number)), `snapshot ${number}`).toBe(0);
      }
      for (const number of damaged)
        expect(
          reasonOf(() => snapshots.open(number)),
          `${number}`,
        ).toBe('damaged');
      // Names that choose go by whole ones, and tell of those that they left out.
      const latest = usable.at(-1);
      if (latest === undefined) expect(reasonOf(() => snapshots.find('latest'))).toBe('damaged');
      else {
        const passed: number[] = [];
        expect(snapshots.find('latest', { onDamaged: (each) => passed.push(each) })).toBe(latest);
        expect(passed).toEqual(damaged.filter((number) => number > latest));
        expect(snapshots.open('latest').info.number).toBe(latest);
        expect(usable.map((_, index) => snapshots.find(`-${usable.length - index}`))).toEqual(usable);
      }
      for (const number of damaged) expect(snapshots.find(String(number))).toBe(number);
      expect((await snapshots.verify()).problems.length).toBeGreaterThan(0);

      const left: number[] = [];
      const history = snapshots.history(START, 8, { onDamaged: (number) => left.push(number) });
      expect(history.map(({ number }) => number)).toEqual(usable);
      expect(left).toEqual(damaged);
    });
    using snapshots = openSnapshots(folder);
    expect([snapshots.list().length, snapshots.damaged()]).toEqual([6, []]);
  });

  test('behind one, does not tell what was written', async () => {
    // Its own manifest tells all, and the one before it is of the same run.
    const long = newFolder();
    await fill(long, [132]);
    const base = (number: number) => readFileSync(manifest(long, number)).readBigUInt64LE(32);
    const full = Array.from({ length: 131 }, (_, index) => index + 2).find((number) => base(number) === 0n)!;
    {
      using snapshots = openSnapshots(long);
      expect((await snapshots.diff(3, full)).rewrittenPages).toBe(1);
      expect(snapshots.open(full).categories).not.toBe(0);
    }
    await withDamage(long, [5], async () => {
      using snapshots = openSnapshots(long);
      expect(snapshots.damaged().map(({ number }) => number)).toEqual(
        Array.from({ length: full - 5 }, (_, index) => index + 5),
      );
      const { rewrittenPages, changedPages } = await snapshots.diff(3, full);
      expect([rewrittenPages, changedPages]).toEqual([undefined, 1]);
      expect(snapshots.open(full).categories).toBe(0);
      expect(Buffer.compare(snapshots.open(full).page(START)!, pageOfNumber(full))).toBe(0);
    });
  });

  test.each([
    { broken: [], at: 2, found: 3, passed: [] },
    // The second run tells all again, so the fourth is whole. Nobody knows when the damaged ones were taken.
    { broken: [2], at: 2, found: 1, passed: [2, 3] },
    { broken: [2], at: 3, found: 4, passed: [] },
    { broken: [5, 6], at: 5, found: 4, passed: [5, 6] },
  ])('$broken: the last one by a time tells of those in question', async ({ broken, at, found, passed }) => {
    await withDamage(folder, broken, async () => {
      using snapshots = openSnapshots(folder);
      const told: number[] = [];
      const time = new Date(1_700_000_000_000 + at * 1000).toISOString();
      expect(snapshots.find(time, { onDamaged: (each) => told.push(each) })).toBe(found);
      expect(told).toEqual(passed);
    });
  });

  test('of which the first ones are: what is left to find says what is wrong', async () => {
    await withDamage(folder, [1], async () => {
      using snapshots = openSnapshots(folder);
      expect(() => snapshots.find('-4')).toThrow(/there are 1 to 6; damaged: 1, 2, 3$/);
      const early = new Date(1_700_000_000_000).toISOString();
      expect(() => snapshots.find(early)).toThrow(/all of them are later; damaged: 1, 2, 3$/);
    });
  });

  test('of format 1 knows its machine by those that can be read', async () => {
    const old = newFolder();
    {
      using store = StoreWriter.open(old, ABOUT);
      for (const turn of [1, 2])
        await addSnapshot(store, new Map([[0, turn]]), turn === 1 ? undefined : [], undefined, {
          threads: [{ ...STATE.threads[0]!, registers: new Uint8Array(272) }],
        });
    }
    const schema = 'pagemap-scan/snapshots@1';
    writeFileSync(join(old, 'store.json'), JSON.stringify({ schema, process: ABOUT }));
    await withDamage(old, [2], async () => {
      using snapshots = openSnapshots(old);
      expect(snapshots.machine.architecture).toBe('arm64');
    });
  });

  test('is shown without them, and what changed over them is', async () => {
    await withDamage(folder, [2], async () => {
      using snapshots = openSnapshots(folder);
      const { moments, notes } = await snapshotsModel(snapshots);
      expect(moments!.map(({ number, changedPages }) => [number, changedPages])).toEqual([
        [1, 0],
        [4, 1],
        [5, 1],
        [6, 1],
      ]);
      expect(notes).toContain('The page leaves out damaged snapshots: 2, 3.');
    });
  });
});

describe('a writer that is to go on with a store', () => {
  const remove = (folder: string, numbers: readonly number[]) => {
    for (const number of numbers) rmSync(manifest(folder, number));
  };
  const goOn = async (folder: string, model: Model) => {
    using store = StoreWriter.open(folder, ABOUT);
    await addSnapshot(store, model, undefined, undefined, {
      mappings: [mappingOf(START, START + 16 * PAGE_SIZE)],
    });
    return [store.oldest, store.newest];
  };

  test.each([
    { broken: [6], lost: '6', files: 'snapshot-00000006', goes: [1, 2, 3, 4, 5], kept: [1, 6] },
    {
      broken: [2],
      lost: '2 to 3',
      files: 'snapshot-00000002 to snapshot-00000003',
      goes: [1, 4, 5, 6],
      kept: [1, 7],
    },
    {
      broken: [1, 5],
      lost: '1 to 3, 5 to 6',
      files: 'snapshot-00000001 to snapshot-00000003, snapshot-00000005 to snapshot-00000006',
      goes: [4],
      kept: [4, 5],
    },
  ])('with $broken damaged refuses, and goes on once $lost are deleted', async (each) => {
    const folder = newFolder();
    await fill(folder, [3, 3]);
    const names = readdirSync(folder);
    await withDamage(folder, each.broken, async () => {
      expect(() => StoreWriter.open(folder, ABOUT)).toThrow(
        expect.objectContaining({
          reason: 'damaged',
          message: expect.stringMatching(
            `^Cannot keep snapshots in ${folder}: snapshots there are damaged: ${each.lost}; .*snap verify.* give another folder, or delete .*: the files ${each.files}$`,
          ),
        }),
      );
    });
    expect(readdirSync(folder)).toEqual(names);
    const deleted = [1, 2, 3, 4, 5, 6].filter((number) => !each.goes.includes(number));
    remove(folder, deleted);
    // The bytes of the others stay, also those that came with a snapshot that is gone.
    expect(await goOn(folder, new Map([[3, 9]]))).toEqual(each.kept);
    const newest = each.kept[1]!;
    using snapshots = openSnapshots(folder);
    expect(snapshots.numbers()).toEqual([...each.goes, newest]);
    for (const number of each.goes)
      expect(Buffer.compare(snapshots.open(number).page(START)!, pageOfNumber(number))).toBe(0);
    expect(Buffer.compare(snapshots.open(newest).page(START + 3 * PAGE_SIZE)!, pageOfNumber(9))).toBe(0);
    expect(snapshots.history(START, 8).map(({ number }) => number)).toEqual([...each.goes, newest]);
    const gaps = deleted.filter((number) => number > each.kept[0]! && number < newest);
    const { problems, damaged } = await snapshots.verify();
    expect(damaged).toEqual(gaps);
    for (const problem of problems) expect(problem).toMatch(/: it is gone$/);
    const { moments } = await snapshotsModel(snapshots);
    expect(moments!.map(({ number }) => number)).toEqual([...each.goes, newest]);
  });

  test('gives the space of what is deleted back, and drops what lies behind as ever', async () => {
    const folder = newFolder();
    await fill(folder, [3, 3]);
    remove(folder, [2, 3]);
    using store = StoreWriter.open(folder, ABOUT, { keep: 2 });
    const before = store.storedBytes;
    for (const turn of [1, 2]) await addSnapshot(store, new Map([[0, 100 + turn]]), []);
    expect([store.oldest, store.newest]).toEqual([7, 8]);
    expect(store.storedBytes).toBeLessThan(before);
    using snapshots = openSnapshots(folder);
    expect(await snapshots.verify()).toMatchObject({ snapshots: 2, problems: [] });
  });

  test('keeps as many as it is told to, whatever was deleted between them', async () => {
    const folder = newFolder();
    await fill(folder, [3, 3]);
    remove(folder, [2, 3]);
    using store = StoreWriter.open(folder, ABOUT, { keep: 5 });
    await addSnapshot(store, new Map([[0, 7]]), []);
    using snapshots = openSnapshots(folder);
    expect(snapshots.numbers()).toEqual([1, 4, 5, 6, 7]);
  });

  test('says what to do about damaged pages, too', async () => {
    const folder = newFolder();
    await fill(folder, [3]);
    const path = join(folder, 'data-00000001');
    const bytes = readFileSync(path);
    bytes[64]! ^= 1;
    writeFileSync(path, bytes);
    expect(() => StoreWriter.open(folder, ABOUT)).toThrow(
      expect.objectContaining({
        reason: 'damaged',
        message: expect.stringMatching(
          /^Cannot keep snapshots in .*: Cannot read the block .*snap verify.* lists the damaged .* snapshot-00000003 is that of snapshot 3$/,
        ),
      }),
    );
  });

  test('and over one that is deleted, it is not known what was written', async () => {
    const folder = newFolder();
    await fill(folder, [132]);
    const base = (number: number) => readFileSync(manifest(folder, number)).readBigUInt64LE(32);
    const full = Array.from({ length: 131 }, (_, index) => index + 2).find((number) => base(number) === 0n)!;
    const first = readFileSync(manifest(folder, 1));
    remove(folder, [1]);
    {
      // What tells all needs none before it.
      using snapshots = openSnapshots(folder);
      const snapshot = snapshots.open(snapshots.find(String(full)));
      expect(Buffer.compare(snapshot.page(START)!, pageOfNumber(full))).toBe(0);
      const lost: number[] = [];
      const found = snapshots.history(START, 8, { onDamaged: (number) => lost.push(number) });
      expect([found[0]!.number, lost.at(-1)]).toEqual([full, full - 1]);
    }
    writeFileSync(manifest(folder, 1), first);
    remove(folder, [full - 1]);
    {
      using snapshots = openSnapshots(folder);
      expect((await snapshots.diff(3, full)).rewrittenPages).toBe(undefined);
      expect((await snapshots.diff(full, 132)).rewrittenPages).not.toBe(undefined);
    }
    // The page index of these snapshots begins behind the one that is deleted: a history misses nothing.
    {
      using store = StoreWriter.open(folder, ABOUT);
      for (let number = 133; number <= 260; number++)
        await addSnapshot(
          store,
          new Map([
            [0, number % 3 === 0 ? number : number - (number % 3)],
            [1, 7],
          ]),
          number === 133 ? undefined : [],
        );
    }
    using snapshots = openSnapshots(folder);
    expect(readdirSync(folder)).toContain('index-00000002');
    const changes = snapshots.history(START, 8).map(({ number }) => number);
    expect(changes).toEqual(
      Array.from({ length: 260 }, (_, index) => index + 1).filter(
        (number) => number !== full - 1 && (number <= 132 || number % 3 === 0),
      ),
    );
  });
});

describe('what a store tells of its process', () => {
  const about = (change: object) => ({ ...ABOUT, ...change });
  test.each([
    { pid: '/../../victim' },
    { pid: 0 },
    { pid: 1.5 },
    { pid: undefined },
    { name: 7 },
    { commandLine: undefined },
    { bootId: null },
    { startTime: '17' },
  ])('is refused when it is of another kind: %j', (change) => {
    const folder = newFolder();
    mkdirSync(folder);
    for (const schema of ['pagemap-scan/snapshots@1', 'pagemap-scan/snapshots@2']) {
      writeFileSync(join(folder, 'store.json'), JSON.stringify({ schema, process: about(change) }));
      expect(() => openSnapshots(folder)).toThrow(
        expect.objectContaining({ reason: 'damaged', message: expect.stringContaining('the process') }),
      );
    }
  });
});
