/** Histories of bytes: what page indexes save, and that they change nothing; and stores that earlier versions wrote. */
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { USER_SPACE_END } from '../../src/abi/index.js';
import { indexFile, manifestFile } from '../../src/snapshot/files.js';
import { openSnapshots } from '../../src/snapshot/index.js';
import { bitOf, encodeIndex, findTouching } from '../../src/snapshot/page-index.js';
import { SPAN, Touches } from '../../src/snapshot/touches.js';
import { testFolders } from '../support/folders.js';
import { randomBelow } from '../support/random.mjs';
import {
  ABOUT,
  addSnapshot,
  FIRST_PAGE,
  type Model,
  mappingOf,
  PAGE_SIZE,
  START,
  StoreWriter,
} from '../support/snapshot-store.js';

const newFolder = testFolders('history');

const SEED = 5;
const PAGES = 48;
/** Memory that comes and goes, and that nobody touches. */
const OTHER = START + 2 ** 30;

/** Snapshots of pages that are written, with the same bytes or others, dropped, and of mappings that come and go, in a few runs. */
async function fill(folder: string, runs: readonly number[], keep?: number): Promise<void> {
  const below = randomBelow(SEED);
  const model: Model = new Map();
  let hasOther = false;
  let end = PAGES;
  for (const count of runs) {
    using store = StoreWriter.open(folder, ABOUT, { compression: 'none', keep });
    for (let turn = 0; turn < count; turn++) {
      const written = new Set<number>();
      for (let writes = below(4); writes > 0; writes--) {
        const page = below(PAGES);
        written.add(page);
        const kind = below(6);
        if (kind === 0) model.delete(page);
        else if (kind < 5) model.set(page, below(4) === 0 ? below(3) : store.newest * 100 + writes + 10);
      }
      if (below(20) === 0) hasOther = !hasOther;
      // The last pages are unmapped now and then, and are zero when they are back.
      if (below(12) === 0) end = PAGES - below(3);
      for (let page = end; page < PAGES; page++) model.delete(page);
      const ranges = [...written].sort((a, b) => a - b).map((page) => [FIRST_PAGE + page, 1, 0] as const);
      const mappings = [
        mappingOf(START, START + end * PAGE_SIZE),
        ...(hasOther ? [mappingOf(OTHER, OTHER + 2 ** 40)] : []),
      ];
      await addSnapshot(store, model, turn === 0 ? undefined : ranges, undefined, { mappings });
    }
  }
}

const indexesOf = (folder: string) => readdirSync(folder).filter((name) => name.startsWith('index-'));

/** The histories of bytes of each page, across pages, and where mappings come and go. */
function histories(folder: string) {
  using snapshots = openSnapshots(folder);
  const places: [number, number][] = [
    [START - 8, 16],
    [OTHER, 8],
    [OTHER + 2 ** 39, 3 * PAGE_SIZE],
    [START + PAGE_SIZE - 4, 5 * PAGE_SIZE],
  ];
  for (let page = 0; page < PAGES; page++) places.push([START + page * PAGE_SIZE + 64, 8]);
  return places.map(([address, lengthBytes]) =>
    snapshots.history(address, lengthBytes).map(({ bytes, ...entry }) => ({
      ...entry,
      bytes: bytes === undefined ? undefined : createHash('sha256').update(bytes).digest('hex'),
    })),
  );
}

/** The same of a copy of a store without indexes: all manifests are read then. */
function historiesWithoutIndexes(folder: string) {
  const copy = newFolder();
  cpSync(folder, copy, { recursive: true });
  for (const name of indexesOf(copy)) rmSync(join(copy, name));
  return histories(copy);
}

describe('history', () => {
  test(`is the same with page indexes and without (seed ${SEED})`, async () => {
    const folder = newFolder();
    await fill(folder, [100, 3, 200]);
    expect(indexesOf(folder)).toEqual(['index-00000001', 'index-00000002']);
    const found = histories(folder);
    expect(found).toEqual(historiesWithoutIndexes(folder));
    // Memory that is there at times is told as such, of untouched pages, too.
    expect(new Set(found[1]!.map(({ bytes }) => bytes === undefined)).size).toBe(2);
    expect(found.filter((entries) => entries.length > 3).length).toBeGreaterThan(PAGES / 2);
    expect(found.flat().some(({ writtenSame }) => writtenSame > 0)).toBe(true);
    using snapshots = openSnapshots(folder);
    expect((await snapshots.verify()).problems).toEqual([]);
  });

  test('is the same of what is kept, and indexes go with their snapshots', async () => {
    const folder = newFolder();
    await fill(folder, [300, 250], 200);
    expect(indexesOf(folder)).toEqual(['index-00000003', 'index-00000004']);
    expect(histories(folder)).toEqual(historiesWithoutIndexes(folder));
  });

  test('reads no manifests of snapshots that do not touch the page', async () => {
    const folder = newFolder();
    {
      using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
      for (let turn = 1; turn <= SPAN; turn++)
        await addSnapshot(
          store,
          new Map([
            [1, turn],
            [2, turn < 60 ? 1 : 2],
          ]),
          turn === 1 ? undefined : [[FIRST_PAGE + 1, 1, 0]],
        );
    }
    const numbersOf = (page: number) => {
      using snapshots = openSnapshots(folder);
      return snapshots.history(START + page * PAGE_SIZE, 8).map(({ number }) => number);
    };
    expect(numbersOf(2)).toEqual([1, 60]);
    // The newest one is asked which count.
    for (let number = 2; number < SPAN; number++)
      if (number !== 60) writeFileSync(manifestFile(folder, number), 'nothing');
    expect(numbersOf(2)).toEqual([1, 60]);
    // Of another page, all that touch it were asked for.
    const damaged: number[] = [];
    using snapshots = openSnapshots(folder);
    snapshots.history(START + PAGE_SIZE, 8, { onDamaged: (number) => damaged.push(number) });
    expect(damaged).toContain(2);
  });

  test('goes by the manifests where an index is missing or damaged, and the next writer makes it anew', async () => {
    const folder = newFolder();
    await fill(folder, [SPAN + 10]);
    const path = indexFile(folder, 1);
    const whole = readFileSync(path);
    const expected = histories(folder);
    for (const at of [0, 9, 25, 33, 41, 49, 60, whole.length - 1]) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 0x10;
      writeFileSync(path, bytes);
      expect(histories(folder), `byte ${at}`).toEqual(expected);
      using snapshots = openSnapshots(folder);
      const { problems, damaged } = await snapshots.verify();
      expect([problems.length, damaged], `byte ${at}`).toEqual([1, []]);
    }
    writeFileSync(path, Buffer.concat([whole, Buffer.from('more')]));
    {
      using snapshots = openSnapshots(folder);
      expect((await snapshots.verify()).problems).toHaveLength(1);
    }
    rmSync(path);
    writeFileSync(indexFile(folder, 7), whole);
    writeFileSync(`${indexFile(folder, 2)}.part`, 'half');
    StoreWriter.open(folder, ABOUT)[Symbol.dispose]();
    // Of the first snapshot nobody asks: a history begins with it.
    expect(readdirSync(folder).filter((name) => name.startsWith('index'))).toEqual(['index-00000001']);
    expect(histories(folder)).toEqual(expected);
  });

  test(`a page index tells of each page which snapshots touch it (seed ${SEED})`, () => {
    const below = randomBelow(SEED);
    const touches = new Touches();
    const model: Set<number>[] = Array.from({ length: 20_000 }, () => new Set());
    for (let snapshot = 129; snapshot <= 256; snapshot++) {
      const pages = [...new Set(Array.from({ length: 100 }, () => below(model.length)))].sort(
        (a, b) => a - b,
      );
      // Some pages are touched each time.
      const spans = [...pages.filter((page) => page > 100).map((page) => [page, page + 1] as const)];
      touches.add(bitOf(snapshot), [[7, 9], ...spans]);
      for (const page of [7, 8, ...spans.map(([page]) => page)]) model[page]!.add(snapshot);
    }
    const folder = newFolder();
    mkdirSync(folder);
    writeFileSync(indexFile(folder, 2), encodeIndex(touches, 129));
    const found = (first: number, end: number) => {
      const touching = findTouching(folder, 2, [first, end])!;
      expect(touching.from).toBe(129);
      return Array.from({ length: SPAN }, (_, index) => 129 + index).filter(touching.has);
    };
    const expected = (first: number, end: number) =>
      [...new Set(model.slice(first, end).flatMap((each) => [...each]))].sort((a, b) => a - b);
    for (const page of [0, 6, 7, 8, 9, ...Array.from({ length: 2000 }, () => below(model.length))])
      expect(found(page, page + 1), `page ${page}`).toEqual(expected(page, page + 1));
    for (const [first, end] of [
      [0, 7],
      [9, 3000],
      [5000, 5020],
      [0, 30_000],
      [25_000, 30_000],
    ] as const)
      expect(found(first, end), `pages ${first} to ${end}`).toEqual(expected(first, end));
    expect(findTouching(folder, 3, [0, 1])).toBeUndefined();
  });
});

describe('a store of format 1, without page indexes', () => {
  interface Fixture {
    readonly start: string;
    readonly pages: number;
    readonly content: Record<string, string>;
    readonly history: Record<string, [number: number, bytes: string | null, writtenSame: number][]>;
    readonly diff: { from: number; to: number; changedPages: number; changedBytes: number };
    readonly files: Record<string, string>;
  }
  const fixture: Fixture = JSON.parse(readFileSync(join(import.meta.dirname, 'store-1.json'), 'utf8'));

  function unpack(): string {
    const folder = newFolder();
    mkdirSync(folder);
    for (const [name, bytes] of Object.entries(fixture.files))
      writeFileSync(join(folder, name), Buffer.from(bytes, 'base64'));
    return folder;
  }

  function expectContent(folder: string, numbers: readonly string[]): void {
    using snapshots = openSnapshots(folder);
    for (const number of numbers) {
      const bytes = snapshots
        .open(number)
        .read(Number.parseInt(fixture.start, 16), fixture.pages * PAGE_SIZE);
      expect(createHash('sha256').update(bytes).digest('hex').slice(0, 16), number).toBe(
        fixture.content[number],
      );
    }
  }

  test('is read: each snapshot, histories, differences', async () => {
    const folder = unpack();
    expectContent(folder, Object.keys(fixture.content));
    using snapshots = openSnapshots(folder);
    expect(snapshots.numbers().map(String)).toEqual(Object.keys(fixture.content));
    for (const [address, entries] of Object.entries(fixture.history)) {
      const found = snapshots
        .history(Number.parseInt(address, 16), 8)
        .map(({ number, bytes, writtenSame }) => [
          number,
          bytes === undefined ? null : Buffer.from(bytes).toString('hex'),
          writtenSame,
        ]);
      expect(found, address).toEqual(entries);
    }
    expect(await snapshots.diff(fixture.diff.from, fixture.diff.to)).toMatchObject(fixture.diff);
    expect(await snapshots.verify()).toMatchObject({ snapshots: 20, pages: 57, problems: [] });
    // It does not say so: there were no others.
    expect(snapshots.machine).toEqual({
      architecture: 'x64',
      pageSizeBytes: PAGE_SIZE,
      userSpaceEnd: USER_SPACE_END,
    });
    expect(snapshots.open(24).threads).toEqual([]);
  });

  test('goes on', async () => {
    const folder = unpack();
    {
      using store = StoreWriter.open(folder, ABOUT);
      await addSnapshot(store, new Map([[0, 1]]));
    }
    expectContent(folder, Object.keys(fixture.content));
    // What was added is not of format 1.
    expect(JSON.parse(readFileSync(join(folder, 'store.json'), 'utf8'))).toMatchObject({
      schema: 'pagemap-scan/snapshots@2',
      process: ABOUT,
      machine: { architecture: 'x64' },
    });
    using snapshots = openSnapshots(folder);
    expect(snapshots.numbers().at(-1)).toBe(25);
    expect(await snapshots.diff(24, 25)).toMatchObject({ to: 25, changedPages: expect.any(Number) });
    expect((await snapshots.verify()).problems).toEqual([]);
  });
});
