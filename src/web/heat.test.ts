import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../abi/index.js';
import type { HeatModel } from '../model/index.js';
import { RecentWrites } from '../record/internal.js';
import { HeatStore, WINDOWS_MS } from './heat.js';
import { Store } from './page/store.js';

const MIB = 2 ** 20;
const UNBOUNDED = { columns: 1e6, numbers: 1e9, full: 'drop' } as const;

function mapping(start: number, end: number, name = 'm') {
  return { start, end, name, writtenPages: 0, isNew: false };
}

const perms = () => 'rw-p';

function pagesOf({ bands }: HeatModel): number {
  return bands.reduce(
    (sum, { cells }) => sum + cells.reduce((own, value, at) => (at % 3 === 2 ? own + value : own), 0),
    0,
  );
}

describe('heat', () => {
  test('pages stand in the bucket of their address', () => {
    const store = new HeatStore(UNBOUNDED);
    const start = 0x7000_0000_0000;
    store.add(start + PAGE_SIZE, start + 3 * PAGE_SIZE);
    const { cells, bands } = store.endInterval([mapping(start, start + 8 * PAGE_SIZE)], 0, 100, perms);
    expect(bands[0]).toMatchObject({ start, bucketBytes: PAGE_SIZE, kind: 'file', perms: 'rw-p' });
    expect(cells).toEqual([[bands[0]!.id, 1, 1, 2, 1]]);
  });

  test('a mapping that grows at either end stays one band, and its old buckets are joined', () => {
    const store = new HeatStore(UNBOUNDED);
    const start = 0x7000_0000_0000;
    store.add(start, start + 2 * PAGE_SIZE);
    const first = store.endInterval([mapping(start, start + MIB)], 0, 100, perms);
    store.add(start - 4 * MIB, start - 4 * MIB + PAGE_SIZE);
    const second = store.endInterval([mapping(start - 4 * MIB, start + 2 * MIB)], 100, 200, perms);
    expect(second.bands[0]!.id).toBe(first.bands[0]!.id);
    const { bands } = store.model();
    expect(bands).toHaveLength(1);
    const { origin, bucketBytes, cells } = bands[0]!;
    expect(bucketBytes).toBeGreaterThan(PAGE_SIZE);
    expect(cells.filter((_, at) => at % 3 === 2)).toEqual([2, 1]);
    expect(cells[1]).toBe(Math.floor((start - origin) / bucketBytes));
    expect(cells[4]).toBe(Math.floor((start - 4 * MIB - origin) / bucketBytes));
  });

  test('what the page makes of updates is what it makes of the whole', () => {
    const server = new HeatStore(UNBOUNDED);
    const page = new Store();
    let end = MIB;
    let written = 0;
    for (let interval = 0; interval < 30; interval++) {
      end += (interval % 4) * MIB;
      for (let count = 0; count < 5; count++) {
        const at =
          (((interval * 7919 + count * 104_729) % (end / PAGE_SIZE / 5)) + (count * end) / PAGE_SIZE / 5) | 0;
        server.add(at * PAGE_SIZE, (at + 1) * PAGE_SIZE);
        written++;
      }
      const update = server.endInterval([mapping(0, end)], interval * 100, (interval + 1) * 100, perms);
      page.take({ type: 'column', ...update, ownShare: 0 });
    }
    const model = server.model();
    expect(pagesOf(model)).toBe(written);
    const other = new Store();
    other.load({
      schema: 'pagemap-scan/page@1',
      about: { pid: 1, name: '', source: 'live', beganAt: 0, intervalMs: 100 },
      tracking: { state: 'on' },
      layout: null,
      heat: model,
      notes: [],
    });
    const cellsIn = (store: Store) =>
      [...store.bands.values()].map((band) => [...band.cells].map(([column, pairs]) => [column, ...pairs]));
    expect(cellsIn(page)).toEqual(cellsIn(other));
    expect(page.columns.map(({ pages }) => pages)).toEqual(other.columns.map(({ pages }) => pages));
  });

  test('it stays in its bounds: the oldest goes, or all is joined and nothing lost', () => {
    const limits = { columns: 16, numbers: 1000 };
    const dropping = new HeatStore({ ...limits, full: 'drop' });
    const joining = new HeatStore({ ...limits, full: 'join' });
    let written = 0;
    for (let interval = 0; interval < 500; interval++) {
      for (const store of [dropping, joining]) {
        for (let page = 0; page < 40; page += 2) store.add(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
        store.endInterval([mapping(0, 64 * PAGE_SIZE)], interval * 100, (interval + 1) * 100, perms);
      }
      written += 20;
    }
    const dropped = dropping.model();
    expect(dropped.columns).toHaveLength(16);
    expect(dropped.columns.at(-1)!.endMs).toBe(50_000);
    const joined = joining.model();
    expect(joined.columns.length).toBeLessThanOrEqual(16);
    expect(joined.columns[0]!.startMs).toBe(0);
    expect(joined.columns.reduce((sum, { intervals }) => sum + (intervals ?? 1), 0)).toBe(500);
    expect(pagesOf(joined)).toBe(written);
  });

  test('a mapping that is gone is forgotten when its last column is', () => {
    const store = new HeatStore({ columns: 4, numbers: 1000, full: 'drop' });
    store.add(0, PAGE_SIZE);
    store.endInterval([mapping(0, MIB, 'old')], 0, 100, perms);
    for (let interval = 1; interval < 20; interval++) {
      const { bands } = store.endInterval(
        [mapping(2 * MIB, 3 * MIB)],
        interval * 100,
        (interval + 1) * 100,
        perms,
      );
      if (interval === 1) expect(bands.find(({ name }) => name === 'old')?.gone).toBe(true);
    }
    expect(store.model().bands.map(({ name }) => name)).toEqual(['m']);
  });
});

describe('the working set', () => {
  test('of each owner: a page counts where its last write did, whoever owns it now', () => {
    const recent = new RecentWrites(WINDOWS_MS);
    const log: Map<number, number>[] = [];
    let state = 11;
    const next = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    for (let column = 0; column < 300; column++) {
      // Mappings move: the border between owners 1 and 2 does, and 3 comes and goes.
      const border = 500 + Math.floor(next() * 1000);
      const owners = new Map<number, number>();
      for (let count = 0; count < 30; count++) {
        const page = Math.floor(next() ** 2 * 2500);
        if (owners.has(page)) continue;
        const owner = page < border ? 1 : page > 2000 && column % 40 < 20 ? 3 : 2;
        owners.set(page, owner);
        recent.add(page * PAGE_SIZE, (page + 1) * PAGE_SIZE, owner);
      }
      log.push(owners);
      const totals = recent.endColumn(column * 500, (column + 1) * 500);
      const expected = new Map<number, number[]>();
      WINDOWS_MS.forEach((window, index) => {
        const last = new Map<number, number>();
        for (const written of log.slice(-window / 500)) {
          for (const [page, owner] of written) last.set(page, owner);
        }
        for (const owner of last.values()) {
          const sizes = expected.get(owner) ?? WINDOWS_MS.map(() => 0);
          sizes[index]!++;
          expected.set(owner, sizes);
        }
        expect([column, totals[index]]).toEqual([column, last.size]);
      });
      const sorted = (sizes: Map<number, number[]>) => [...sizes].sort(([a], [b]) => a - b);
      expect([column, sorted(recent.byOwner())]).toEqual([column, sorted(expected)]);
    }
  });

  test('of mappings: the largest are told, and joined columns have the most of each', () => {
    const store = new HeatStore({ columns: 4, numbers: 1e6, full: 'join' });
    const mappings = Array.from({ length: 60 }, (_, index) =>
      mapping(index * MIB, index * MIB + MIB, `${index}`),
    );
    let ids: number[] = [];
    for (let interval = 0; interval < 5; interval++) {
      for (let index = 0; index < 60; index++) {
        store.add(index * MIB, index * MIB + (index + 1) * PAGE_SIZE);
      }
      const { column, bands } = store.endInterval(mappings, interval * 1000, (interval + 1) * 1000, perms);
      if (interval === 0) ids = bands.map(({ id }) => id);
      expect(column.byBand).toHaveLength(50);
      expect(column.byBand![0]).toEqual([ids[59], 60, 60, 60]);
      expect(column.byBand!.at(-1)).toEqual([ids[10], 11, 11, 11]);
    }
    const { columns } = store.model();
    expect(columns.length).toBeLessThan(5);
    expect(columns[0]!.byBand![0]).toEqual([ids[59], 60, 60, 60]);
  });

  test('is the number of distinct pages in each window, as counted one by one', () => {
    const recent = new RecentWrites(WINDOWS_MS);
    const log: Set<number>[] = [];
    let state = 7;
    for (let column = 0; column < 400; column++) {
      const pages = new Set<number>();
      for (let count = 0; count < 20; count++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        const page = Math.floor((state / 2 ** 32) ** 3 * 3000);
        pages.add(page);
        recent.add(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
      }
      log.push(pages);
      const sizes = recent.endColumn(column * 500, (column + 1) * 500);
      const expected = WINDOWS_MS.map((window) => {
        const distinct = new Set<number>();
        for (const set of log.slice(-window / 500)) for (const page of set) distinct.add(page);
        return distinct.size;
      });
      expect([column, sizes]).toEqual([column, expected]);
    }
  });
});
