import { beforeAll, describe, expect, test, vi } from 'vitest';
import { PAGE_IS_PRESENT, PAGE_SIZE, type Pagemap } from '../abi/index.js';
import { matchesGlob } from '../proc/internal.js';
import { PAGE_KINDS } from '../query/internal.js';
import { bar, shares } from './bar.js';
import { columnsOf, loadWidths, shorten, tableLines } from './columns.js';
import { countRows, mapsTable } from './commands/maps.js';
import { intersectRanges, mergeRanges, parseSize } from './options.js';
import { humanBytes, outputStyle, printable, type Style } from './text.js';

const style = (columns: number, unicode = true): Style => ({ ...outputStyle(false), columns, unicode });

describe('numbers', () => {
  test.each([
    [0, '0 B'],
    [4096, '4 KiB'],
    [1023, '1023 B'],
    [1024 * 1023.6, '1 MiB'],
    [1.25 * 2 ** 30, '1.25 GiB'],
    [128 * 2 ** 40, '128 TiB'],
    [99.96 * 2 ** 20, '100 MiB'],
  ])('%i bytes are %s', (bytes, text) => expect(humanBytes(bytes)).toBe(text));

  test('sizes are read as they are written', () => {
    expect(['4096', '64K', '1.5G', '2MiB', '3 MB'].map(parseSize)).toEqual([
      4096,
      65536,
      1.5 * 2 ** 30,
      2 ** 21,
      3 * 2 ** 20,
    ]);
    for (const wrong of ['', 'x', '-1', '1E3', '99999999T', '0.1K']) expect(() => parseSize(wrong)).toThrow();
  });
});

beforeAll(() => loadWidths());

describe('text', () => {
  test('what could act on a terminal is written out', () => {
    expect(printable('a\x1b[31m\n\u202e\u200b\u2028\x9b\ud800z é 漢')).toBe(
      'a\\x1b[31m\\x0a\\u202e\\u200b\\u2028\\x9b\\ud800z é 漢',
    );
  });

  test('is cut in its middle to just the columns that there are', () => {
    const path = '/usr/lib/x86_64-linux-gnu/libcrypto.so.3';
    for (let columns = 1; columns < 45; columns++) {
      const short = shorten(path, columns);
      expect(columnsOf(short)).toBe(Math.min(columns, path.length));
      if (columns > 12) expect(short.endsWith('so.3')).toBe(true);
    }
    expect(columnsOf(shorten('漢字漢字漢字', 6))).toBeLessThanOrEqual(6);
    expect(shorten(path, 9, { unicode: false })).toMatch(/^[\x20-\x7e]{9}$/);
  });

  test('takes no longer to cut or to lay out where it is long', () => {
    const segment = vi.spyOn(Intl.Segmenter.prototype, 'segment');
    /** How many characters were looked at to measure. */
    const measured = (work: () => void) => {
      segment.mockClear();
      work();
      return segment.mock.calls.reduce((sum, [text]) => sum + text.length, 0);
    };
    const long = '漢'.repeat(10_000);
    try {
      expect(measured(() => shorten(long, 40))).toBeLessThan(1000);
      expect(measured(() => shorten(long, Number.POSITIVE_INFINITY))).toBe(0);
      const columns = [
        { title: 'A', align: 'left' },
        { title: 'B', align: 'left' },
      ] as const;
      expect(measured(() => tableLines(columns, [['1', long]]))).toBe(0);
      expect(measured(() => tableLines(columns, [[long, '1']]))).toBeGreaterThanOrEqual(10_000);
    } finally {
      segment.mockRestore();
    }
    expect(tableLines([{ title: 'A', align: 'left' }], [[long]])).toEqual(['A', long]);
  });

  test.each([
    ['wide', '漢'],
    ['wide, in two halves', '\u{20000}'],
    ['with two accents', 'e\u0323\u0301'],
    ['of no width', '\u0301'],
  ])('longer than any that fits is cut to the columns that there are: %s', (_, character) => {
    for (const [count, columns] of [
      [300, 20],
      [301, 21],
      [5000, 33],
    ] as const) {
      const short = shorten(`a${character.repeat(count)}b`, columns);
      expect(short).toMatch(/^a.*…(.*b)$/su);
      expect(columnsOf(short)).toBeLessThanOrEqual(columns);
      expect(short).not.toMatch(/\p{Cs}/u);
    }
  });

  test('a table leaves empty columns out and lines up wide characters', () => {
    const columns = [
      { title: 'A', align: 'left' },
      { title: 'EMPTY', align: 'right' },
      { title: 'B', align: 'right' },
    ] as const;
    expect(
      tableLines(columns, [
        ['漢', '', '1'],
        ['ab', '', '22'],
      ]),
    ).toEqual(['A    B', '漢   1', 'ab  22']);
  });
});

describe('the bar', () => {
  test('has just its cells, in proportion, and shows whatever is there', () => {
    for (const counts of [
      [1, 0, 0, 0, 0, 0, 1e9],
      [1, 1, 1, 1, 1, 1, 1e9],
      [5, 3, 0, 0, 0, 0, 0],
      [1, 1, 1, 0, 0, 0, 0],
      [1e9, 1, 0, 0, 0, 0, 1],
    ]) {
      for (const cells of [8, 16]) {
        const result = shares(counts, cells);
        expect(result.reduce((sum, share) => sum + share, 0)).toBe(cells);
        counts.forEach((count, index) => {
          expect(result[index]! > 0).toBe(count > 0);
        });
      }
    }
    expect(shares([5, 3, 0, 0, 0, 0, 0], 16)).toEqual([10, 6, 0, 0, 0, 0, 0]);
    expect(shares([0, 0, 0, 0, 0, 0, 0], 16)).toEqual([0, 0, 0, 0, 0, 0, 0]);
    expect(
      columnsOf(
        bar(
          PAGE_KINDS.map(() => 1),
          16,
          style(80),
        ),
      ),
    ).toBe(16);
  });
});

describe('the table of mappings', () => {
  /** Every page of every mapping is present, file, swapped, zero, huge or guard in turn. */
  const pagemap: Pagemap = {
    pageSize: PAGE_SIZE,
    scan(request, output) {
      let count = 0;
      const kinds = [8, 12, 16, 40, 72, 272];
      for (let at = Number(request.start); at < Number(request.end) && count < 600; at += PAGE_SIZE) {
        output!.words.set([at, 0, at + PAGE_SIZE, 0, kinds[count % kinds.length]!, 0], count++ * 6);
      }
      output!.length = count;
      return { regions: count, walkEnd: Number(request.end) };
    },
  };
  const mappings = [0, 1, 2].map((index) => ({
    start: 0x10000000 + index * 0x100000,
    end: 0x10000000 + index * 0x100000 + 60 * PAGE_SIZE,
    perms: 'rw-p',
    name: `/usr/lib/x86_64-linux-gnu/some/very/long/path/of/a/library/lib${index}.so.6`,
    deleted: index === 1,
  }));

  test.each([60, 70, 80, 100, 120, 200])('fits into %i columns', async (columns) => {
    const counted = (await countRows(pagemap, mappings))!;
    const lines = mapsTable(counted.rows, counted, style(columns));
    for (const line of lines) expect(columnsOf(line)).toBeLessThanOrEqual(columns);
    expect(lines[0]).toContain('ADDRESS');
    expect(lines[1]).toMatch(/so\.6|…/);
  });

  test('counts in pages of the size that the pagemap has', async () => {
    const large: Pagemap = {
      pageSize: 16384,
      scan(_request, output) {
        output!.words.set([0x10000000, 0, 0x10010000, 0, PAGE_IS_PRESENT, 0]);
        output!.length = 1;
        return { regions: 1, walkEnd: 0x10020000 };
      },
    };
    const one = [{ ...mappings[0]!, start: 0x10000000, end: 0x10020000 }];
    const counted = (await countRows(large, one))!;
    expect(counted.rows[0]).toMatchObject({ pages: 8, present: 4 });
    expect(mapsTable(counted.rows, counted, style(1000))[1]).toMatch(/128 KiB +64 KiB/);
  });

  test('tells deleted files, and totals of all rows whatever is shown', async () => {
    const counted = (await countRows(pagemap, mappings))!;
    const all = mapsTable(counted.rows, counted, style(1000));
    const one = mapsTable(counted.rows.slice(1, 2), counted, style(1000));
    expect(one[1]).toMatch(/lib1\.so\.6 \(deleted\)$/);
    expect(one.at(-1)!.replace(/ +/g, ' ')).toBe(all.at(-1)!.replace(/ +/g, ' '));
    expect(one.at(-1)).toMatch(/3 mappings$/);
  });
});

describe('patterns and ranges', () => {
  test('globs match whole names, in time', () => {
    const cases: [string, string, boolean][] = [
      ['*', '', true],
      ['*.so*', '/lib/libc.so.6', true],
      ['*.so', '/lib/libc.so.6', false],
      ['a?c', 'abc', true],
      ['a?c', 'ac', false],
      ['*a*b*c', 'xxaxxbxxc', true],
      ['[heap]*', '[heap]', true],
    ];
    for (const [pattern, text, expected] of cases)
      expect([pattern, text, matchesGlob(pattern, text)]).toEqual([pattern, text, expected]);
    // Backtracking would take longer than the universe has existed.
    expect(matchesGlob(`${'*a'.repeat(30)}*b`, 'a'.repeat(4000))).toBe(false);
  });

  test('ranges are merged and intersected as sets of addresses', () => {
    const inside = (list: readonly { start: number; end: number }[], at: number) =>
      list.some(({ start, end }) => start <= at && at < end);
    const a = [
      { start: 5, end: 9 },
      { start: 1, end: 3 },
      { start: 8, end: 12 },
      { start: 3, end: 4 },
    ];
    const b = [
      { start: 0, end: 2 },
      { start: 6, end: 7 },
      { start: 11, end: 20 },
    ];
    const merged = mergeRanges(a);
    expect(merged).toEqual([
      { start: 1, end: 4 },
      { start: 5, end: 12 },
    ]);
    const both = intersectRanges(merged, b);
    for (let at = 0; at < 25; at++) expect(inside(both, at)).toBe(inside(a, at) && inside(b, at));
  });
});
