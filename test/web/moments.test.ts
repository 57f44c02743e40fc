/** The model of many snapshots: each is what it was, and it stays small. */
import { describe, expect, test } from 'vitest';
import { PAGE_IS_PRESENT } from '../../src/abi/index.js';
import { cellKind, MOMENT_LIMITS, type PageModel } from '../../src/model/index.js';
import { PAGE_KINDS, SUMMARY_RETURN } from '../../src/query/internal.js';
import { openSnapshots, SnapshotError } from '../../src/snapshot/index.js';
import { encodeRanges } from '../../src/snapshot/page-table.js';
import { reportHtml, snapshotsModel } from '../../src/web/index.js';
import { Moments } from '../../src/web/page/moments.js';
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

const newFolder = testFolders('moments');

const SEED = 12;
const OTHER = START + 2 ** 30;

/** Pages of the model are present, and no others. */
function presentPages(model: Model): Uint8Array {
  const pages = [...model.keys()].sort((a, b) => a - b);
  return encodeRanges(pages.map((page) => [FIRST_PAGE + page, 1, PAGE_IS_PRESENT]));
}

async function modelOf(folder: string, which?: string): Promise<PageModel> {
  using snapshots = openSnapshots(folder);
  return await snapshotsModel(snapshots, { which });
}

const numbersOf = ({ moments = [] }: PageModel) =>
  moments.reduce(
    (sum, { cells, heat }) => sum + [...cells, ...heat].reduce((all, { length }) => all + length, 0),
    0,
  );

describe('a model of snapshots', () => {
  test(`has the pages of each, and those that changed (seed ${SEED})`, async () => {
    const folder = newFolder();
    const below = randomBelow(SEED);
    const pages = 32;
    const models: Model[] = [];
    {
      using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
      const model: Model = new Map();
      for (let turn = 0; turn < 12; turn++) {
        for (let writes = below(5); writes > 0; writes--) {
          const page = below(pages);
          if (below(4) === 0) model.delete(page);
          else model.set(page, 100 * turn + writes);
        }
        models.push(new Map(model));
        await addSnapshot(store, model, turn === 0 ? undefined : [], undefined, {
          mappings: [
            mappingOf(START, START + pages * PAGE_SIZE),
            ...(turn > 2 && turn < 8 ? [mappingOf(OTHER, OTHER + 2 * PAGE_SIZE)] : []),
          ],
          categories: SUMMARY_RETURN,
          pageCategories: presentPages(model),
        });
      }
    }
    const model = await modelOf(folder);
    expect(model.about).toMatchObject({ pid: 4242, source: 'snapshots', intervalMs: 1000 });
    expect(model.moments!.map(({ number, atMs }) => [number, atMs])).toEqual(
      models.map((_, index) => [index + 1, index * 1000]),
    );
    const moments = new Moments(model.layout!, model.moments!);
    const untouched = PAGE_KINDS.indexOf('untouched');
    for (const index of [0, 5, 11, 3, ...models.keys()]) {
      moments.go(index);
      const { words, changed, mapping } = moments.at(START)!;
      const there = [...words].flatMap((word, cell) => (cellKind(word) === untouched ? [] : [cell]));
      expect(there, `pages of snapshot ${index + 1}`).toEqual(
        [...models[index]!.keys()].sort((a, b) => a - b),
      );
      expect(mapping.pages!.reduce<number>((sum, count) => sum + (count ?? 0), 0)).toBe(pages);
      expect(moments.at(OTHER) !== undefined).toBe(index > 2 && index < 8);
      const before = models[index - 1] ?? models[0]!;
      const expected = Array.from({ length: pages }, (_, page) => page).filter(
        (page) => before.get(page) !== models[index]!.get(page),
      );
      expect(
        [...changed].sort(([one], [other]) => one - other),
        `changes of snapshot ${index + 1}`,
      ).toEqual(expected.map((page) => [page, 1]));
      expect(moments.current.changedPages).toBe(expected.length);
    }
    // The same, as heat over time.
    const total = model.heat!.bands.reduce(
      (sum, { cells }) => sum + cells.filter((_, at) => at % 3 === 2).reduce((all, count) => all + count, 0),
      0,
    );
    expect(total).toBe(model.moments!.reduce((sum, { changedPages }) => sum + changedPages, 0));
    expect(model.heat!.columns.length).toBe(11);
    expect(reportHtml(model)).toContain('"moments":[');
    // One alone has nothing before it.
    expect((await modelOf(folder, '-2')).moments!.map(({ number }) => number)).toEqual([11]);
  });

  test('of too many shows some, at even distances, and says so; what changed between them is told', async () => {
    const folder = newFolder();
    const count = 2 * MOMENT_LIMITS.moments;
    {
      using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
      // A page each, and back: between two that are shown, both are other ones at some time.
      for (let turn = 0; turn < count; turn++)
        await addSnapshot(store, new Map([[turn % 2, 5]]), turn === 0 ? undefined : []);
    }
    const model = await modelOf(folder);
    const numbers = model.moments!.map(({ number }) => number);
    expect(numbers.length).toBe(MOMENT_LIMITS.moments);
    expect([numbers[0], numbers.at(-1)]).toEqual([1, count]);
    const steps = new Set(numbers.slice(1).map((number, index) => number - numbers[index]!));
    expect([...steps].sort()).toEqual([2, 3]);
    expect(model.notes.join(' ')).toContain(`The page shows ${MOMENT_LIMITS.moments} of ${count} snapshots`);
    expect(new Set(model.moments!.slice(1).map(({ changedPages }) => changedPages))).toEqual(new Set([2]));
  });

  test(`stays small: cells get larger until it fits (seed ${SEED})`, async () => {
    const folder = newFolder();
    const below = randomBelow(SEED);
    const pages = 40_000;
    {
      using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
      const model: Model = new Map(Array.from({ length: pages }, (_, page) => [page, 1 + (page % 4)]));
      for (let turn = 0; turn < 20; turn++) {
        // More cells of one page than there is room for.
        for (let page = below(2); page < pages; page += 2)
          model.set(page, 1 + (((model.get(page) ?? 0) + 1) % 4));
        await addSnapshot(store, model, turn === 0 ? undefined : [], undefined, {
          mappings: [mappingOf(START, START + pages * PAGE_SIZE)],
        });
      }
    }
    const model = await modelOf(folder);
    expect(model.moments!.length).toBe(20);
    expect(model.layout!.mappings[0]!.grid!.cellBytes).toBeGreaterThan(PAGE_SIZE);
    expect(numbersOf(model)).toBeLessThanOrEqual(MOMENT_LIMITS.numbers);
    // Nothing is known of what pages were: there are no counts.
    expect(model.layout!.mappings[0]!.pages).toBeUndefined();
    expect(model.moments![1]!.changedPages).toBe(pages / 2);
  });

  test('of what fits in no way is refused, and one of them alone is not', async () => {
    const folder = newFolder();
    const mappings = (from: number) =>
      Array.from({ length: 14_000 }, (_, index) => {
        const start = from + index * 2 * PAGE_SIZE;
        return mappingOf(start, start + PAGE_SIZE);
      });
    {
      using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
      for (let turn = 0; turn < 3; turn++)
        await addSnapshot(store, new Map(), turn === 0 ? undefined : [], undefined, {
          mappings: mappings(START + turn * PAGE_SIZE),
        });
    }
    const error = await modelOf(folder).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(SnapshotError);
    expect((error as Error).message).toContain(
      'their differences do not fit into one page; name one snapshot:',
    );
    expect((await modelOf(folder, 'latest')).layout!.mappings.length).toBe(14_000);
  });
});
