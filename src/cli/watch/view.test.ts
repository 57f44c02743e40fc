import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../abi/index.js';
import { BUCKETS, HeatModel, LogScale, MappingHeat } from './heat.js';
import { CellGrid } from './screen.js';
import { applyKey, drawView, initialState, parseKeys, type RunInfo, visibleMappings } from './view.js';

const page = (n: number) => n * PAGE_SIZE;
const MIB = 2 ** 20;

function model(): HeatModel {
  const heat = new HeatModel();
  const mappings = [
    { start: 0x10000000, end: 0x10000000 + MIB, name: '[heap]', writtenPages: 32 },
    { start: 0x20000000, end: 0x20000000 + 16 * MIB, name: '', writtenPages: 1024 },
    { start: 0x30000000, end: 0x30000000 + 4 * MIB, name: '/tmp/\x1b[31mevil', writtenPages: 0 },
  ];
  for (let interval = 0; interval < 3; interval++) {
    heat.begin(mappings);
    heat.add(0x10000000, 0x10000000 + page(32));
    heat.add(0x20000000 + 8 * MIB, 0x20000000 + 12 * MIB);
    heat.end(mappings, 1);
  }
  return heat;
}

const run: RunInfo = {
  pid: 77,
  name: 'redis-server',
  intervalMs: 1000,
  elapsedMs: 3_723_000,
  ownShare: 0.0123,
  lateIntervals: 2,
  untracked: 0,
};

function draw(columns: number, rows: number, state = initialState(), color = false): CellGrid {
  const grid = new CellGrid(columns, rows);
  drawView(grid, model(), state, run, color);
  return grid;
}

const lines = (grid: CellGrid) => Array.from({ length: grid.rows }, (_, row) => grid.line(row));

describe('the heat of a mapping', () => {
  test('adds up to the pages that were written, wherever they lie', () => {
    for (const [size, from, to] of [
      [1000, 3, 997],
      [10, 2, 3],
      [BUCKETS, 0, BUCKETS],
      [100_003, 5, 70_001],
    ] as const) {
      const mapping = new MappingHeat(page(50), page(50 + size), 'x');
      mapping.add(page(50 + from), page(50 + to));
      mapping.add(page(0), page(50));
      mapping.endInterval(to - from, 2);
      const sum = mapping.heat.reduce((total, value) => total + value, 0);
      expect(sum).toBeCloseTo((to - from) / 2, 6);
      for (const cells of [8, 60, 255, 256, 700]) {
        expect(mapping.strip(cells).reduce((total, value) => total + value, 0)).toBeCloseTo(
          (to - from) / 2,
          0,
        );
      }
      expect(mapping.rate).toBe((to - from) / 2);
    }
  });

  test('lies where the writes were, fades, and follows a mapping that grows', () => {
    const mapping = new MappingHeat(0, page(1024), 'x');
    mapping.add(page(512), page(516));
    mapping.endInterval(4, 1);
    expect(mapping.strip(16).map((value) => value > 0)).toEqual(
      Array.from({ length: 16 }, (_, cell) => cell === 8),
    );
    const before = mapping.strip(16)[8]!;
    mapping.endInterval(0, 1);
    expect(mapping.strip(16)[8]!).toBeGreaterThan(0);
    expect(mapping.strip(16)[8]!).toBeLessThan(before);
    mapping.resize(page(2048));
    expect(mapping.strip(16).findIndex((value) => value > 0)).toBe(4);
    for (let interval = 0; interval < 30; interval++) mapping.endInterval(0, 1);
    expect(mapping.strip(16).every((value) => value === 0)).toBe(true);
  });

  test('shows and finds mappings by their owners', () => {
    const heat = new HeatModel();
    const mappings = [1, 2].map((index) => ({
      start: index * 0x100000,
      end: index * 0x100000 + 0x10000,
      name: '',
      writtenPages: 1,
    }));
    heat.begin(mappings, ({ start }) =>
      start === 0x200000 ? { name: '[v8 old space]', kind: 'v8-old', sure: true } : undefined,
    );
    heat.end(mappings, 1);
    const found = (filter: string) =>
      visibleMappings(heat, { ...initialState(), filter }).map(({ start }) => start);
    expect([found('V8 old'), found('[anon]'), found('')]).toEqual([
      [0x200000],
      [0x100000],
      [0x100000, 0x200000],
    ]);
  });

  test('a mapping that is gone is forgotten, one of another name is new', () => {
    const heat = model();
    heat.begin([{ start: 0x10000000, end: 0x10001000, name: 'other', writtenPages: 0 }]);
    expect(heat.mappings).toHaveLength(1);
    expect(heat.mappings[0]!.totalPages).toBe(0);
    expect(heat.totalPages).toBe(3 * (32 + 1024));
  });
});

test('the scale is logarithmic, with its ends where they belong', () => {
  const scale = new LogScale(6561);
  expect([0, 0.5, 1, 2.9, 3.1, 81.1, 6560, 6561, 1e9].map((value) => scale.level(value))).toEqual([
    0, 1, 1, 1, 2, 5, 8, 9, 9,
  ]);
  for (let level = 2; level <= 9; level++) expect(scale.level(scale.least(level) * 1.0001)).toBe(level);
});

describe('the view', () => {
  test.each([30, 45, 60, 75, 76, 80, 90, 100, 104, 110, 111, 116])(
    'at %i columns no number is cut',
    (columns) => {
      const busy: RunInfo = {
        ...run,
        pid: 1_234_567,
        ...{ intervalMs: 1000, nextMs: 98_000, sampled: 0.05 },
        ...{ ownShare: 0.005, targetShare: 0.13, lateIntervals: 0, untracked: 12 },
      };
      const at = (columns: number, state = initialState()) => {
        const grid = new CellGrid(columns, 24);
        drawView(grid, model(), { ...state, onlyWritten: true }, busy, false);
        return lines(grid);
      };
      for (const sort of ['rate', 'total', 'size'] as const) {
        const [narrow, wide] = [columns, 300].map((each) => at(each, { ...initialState(), sort }));
        // With what stands behind them: of a number that is cut, another unit or none would be left.
        const numbers = (text: string) =>
          text.match(/\d[\d.,:x]*[0-9a-f]*( (%|[µm]?s\b|[KMG]?i?B(\/s)?|(interval|mapping)s?))?/g) ?? [];
        for (const row of [0, 1, 2]) {
          expect(numbers(wide![row]!)).toEqual(expect.arrayContaining(numbers(narrow![row]!)));
          expect(wide![row]!.replace(/ …$/, '')).toContain(narrow![row]!.replace(/ +\S*…\S*$/, ''));
        }
        for (const row of [4, 5]) {
          const before = (text: string) => numbers(text.replace(/ [\d.]{10,}.*/, ''));
          expect(numbers(wide![row]!)).toEqual(expect.arrayContaining(before(narrow![row]!)));
        }
        expect(narrow![22]).toMatch(/^scale, by address: 1 any( {2}\d [\d.]+ [KMG]iB\/s)*( {2}a cell.*)?$/);
        expect(narrow![3]).toMatch(/ BY ADDRESS {2,}(BY TIME {2,})?(NAME)?/);
        expect(narrow![4]!.match(/ ([\d.]{10,})( |$)/)?.[1]?.length ?? columns).toBeGreaterThanOrEqual(10);
        if (columns < 60) continue;
        expect(narrow![2]).toMatch(
          /^costs the tool 0.5 %, the process 13 %( {3}12 mappings cannot be tracked)?$/,
        );
        expect(narrow![3]).toContain(` ${sort.toUpperCase()}*`);
        expect(narrow![3]).toMatch(/ NAME$/);
        expect(narrow![3]!.includes('BY TIME')).toBe(columns > 110);
        if (sort === 'rate') expect(narrow![3]!.includes('TOTAL')).toBe(columns > 75);
      }
    },
  );

  test.each([
    [80, 24],
    [110, 30],
    [200, 60],
  ])('at %i by %i, its help is whole, and the way there is told', (columns, rows) => {
    const help = lines(draw(columns, rows, { ...initialState(), help: true }))
      .map((line) => line.trim())
      .join(' ')
      .replaceAll(/ +/g, ' ');
    for (const part of [
      'each cell an equal part of it; the digits',
      'the whole mapping over the last intervals.',
      'Enter keeps it, Esc clears',
      'nothing is lost meanwhile',
      'end, with a summary',
    ])
      expect(help).toContain(part);
    const foot = lines(draw(columns, rows, { ...initialState(), onlyWritten: true })).at(-1);
    expect(foot).toMatch(/written only.*\? help {2}q quit$/);
  });

  test('tells of estimates, and of intervals that are longer than was asked for', () => {
    const title = (more: Partial<RunInfo>) => {
      const grid = new CellGrid(120, 24);
      drawView(grid, model(), initialState(), { ...run, ...more }, false);
      return grid.line(0);
    };
    expect(title({ nextMs: 1100 })).toMatch(/every 1000 ms\s*$/);
    expect(title({ nextMs: 98_000 })).toMatch(/every 1000 ms, this time in 98\.0 s, for the budget\s*$/);
    expect(title({ sampled: 0.05 })).toMatch(/every 1000 ms {3}estimates from 5 % of the pages\s*$/);
  });

  test('at 200 by 60 has everything', () => {
    const text = lines(draw(200, 60));
    expect(text[0]).toMatch(/^pmscan watch 77 redis-server {3}01:02:03 {3}every 1000 ms/);
    expect(text[1]).toBe('written 4.13 MiB/s   in all 12.4 MiB in 3 intervals, 2 late');
    expect(text[2]).toBe('costs the tool 1.2 %');
    expect(text[3]).toMatch(/^ADDRESS +SIZE +RATE\* +TOTAL +BY ADDRESS +BY TIME +NAME$/);
    expect(text[4]).toMatch(/^0x20000000 +16 MiB +4 MiB\/s +12 MiB +\.+\d?9+\d?\.+ +9{3} {2}\[anon\]$/);
    expect(text[5]).toMatch(/^0x10000000 +1 MiB +128 KiB\/s +384 KiB +\d+\.+ +\d{3} {2}\[heap\]$/);
    expect(text[6]).toContain('/tmp/\\x1b[31mevil');
    expect(text[58]).toMatch(/^scale, by address: 1 any {2}3 .*\/s {2}9 .*\/s {2}a cell; by time: 9 /);
    expect(text[59]).toMatch(/^1-3 of 3 mappings .*q quit$/);
  });

  test.each([
    [80, 24],
    [40, 10],
    [20, 5],
    [1, 1],
    [300, 100],
  ])('at %i by %i stays inside and harmless', (columns, rows) => {
    const grid = draw(columns, rows, { ...initialState(), help: rows % 2 === 0 });
    expect(grid.text).toHaveLength(columns * rows);
    expect(grid.text.join('')).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
  });

  test('colour only adds to the digits', () => {
    const [plain, colored] = [draw(120, 30), draw(120, 30, initialState(), true)];
    expect(colored.text).toEqual(plain.text);
    expect(plain.style.some((style) => style.includes('48;5'))).toBe(false);
    expect(colored.style.some((style) => style.includes('48;5'))).toBe(true);
  });
});

describe('keys', () => {
  test('are told apart, however they arrive', () => {
    expect(parseKeys('sS\x1b[A\x1b[6~\x1b/a\x7f\r\x03\x1bOB漢')).toEqual(
      's S up pagedown escape / a backspace enter ctrl-c down 漢'.split(' '),
    );
    expect(parseKeys('\x1b[200~')).toEqual(['unknown']);
    expect(parseKeys('\x01\x02')).toEqual([]);
  });

  test('sort, filter, pause, help, scroll and leave', () => {
    const state = initialState();
    const press = (...keys: string[]) => keys.map((key) => applyKey(key, state, 10)).at(-1);
    press('s', 's');
    expect(state.sort).toBe('size');
    press('S');
    expect(state.sort).toBe('total');
    press('/', 'H', 'e', 'x', 'backspace', 'q');
    expect(state).toMatchObject({ editing: true, filter: 'Heq' });
    press('backspace', 'enter');
    expect(visibleMappings(model(), state).map(({ name }) => name)).toEqual(['[heap]']);
    press('escape', 'w');
    expect(visibleMappings(model(), state)).toHaveLength(2);
    press('p', '?', 'pagedown');
    expect(state).toMatchObject({ paused: true, help: true, scroll: 10 });
    expect(lines(draw(100, 30, state)).join('\n')).toContain('PAUSED');
    expect(state.scroll).toBe(0);
    expect([press('q'), press('ctrl-c'), press('F12')]).toEqual(['quit', 'interrupt', undefined]);
  });
});
