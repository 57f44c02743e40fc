/** The store of snapshots on real files: what is kept comes back, what is damaged is found, what is dropped gives its space back. */
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openSnapshots } from '../../src/snapshot/index.js';
import type { StoreOptions } from '../../src/snapshot/store.js';
import { testFolders } from '../support/folders.js';
import { randomBelow } from '../support/random.mjs';
import {
  ABOUT,
  addSnapshot,
  diskBytes,
  type Model,
  PAGE_SIZE,
  pageOfNumber,
  reasonOf,
  START,
  StoreWriter,
} from '../support/snapshot-store.js';

const newFolder = testFolders('store');

/** Whether a snapshot holds exactly this. */
function expectContent(folder: string, number: number, model: Model, pages = 64): void {
  using snapshots = openSnapshots(folder);
  const snapshot = snapshots.open(number);
  for (let page = 0; page < pages; page++) {
    const bytes = snapshot.page(START + page * PAGE_SIZE);
    expect(Buffer.compare(bytes!, pageOfNumber(model.get(page) ?? 0)), `page ${page} of ${number}`).toBe(0);
  }
}

/** Random writes over some snapshots. Gives what each held. */
async function fill(folder: string, count: number, options: StoreOptions = {}, seed = 1): Promise<Model[]> {
  const below = randomBelow(seed);
  const models: Model[] = [];
  const model: Model = new Map();
  using store = StoreWriter.open(folder, ABOUT, options);
  for (let turn = 0; turn < count; turn++) {
    for (let writes = 0; writes < 12; writes++) {
      const page = below(64);
      if (below(6) === 0) model.delete(page);
      else model.set(page, below(5) === 0 ? below(3) : turn * 1000 + writes + 10);
    }
    await addSnapshot(store, model, turn === 0 ? undefined : []);
    models.push(new Map(model));
  }
  return models;
}

describe('a store', () => {
  test.each(['deflate', 'none', 'auto'] as const)('gives every snapshot back: %s', async (compression) => {
    const folder = newFolder();
    // More than are told as changes of one.
    const count = compression === 'none' ? 150 : 20;
    const models = await fill(folder, count, { compression });
    for (const number of [1, 2, count >> 1, count - 1, count])
      expectContent(folder, number, models[number - 1]!);
    using snapshots = openSnapshots(folder);
    expect(snapshots.list().map(({ number }) => number)).toEqual(models.map((_, index) => index + 1));
    expect(await snapshots.verify()).toMatchObject({ snapshots: count, problems: [], damaged: [] });
  });

  test('stores the same page once, whatever the address and the time', async () => {
    const folder = newFolder();
    using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
    const first = await addSnapshot(store, new Map(Array.from({ length: 100 }, (_, page) => [page, 5])));
    expect(first).toMatchObject({ pages: 100, newPages: 1 });
    const second = await addSnapshot(store, new Map([[3, 6]]), []);
    expect(second).toMatchObject({ pages: 1, newPages: 1, changedPages: 100 });
    const third = await addSnapshot(store, new Map([[7, 5]]), []);
    expect(third).toMatchObject({ newPages: 0, storedBytes: 0 });
  });

  test('keeps the newest, and gives the space of the others back', async () => {
    const folder = newFolder();
    using store = StoreWriter.open(folder, ABOUT, { keep: 3, compression: 'none' });
    const sizes: number[] = [];
    const models: Model[] = [];
    for (let turn = 0; turn < 60; turn++) {
      const model: Model = new Map();
      // All pages are others each time.
      for (let page = 0; page < 64; page++) model.set(page, turn * 100 + page + 1);
      models.push(model);
      await addSnapshot(store, model, turn === 0 ? undefined : []);
      sizes.push(diskBytes(folder));
    }
    expect(Math.max(...sizes)).toBeLessThan(6 * 64 * PAGE_SIZE);
    using snapshots = openSnapshots(folder);
    expect(snapshots.numbers()).toEqual([58, 59, 60]);
    expect(snapshots.list()[0]).toMatchObject({ number: 58, pages: 64 });
    for (const number of [58, 59, 60]) expectContent(folder, number, models[number - 1]!);
    expect(reasonOf(() => snapshots.open(57))).toBe('not-found');
    expect((await snapshots.verify()).problems).toEqual([]);
  });

  test('makes holes of what became free, and of nothing that is a hole already', async () => {
    const folder = newFolder();
    using store = StoreWriter.open(folder, ABOUT, { keep: 1, compression: 'none' });
    // Four blocks of 16 pages.
    const model: Model = new Map(Array.from({ length: 64 }, (_, page) => [page, page + 1]));
    const drop = async (first: number) => {
      for (let page = first; page < first + 16; page++) model.delete(page);
      await addSnapshot(store, model, []);
    };
    await addSnapshot(store, model);
    const path = join(folder, 'data-00000001');
    const blockBytes = Math.ceil((32 + 16 * (16 + 4 + PAGE_SIZE)) / 64) * 64;
    const placeInFirst = 5 * PAGE_SIZE;
    const at = (offset: number) =>
      readFileSync(path)
        .subarray(offset, offset + 8)
        .toString();
    const before = diskBytes(folder);
    await drop(0);
    expect(at(placeInFirst)).toBe('\0'.repeat(8));
    // Punching it once more would take this away.
    const fd = openSync(path, 'r+');
    writeSync(fd, 'anything', placeInFirst);
    closeSync(fd);
    await drop(32);
    expect([at(placeInFirst), at(64 + 2 * blockBytes + placeInFirst)]).toEqual(['anything', '\0'.repeat(8)]);
    expect(diskBytes(folder)).toBeLessThan(before - 24 * PAGE_SIZE);
    // What lies between two that were free is, with its neighbours, one hole.
    await drop(16);
    expect(at(placeInFirst)).toBe('\0'.repeat(8));
    expectContent(folder, 4, model);
    using snapshots = openSnapshots(folder);
    expect((await snapshots.verify()).problems).toEqual([]);
  });

  test('keeps what fits, and the newest in any case', async () => {
    const folder = newFolder();
    const keepBytes = 40 * 64 * PAGE_SIZE;
    using store = StoreWriter.open(folder, ABOUT, { keepBytes, compression: 'none' });
    for (let turn = 0; turn < 60; turn++) {
      const model: Model = new Map();
      for (let page = 0; page < 64; page++) model.set(page, turn * 100 + page + 1);
      await addSnapshot(store, model, turn === 0 ? undefined : []);
      expect(store.storedBytes).toBeLessThanOrEqual(keepBytes);
    }
    expect(diskBytes(folder)).toBeLessThan(keepBytes * 1.1);
    expect(store.newest - store.oldest).toBeGreaterThan(30);
    store[Symbol.dispose]();
    using small = StoreWriter.open(folder, ABOUT, { keepBytes: 1, compression: 'none' });
    await addSnapshot(small, new Map([[1, 1]]));
    expect([small.oldest, small.newest]).toEqual([61, 61]);
  });

  test('goes on where it was left', async () => {
    const folder = newFolder();
    await fill(folder, 10, { keep: 6 });
    const before = diskBytes(folder);
    const model: Model = new Map([[1, 4_000_000]]);
    using store = StoreWriter.open(folder, ABOUT, { keep: 6 });
    expect([store.oldest, store.newest]).toEqual([5, 10]);
    const head = await addSnapshot(store, model);
    expect(head).toMatchObject({ number: 11, run: 2, base: 0, first: 6, newPages: 1 });
    expectContent(folder, 11, model);
    expect(diskBytes(folder)).toBeLessThan(before + (128 << 10));
    using snapshots = openSnapshots(folder);
    expect((await snapshots.verify()).problems).toEqual([]);
  });

  test('removes what a writer that was killed has left', async () => {
    const folder = newFolder();
    const models = await fill(folder, 5, { compression: 'none' });
    const names = new Set(readdirSync(folder));
    const bytes = diskBytes(folder);
    // A manifest that has not got its name, pages behind the last block, and a file that no manifest knows.
    writeFileSync(join(folder, 'snapshot-00000006.part'), 'half');
    writeFileSync(join(folder, 'data-00000001'), Buffer.alloc(200_000, 7), { flag: 'a' });
    copyFileSync(join(folder, 'data-00000001'), join(folder, 'data-00000002'));
    StoreWriter.open(folder, ABOUT)[Symbol.dispose]();
    expect(new Set(readdirSync(folder))).toEqual(names);
    expect(diskBytes(folder)).toBeLessThanOrEqual(bytes);
    for (const [index, model] of models.entries()) expectContent(folder, index + 1, model);
  });

  test('forgets what was put and never added', async () => {
    const folder = newFolder();
    const models = await fill(folder, 3, { compression: 'none' });
    const bytes = diskBytes(folder);
    {
      using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
      for (let number = 0; number < 500; number++) store.put(pageOfNumber(8_000_000 + number));
    }
    expect(diskBytes(folder)).toBeLessThanOrEqual(bytes);
    expectContent(folder, 3, models[2]!);
  });

  test('forgets it in files that were filled and brought to the disk, too', async () => {
    const folder = newFolder();
    const models = await fill(folder, 3, { compression: 'none' });
    const names = readdirSync(folder);
    {
      using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
      for (let number = 0; number < 20_000; number++) store.put(pageOfNumber(8_000_000 + number));
      // Something that cannot be replaced is in its place: no manifest gets its name.
      mkdirSync(join(folder, 'snapshot-00000004', 'in'), { recursive: true });
      await expect(addSnapshot(store, models[2]!, [])).rejects.toThrow();
      rmSync(join(folder, 'snapshot-00000004'), { recursive: true });
    }
    expect(readdirSync(folder)).toEqual(names);
    expectContent(folder, 3, models[2]!);
    using snapshots = openSnapshots(folder);
    expect((await snapshots.verify()).problems).toEqual([]);
  });

  test("leaves others' files alone, whatever they are called", async () => {
    const folder = newFolder();
    mkdirSync(folder);
    const film = join(folder, 'film.mkv.part');
    writeFileSync(film, 'half of it');
    expect(reasonOf(() => StoreWriter.open(folder, ABOUT))).toBe('not-empty');
    rmSync(film);
    await fill(folder, 1);
    writeFileSync(film, 'half of it');
    await fill(folder, 1);
    expect(readFileSync(film, 'utf8')).toBe('half of it');
  });

  test('has one writer at a time, of one process', async () => {
    const folder = newFolder();
    using _ = StoreWriter.open(folder, ABOUT);
    expect(reasonOf(() => StoreWriter.open(folder, ABOUT))).toBe('busy');
    expect(reasonOf(() => StoreWriter.open(folder, { ...ABOUT, startTime: 18 }))).toBe('other-process');
    const other = newFolder();
    mkdirSync(other);
    writeFileSync(join(other, 'notes.txt'), 'mine');
    expect(reasonOf(() => StoreWriter.open(other, ABOUT))).toBe('not-empty');
    expect(readFileSync(join(other, 'notes.txt'), 'utf8')).toBe('mine');
  });

  test('of format 1 stays whole when it cannot be made one of format 2', async () => {
    const folder = newFolder();
    const models = await fill(folder, 2);
    const path = join(folder, 'store.json');
    const old = JSON.stringify({ schema: 'pagemap-scan/snapshots@1', process: ABOUT });
    writeFileSync(path, old);
    // Where the new one is written first.
    mkdirSync(`${path}.part`);
    expect(() => StoreWriter.open(folder, ABOUT)).toThrow();
    expect(readFileSync(path, 'utf8')).toBe(old);
    expectContent(folder, 2, models[1]!);
    rmSync(`${path}.part`, { recursive: true });
    StoreWriter.open(folder, ABOUT)[Symbol.dispose]();
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ schema: 'pagemap-scan/snapshots@2' });
    expectContent(folder, 2, models[1]!);
  });

  test('of another version, or none, is told as such', () => {
    const folder = newFolder();
    expect(reasonOf(() => openSnapshots(folder))).toBe('not-found');
    mkdirSync(folder);
    expect(reasonOf(() => openSnapshots(folder))).toBe('not-found');
    writeFileSync(join(folder, 'store.json'), '{"schema":"pagemap-scan/snapshots@9","process":{}}');
    expect(reasonOf(() => openSnapshots(folder))).toBe('version');
    const machine = (architecture: string, pageSizeBytes: number) =>
      writeFileSync(
        join(folder, 'store.json'),
        JSON.stringify({
          schema: 'pagemap-scan/snapshots@2',
          process: ABOUT,
          machine: { architecture, pageSizeBytes, userSpaceEnd: 2 ** 47 },
        }),
      );
    machine('arm64', PAGE_SIZE);
    expect(reasonOf(() => openSnapshots(folder)[Symbol.dispose]())).toBe('none');
    machine('riscv64', PAGE_SIZE);
    expect(reasonOf(() => openSnapshots(folder))).toBe('version');
    machine('arm64', 65536);
    expect(reasonOf(() => openSnapshots(folder))).toBe('version');
    writeFileSync(
      join(folder, 'store.json'),
      JSON.stringify({ schema: 'pagemap-scan/snapshots@2', process: ABOUT }),
    );
    expect(reasonOf(() => openSnapshots(folder))).toBe('damaged');
    for (const userSpaceEnd of [-4096, 0, 4095, 2 ** 53, null]) {
      const machine =
        userSpaceEnd === null ? null : { architecture: 'x64', pageSizeBytes: PAGE_SIZE, userSpaceEnd };
      writeFileSync(
        join(folder, 'store.json'),
        JSON.stringify({ schema: 'pagemap-scan/snapshots@2', process: ABOUT, machine }),
      );
      expect(
        reasonOf(() => openSnapshots(folder)),
        String(userSpaceEnd),
      ).toBe('damaged');
    }
    writeFileSync(join(folder, 'store.json'), 'null');
    expect(reasonOf(() => openSnapshots(folder))).toBe('version');
    writeFileSync(join(folder, 'store.json'), '{"sche');
    expect(reasonOf(() => openSnapshots(folder))).toBe('damaged');
  });
});

describe('names of snapshots', () => {
  test('a time is that of the last snapshot that is not later, also where a clock was set back', async () => {
    const folder = newFolder();
    {
      using store = StoreWriter.open(folder, ABOUT);
      for (const time of ['12:00:00', '11:00:00', '11:00:10'])
        await addSnapshot(store, new Map([[0, 1]]), [], Date.parse(`2026-11-29T${time}`));
    }
    using snapshots = openSnapshots(folder);
    expect(snapshots.find('2026-11-29T11:30')).toBe(3);
    expect(snapshots.find('2026-11-29T11:00:05')).toBe(2);
  });

  test('are numbers, places from the end, and times', async () => {
    const folder = newFolder();
    {
      using store = StoreWriter.open(folder, ABOUT, { keep: 4 });
      for (let turn = 0; turn < 6; turn++)
        await addSnapshot(store, new Map([[0, turn + 1]]), [], Date.parse(`2026-11-29T10:0${turn}:30`));
    }
    using snapshots = openSnapshots(folder);
    expect(
      ['latest', '4', '-1', '-4', '2026-11-29T10:04', '2026-11-30'].map((which) => snapshots.find(which)),
    ).toEqual([6, 4, 6, 3, 4, 6]);
    for (const which of ['2', '7', '-5', '-0', '2026-11-29T10:02', 'soon', '', '1e1'])
      expect(
        reasonOf(() => snapshots.find(which)),
        which,
      ).toBe('not-found');
  });
});

describe('damage', () => {
  /** Flips a byte of a file for as long as it is looked at. */
  async function verifyWith(folder: string, name: string, at: number) {
    const path = join(folder, name);
    const bytes = readFileSync(path);
    bytes[at]! ^= 0x20;
    writeFileSync(path, bytes);
    using snapshots = openSnapshots(folder);
    const found = await snapshots.verify();
    bytes[at]! ^= 0x20;
    writeFileSync(path, bytes);
    return found;
  }

  test('is found in every kind of byte, and told of the snapshots that have it', async () => {
    const folder = newFolder();
    {
      using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
      await addSnapshot(store, new Map([[0, 1]]));
      await addSnapshot(store, new Map([[0, 2]]), []);
      await addSnapshot(store, new Map([[0, 2]]), []);
    }
    const headBytes = 32 + 16 + 4;
    const second = 64 + Math.ceil((headBytes + PAGE_SIZE) / 64) * 64;
    for (const [at, damaged] of [
      // The file's head: the pages can be had.
      [0, []],
      [63, []],
      // Magic, count, compression, length, all kinds of check values, the page.
      ...[0, 4, 5, 8, 16, 32, 48, headBytes, headBytes + PAGE_SIZE - 1].map(
        (offset) => [64 + offset, [1]] as const,
      ),
      [second + headBytes + 100, [2, 3]],
      [second + headBytes + PAGE_SIZE - 1, [2, 3]],
    ] as const) {
      const found = await verifyWith(folder, 'data-00000001', at);
      expect(found.problems.length, `byte ${at}`).toBeGreaterThan(0);
      expect(found.damaged, `byte ${at}`).toEqual(damaged);
    }
    for (const at of [0, 9, 25, 57, 90]) {
      expect((await verifyWith(folder, 'snapshot-00000001', at)).damaged).toEqual([1, 2, 3]);
      expect((await verifyWith(folder, 'snapshot-00000002', at)).damaged).toEqual([2, 3]);
      expect((await verifyWith(folder, 'snapshot-00000003', at)).problems.length).toBeGreaterThan(0);
    }
    using snapshots = openSnapshots(folder);
    expect((await snapshots.verify()).problems).toEqual([]);
  });

  test('of a page that was read before, and of which others are read, is not handed out', async () => {
    const folder = newFolder();
    using store = StoreWriter.open(folder, ABOUT, { compression: 'none', keep: 1 });
    const pages = (first: number) => new Map(Array.from({ length: 64 }, (_, page) => [page, first + page]));
    await addSnapshot(store, pages(1));
    using snapshots = openSnapshots(folder);
    const snapshot = snapshots.open(1);
    const page = (index: number) => snapshot.page(START + index * PAGE_SIZE)!;
    expect(Buffer.compare(page(22), pageOfNumber(23))).toBe(0);
    // It is dropped meanwhile, and its blocks become holes.
    await addSnapshot(store, pages(1001), []);
    expect(reasonOf(() => page(29))).toBe('damaged');
    expect(reasonOf(() => page(22))).toBe('damaged');
  });

  test('of a page is not handed out', async () => {
    const folder = newFolder();
    await fill(folder, 1, { compression: 'none' });
    const path = join(folder, 'data-00000001');
    const bytes = readFileSync(path);
    bytes[bytes.length - 500]! ^= 1;
    writeFileSync(path, bytes);
    using snapshots = openSnapshots(folder);
    const snapshot = snapshots.open(1);
    expect(
      reasonOf(() => {
        for (let page = 0; page < 64; page++) snapshot.page(START + page * PAGE_SIZE);
      }),
    ).toBe('damaged');
    // Whoever adds to it would build on what is not so.
    await expect(snapshots.verify()).resolves.toMatchObject({ damaged: [1] });
  });
});

describe('comparing', () => {
  test('tells the bytes that changed, and pages that were rewritten with what they held', async () => {
    const folder = newFolder();
    {
      using store = StoreWriter.open(folder, ABOUT);
      await addSnapshot(
        store,
        new Map([
          [0, 1],
          [1, 2],
          [2, 3],
          [5, 9],
        ]),
      );
      const page = 0x7f00_0000_0000 / PAGE_SIZE;
      await addSnapshot(
        store,
        new Map([
          [0, 1],
          [1, 20],
          [3, 4],
          [5, 9],
        ]),
        [
          [page, 2, 0],
          [page + 5, 1, 0],
        ],
      );
      await addSnapshot(
        store,
        new Map([
          [0, 1],
          [1, 2],
          [3, 4],
          [5, 9],
        ]),
        [[page + 1, 1, 0]],
      );
    }
    using snapshots = openSnapshots(folder);
    const one = await snapshots.diff(1, 2, { ranges: true });
    // A number is in 64 places of a page.
    const same = (a: number, b: number) => {
      const [first, second] = [pageOfNumber(a), pageOfNumber(b)];
      return first.filter((byte, at) => byte !== second[at]).length;
    };
    const bytes = same(2, 20) + same(3, 0) + same(0, 4);
    expect(one).toMatchObject({ from: 1, to: 2, changedPages: 3, changedBytes: bytes, rewrittenPages: 2 });
    const ranges = one.mappings[0]!.ranges;
    expect(ranges[0]!.start).toBeGreaterThanOrEqual(START + PAGE_SIZE);
    expect(
      ranges.every(({ end }, index) => end <= (ranges[index + 1]?.start ?? Number.POSITIVE_INFINITY)),
    ).toBe(true);
    // Over both intervals page 1 is as before, though it was other in between.
    expect(await snapshots.diff(1, 3)).toMatchObject({ changedPages: 2, rewrittenPages: 3 });
    await expect(snapshots.diff(3, 1)).rejects.toMatchObject({ reason: 'not-found' });
  });

  test('tells when bytes changed, and from what to what', async () => {
    const folder = newFolder();
    {
      using store = StoreWriter.open(folder, ABOUT);
      const page = 0x7f00_0000_0000 / PAGE_SIZE;
      await addSnapshot(store, new Map());
      await addSnapshot(store, new Map([[0, 7]]), [[page, 1, 0]]);
      await addSnapshot(store, new Map([[0, 7]]), [[page, 1, 0]]);
      await addSnapshot(
        store,
        new Map([
          [0, 7],
          [1, 1],
        ]),
        [[page + 1, 1, 0]],
      );
      await addSnapshot(
        store,
        new Map([
          [0, 8],
          [1, 1],
        ]),
        [[page, 1, 0]],
      );
    }
    using snapshots = openSnapshots(folder);
    const values = snapshots.history(START + 64, 8).map(({ number, bytes, writtenSame }) => ({
      number,
      value: new DataView(bytes!.buffer).getFloat64(0, true),
      writtenSame,
    }));
    expect(values).toEqual([
      { number: 1, value: 0, writtenSame: 0 },
      { number: 2, value: 71, writtenSame: 1 },
      { number: 5, value: 72, writtenSame: 0 },
    ]);
    // Across pages, and where nothing is.
    expect(snapshots.history(START + PAGE_SIZE - 4, 12).map(({ number }) => number)).toEqual([1, 4]);
    expect(snapshots.history(0x1000, 8)).toMatchObject([{ number: 1, bytes: undefined }]);
  });
});
