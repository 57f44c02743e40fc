import { beforeAll, describe, expect, test } from 'vitest';
import { PAGE_IS_PRESENT, PAGE_SIZE, type Pagemap } from '../../abi/index.js';
import type { Owner } from '../../owners/internal.js';
import { loadWidths } from '../columns.js';
import { outputStyle } from '../text.js';
import { countRows, type MapsRows, mapsText, ownerRows, sortedRows } from './maps.js';

interface Made {
  readonly pages: number;
  /** So many from its beginning on. */
  readonly present: number;
  readonly name?: string;
  readonly perms?: string;
  readonly owner?: Owner;
}

/** Mappings at multiples of 1 MiB, counted. */
async function counted(made: readonly Made[]): Promise<MapsRows> {
  const mappings = made.map(({ pages, name = '', perms = 'rw-p', owner }, index) => {
    const start = (index + 1) << 20;
    return { start, end: start + pages * PAGE_SIZE, perms, name, owner };
  });
  const pagemap: Pagemap = {
    pageSize: PAGE_SIZE,
    scan(request, output) {
      const found = mappings.flatMap(({ start }, index) =>
        made[index]!.present > 0 && start >= Number(request.start) && start < Number(request.end)
          ? [[start, 0, start + made[index]!.present * PAGE_SIZE, 0, PAGE_IS_PRESENT, 0]]
          : [],
      );
      output!.words.set(found.flat());
      output!.length = found.length;
      return { regions: found.length, walkEnd: Number(request.end) };
    },
  };
  return (await countRows(pagemap, mappings))!;
}

const owner = (name: string, kind: Owner['kind'], sure = true): Owner => ({ name, kind, sure });
const style = outputStyle(false);

beforeAll(() => loadWidths());

describe('sums of owners', () => {
  const sureOf = async (...made: Made[]) =>
    ownerRows(await counted(made)).map(({ kind, sure }) => [kind, sure]);
  const guard = (sure: boolean, pages: number, present = 0) => ({
    pages,
    present,
    owner: owner('[stack guard]', 'stack-guard', sure),
  });

  test('are sure by what is present, and by what is mapped where nothing is', async () => {
    expect(await sureOf(guard(false, 1))).toEqual([['stack-guard', false]]);
    expect(await sureOf(guard(true, 1))).toEqual([['stack-guard', true]]);
    expect(await sureOf(guard(true, 2), guard(false, 3))).toEqual([['stack-guard', false]]);
    expect(await sureOf(guard(true, 3), guard(false, 2))).toEqual([['stack-guard', true]]);
    expect(await sureOf(guard(true, 2, 2), guard(false, 30, 1))).toEqual([['stack-guard', true]]);
    expect(await sureOf(guard(true, 9, 0), guard(false, 1, 1))).toEqual([['stack-guard', false]]);
  });

  test('of memory of which nothing is known are not', async () => {
    expect(await sureOf({ pages: 1, present: 1 })).toEqual([[undefined, false]]);
  });

  test('in the table have the mark that the single mappings have', async () => {
    const lines = mapsText(await counted([guard(false, 1)]), { by: 'owner' }, 'present', style);
    expect(lines[1]).toMatch(/ stack guards\?$/);
    expect(mapsText(await counted([guard(false, 1)]), {}, 'present', style)[1]).toMatch(
      / \[stack guard\?\]$/,
    );
  });

  test('say how many are left out', async () => {
    const all = await counted([
      guard(true, 1),
      { pages: 1, present: 1, owner: owner('[tls]', 'tls') },
      { pages: 1, present: 1 },
    ]);
    const last = (top?: number) => mapsText(all, { by: 'owner', top }, 'present', style).at(-1);
    expect(last(1)).toBe('2 owners more; the totals count them, --top shows them');
    expect(last(2)).toBe('1 owner more; the totals count them, --top shows them');
    for (const top of [3, undefined]) expect(last(top)).toMatch(/3 mappings$/);
  });
});

test('what is left out is told in lines that are as wide as the terminal', async () => {
  const all = await counted([
    { pages: 1, present: 1 },
    { pages: 64, present: 0, perms: '---p' },
  ]);
  const told = (columns: number) => {
    const lines = mapsText(all, {}, 'present', { ...style, columns });
    return lines.slice(lines.findIndex((line) => /that nobody can access/.test(line)));
  };
  expect(told(Number.POSITIVE_INFINITY)).toEqual([
    '1 mapping more that nobody can access, 256 KiB of address space with nothing in them; --sort address shows them',
  ]);
  expect(told(80).join(' ')).toBe(told(Number.POSITIVE_INFINITY)[0]);
  expect(told(80).map((line) => line.length <= 80)).toEqual([true, true]);
});

describe('the order by name', () => {
  test('is that of the names that are shown', async () => {
    const all = await counted([
      { pages: 1, present: 1, owner: owner('[v8 old space]', 'v8-old') },
      { pages: 1, present: 1 },
      { pages: 1, present: 1, name: '[heap]', owner: owner('[heap]', 'malloc') },
      { pages: 1, present: 1, name: '[stack]', owner: owner('[stack: main 7]', 'stack') },
      { pages: 1, present: 1, name: '/lib/b.so', owner: owner('/lib/b.so', 'library') },
      { pages: 1, present: 1, owner: owner('[malloc arena 1]', 'malloc') },
      { pages: 1, present: 1 },
    ]);
    const lines = mapsText(all, { sort: 'name' }, 'name', style).slice(1, -1);
    expect(lines.map((line) => line.replace(/.* {2}/, ''))).toEqual([
      ...['/lib/b.so', '[anon]', '[anon]', '[heap]', '[malloc arena 1]', '[stack: main 7]', '[v8 old space]'],
    ]);
    const rows = sortedRows(all, 'name');
    expect(rows.map(({ mapping }) => mapping.start >> 20)).toEqual([5, 2, 7, 3, 6, 4, 1]);
  });
});
