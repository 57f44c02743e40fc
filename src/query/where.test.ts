import { describe, expect, it } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import {
  ALL_CATEGORIES,
  CATEGORIES,
  PAGE_IS_FILE,
  PAGE_IS_HUGE,
  PAGE_IS_PRESENT,
  PAGE_IS_SOFT_DIRTY,
  PAGE_IS_SWAPPED,
  PAGE_IS_WRITTEN,
} from '../abi/index.js';
import { compileWhere, formatWhere, WhereError, type WhereMasks } from './where.js';

/** The kernel's test. */
function matches(
  { categoryInverted, categoryMask, categoryAnyofMask }: WhereMasks,
  categories: number,
): boolean {
  const c = categories ^ categoryInverted;
  return (c & categoryMask) === categoryMask && (categoryAnyofMask === 0 || (c & categoryAnyofMask) !== 0);
}

/** The masks, or the refusal. */
function compile(text: string): WhereMasks | WhereError {
  try {
    return compileWhere(text);
  } catch (error) {
    if (error instanceof WhereError) return error;
    throw error;
  }
}

function refusal(text: string): WhereError {
  const result = compile(text);
  if (!(result instanceof WhereError)) throw new Error(`compiled: ${text}`);
  return result;
}

function masks(categoryMask: number, categoryAnyofMask = 0, categoryInverted = 0): WhereMasks {
  return { categoryInverted, categoryMask, categoryAnyofMask };
}

describe('compileWhere', () => {
  const W = PAGE_IS_WRITTEN;
  const F = PAGE_IS_FILE;
  const P = PAGE_IS_PRESENT;
  const S = PAGE_IS_SWAPPED;
  const H = PAGE_IS_HUGE;

  it.each<[string, WhereMasks]>([
    ['written', masks(W)],
    ['!written', masks(W, 0, W)],
    ['written & !file & (present | swapped)', masks(W | F, P | S, F)],
    ['written and not file and (present or swapped)', masks(W | F, P | S, F)],
    ['WRITTEN && ~File && (PAGE_IS_PRESENT || page_is_swapped)', masks(W | F, P | S, F)],
    ['NOT written OR huge', masks(0, W | H, W)],
    ['present|!swapped', masks(0, P | S, S)],
    ['  ( ( written ) )\t\n', masks(W)],
    ['soft_dirty & soft-dirty & softdirty', masks(PAGE_IS_SOFT_DIRTY)],
    // Precedence: ! before & before |.
    ['written & present | written & swapped', masks(W, P | S)],
    ['!written & file', masks(W | F, 0, W)],
    ['!(written & file)', masks(0, W | F, W | F)],
    ['!(written | file)', masks(W | F, 0, W | F)],
    ['!!written & !~!file', masks(W | F, 0, F)],
    // By meaning.
    ['written & (written | file)', masks(W)],
    ['written | written & file', masks(W)],
    ['written & (!written | file)', masks(W | F)],
    ['(written | file) & (written | !file)', masks(W)],
    ['(present | swapped) & (present | swapped | huge)', masks(0, P | S)],
    ['(written | present) & (file | huge) & !present & !huge', masks(W | P | F | H, 0, P | H)],
    ['written | !written', masks(0)],
    ['written & (file | !file)', masks(W)],
    ['!(written & !written)', masks(0)],
  ])('%j', (text, expected) => {
    expect(compileWhere(text)).toEqual(expected);
  });

  it('takes all categories at once', () => {
    const names = CATEGORIES.map(({ name }) => name);
    expect(compileWhere(names.join('&'))).toEqual(masks(ALL_CATEGORIES));
    expect(compileWhere(names.join('|'))).toEqual(masks(0, ALL_CATEGORIES));
    expect(compileWhere(`!(${names.join('|')})`)).toEqual(masks(ALL_CATEGORIES, 0, ALL_CATEGORIES));
  });
});

/** An expression over three categories: its texts, and what it means as a table over the eight sets of them. */
interface Sample {
  /** With no more parentheses than needed. */
  readonly text: string;
  /** Bit n: whether it matches the set n. */
  readonly table: number;
  /** Binding: 3 name or !, 2 &, 1 |. */
  readonly level: number;
}

const THREE = [PAGE_IS_WRITTEN, PAGE_IS_PRESENT, PAGE_IS_HUGE] as const;
const THREE_NAMES = ['written', 'present', 'huge'] as const;
const ALL_SETS = 0xff;

function unpack(packed: number): number {
  return THREE.reduce((set, bit, index) => (packed & (1 << index) ? set | bit : set), 0);
}

function tableOf(filter: WhereMasks): number {
  let table = 0;
  for (let packed = 0; packed < 8; packed++) if (matches(filter, unpack(packed))) table |= 1 << packed;
  return table;
}

/** Every function that some inverted, mask and anyof over the three categories express. */
const EXPRESSIBLE = new Set<number>();
for (let inverted = 0; inverted < 8; inverted++) {
  for (let mask = 0; mask < 8; mask++) {
    for (let anyof = 0; anyof < 8; anyof++) {
      EXPRESSIBLE.add(tableOf(masks(unpack(mask), unpack(anyof), unpack(inverted))));
    }
  }
}

function inside({ text, level }: Sample, least: number): string {
  return level >= least ? text : `(${text})`;
}

/** All expressions with up to `most` names and operators, by their number. */
function allSamples(most: number): Sample[] {
  const bySize: Sample[][] = [[]];
  bySize.push(
    THREE_NAMES.map((text, index) => {
      let table = 0;
      for (let packed = 0; packed < 8; packed++) if (packed & (1 << index)) table |= 1 << packed;
      return { text, table, level: 3 };
    }),
  );
  for (let size = 2; size <= most; size++) {
    const samples: Sample[] = bySize[size - 1]!.map((operand) => ({
      text: `!${inside(operand, 3)}`,
      table: ALL_SETS & ~operand.table,
      level: 3,
    }));
    for (let left = 1; left < size - 1; left++) {
      for (const a of bySize[left]!) {
        for (const b of bySize[size - 1 - left]!) {
          samples.push({ text: `${inside(a, 2)} & ${inside(b, 3)}`, table: a.table & b.table, level: 2 });
          samples.push({ text: `${inside(a, 1)} | ${inside(b, 2)}`, table: a.table | b.table, level: 1 });
        }
      }
    }
    bySize.push(samples);
  }
  return bySize.flat();
}

describe('all small expressions', () => {
  /** Undefined when all is as it must be; a plain function, because expect is slow for so many. */
  function complaint({ text, table }: Sample): string | undefined {
    const result = compile(text);
    if (result instanceof WhereError) {
      if (table !== 0 && EXPRESSIBLE.has(table)) return `refused, but expressible: ${text}`;
      if (result.index < 0 || result.length < 1 || result.index + result.length > text.length) {
        return `points outside: ${text}`;
      }
      if (result.message.includes('never match') !== (table === 0)) return `wrong reason: ${text}`;
      return undefined;
    }
    if (tableOf(result) !== table) return `compiled to something else: ${text}`;
    const { categoryInverted, categoryMask, categoryAnyofMask } = result;
    if (categoryInverted & ~(categoryMask | categoryAnyofMask))
      return `inverts what it does not test: ${text}`;
    if (categoryMask & categoryAnyofMask) return `tests twice: ${text}`;
    const again = formatWhere(result);
    if (JSON.stringify(compileWhere(again)) !== JSON.stringify(result))
      return `${text} came back as ${again}`;
    return undefined;
  }

  it('with up to seven names and operators compile to their meaning, or cannot be said', () => {
    const samples = allSamples(7);
    expect(samples.length).toBeGreaterThan(8000);
    expect(samples.map(complaint).filter((text) => text !== undefined)).toEqual([]);
  });

  it('all functions of three categories, as sums of products and as products of sums', () => {
    const complaints: (string | undefined)[] = [];
    for (let table = 1; table < ALL_SETS; table++) {
      const literal = (packed: number, index: number) =>
        `${packed & (1 << index) ? '' : '!'}${THREE_NAMES[index]}`;
      const sets = Array.from({ length: 8 }, (_, packed) => packed);
      const products = sets
        .filter((packed) => table & (1 << packed))
        .map((packed) => [0, 1, 2].map((index) => literal(packed, index)).join(' & '));
      complaints.push(complaint({ text: products.join(' | '), table, level: 1 }));
      const sums = sets
        .filter((packed) => !(table & (1 << packed)))
        .map((packed) => `(${[0, 1, 2].map((index) => literal(~packed, index)).join(' | ')})`);
      complaints.push(complaint({ text: sums.join(' & '), table, level: 2 }));
    }
    expect(complaints.filter((text) => text !== undefined)).toEqual([]);
  });
});

describe('refusals', () => {
  const FORM =
    'One filter can require categories (a & !b) and one group of alternatives (c | !d): a & !b & (c | !d)';
  const GRAMMAR =
    'A filter is made of categories, ! (not), & (and), | (or) and parentheses: written & !file & (present | swapped)';
  const LIST =
    'The categories are wpallowed, written, file, present, swapped, pfnzero, huge, softdirty, guard, accessed';
  const BETWEEN = 'Write & for pages that are both, | for pages that are either';

  /** The problem, the expression, the marks below it, the remedy. */
  it.each<[problem: string, shown: string, marks: string, remedy: string]>([
    [
      'an alternative that requires several categories at once',
      'written | (present & file)',
      '          ^~~~~~~~~~~~~~~~',
      FORM,
    ],
    [
      'an alternative that requires several categories at once',
      'file | huge & guard | present',
      '       ^~~~~~~~~~~~',
      FORM,
    ],
    [
      'an alternative that requires several categories at once',
      'file | !(huge | guard)',
      '       ^~~~~~~~~~~~~~~',
      FORM,
    ],
    [
      'an alternative that requires several categories at once',
      'written & (present | (file & huge))',
      '                     ^~~~~~~~~~~~~',
      FORM,
    ],
    [
      'an alternative that requires several categories at once',
      '!(written & (file | huge))',
      '            ^~~~~~~~~~~~~',
      FORM,
    ],
    // The first two are alternatives of one kind beside what is required, only the last is not.
    [
      'an alternative that requires several categories at once',
      'written & (present | (written & file) | (huge & guard))',
      '                                        ^~~~~~~~~~~~~~',
      FORM,
    ],
    // Covered by the first, so not to blame.
    [
      'an alternative that requires several categories at once',
      'file | file & huge | guard & huge',
      '                     ^~~~~~~~~~~~',
      FORM,
    ],
    [
      "a second group of alternatives, after '(written|file)'",
      '(written|file)&(present|swapped)',
      '               ^~~~~~~~~~~~~~~~~',
      FORM,
    ],
    [
      "a second group of alternatives, after '!(written & file)'",
      '!(written & file) & !(huge & present)',
      '                    ^~~~~~~~~~~~~~~~~',
      FORM,
    ],
    [
      "a second group of alternatives, after '(present | swapped)'",
      '(present | swapped) & (guard | huge) & (written | file) & huge',
      '                                       ^~~~~~~~~~~~~~~~',
      FORM,
    ],
    [
      'it can never match',
      'written & !written',
      '          ^~~~~~~~',
      'No page that satisfies what comes before can satisfy this part',
    ],
    [
      'it can never match',
      'file & (huge | guard) & !(file)',
      '                        ^~~~~~~',
      'No page that satisfies what comes before can satisfy this part',
    ],
    [
      'it can never match',
      'file & (huge & !huge | guard & !guard)',
      '       ^~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~',
      'No page can satisfy this part',
    ],
    [
      'it can never match',
      'file & !file | huge & !huge',
      '^~~~~~~~~~~~~~~~~~~~~~~~~~~',
      'No page can satisfy this',
    ],
    ["there is no category 'wirtten'", 'file & wirtten', '       ^~~~~~~', `Did you mean 'written'? ${LIST}`],
    [
      "there is no category 'PAGE_IS_SWAPED'",
      'PAGE_IS_SWAPED',
      '^~~~~~~~~~~~~~',
      `Did you mean 'swapped'? ${LIST}`,
    ],
    ["there is no category 'soft_drity'", 'soft_drity', '^~~~~~~~~~', `Did you mean 'softdirty'? ${LIST}`],
    ["there is no category 'pres'", 'pres', '^~~~', `Did you mean 'present'? ${LIST}`],
    ["there is no category 'anon'", '!anon', ' ^~~~', `Anonymous pages are '!file'. ${LIST}`],
    ["there is no category 'constructor'", 'constructor', '^~~~~~~~~~~', LIST],
    ["there is no category '__proto__'", '__proto__', '^~~~~~~~~', LIST],
    ["no operator between 'written' and 'file'", 'written file', '        ^~~~', BETWEEN],
    ["no operator between ')' and 'file'", '((huge) file)', '        ^~~~', BETWEEN],
    ["no operator between 'written' and '!'", 'written !file', '        ^', BETWEEN],
    ["no operator between 'huge' and '('", '(huge (file))', '      ^', BETWEEN],
    ["'(' without a ')' after it", 'file & (huge | (guard)', '       ^', GRAMMAR],
    ["')' without a '(' before it", 'file | huge)', '           ^', GRAMMAR],
    ["')' without a '(' before it", ')', '^', GRAMMAR],
    ['empty parentheses', 'file & ( )', '       ^~~', GRAMMAR],
    ["no category before '&'", '& file', '^', GRAMMAR],
    ["no category before '||'", 'file & || huge', '       ^~', GRAMMAR],
    ["no category after 'and'", 'file and', '     ^~~', GRAMMAR],
    ["no category after '&'", '(file &) | huge', '      ^', GRAMMAR],
    ["no category after 'not'", 'file & not', '       ^~~', GRAMMAR],
    ["unexpected '='", 'file = huge', '     ^', GRAMMAR],
    ["unexpected '-'", '-file', '^', GRAMMAR],
    ['the expression is empty', '', '^', GRAMMAR],
    ['the expression is empty', '   ', '^~~', GRAMMAR],
  ])('%s: %s', (problem, text, marks, remedy) => {
    const error = refusal(text);
    expect(error.message).toBe(`Cannot compile the filter: ${problem}\n  ${text}\n  ${marks}\n${remedy}`);
    expect(error.index).toBe(marks.indexOf('^'));
    expect(error.length).toBe(text === '' ? 0 : marks.trim().length);
    expect(error.name).toBe('WhereError');
  });

  it.each([
    ['written & \x1b[31m\0', '  written & \\x1b[31m\\x00', '            ^~~~', 10, 1],
    ['\t\n\u202e& written', '  \\t\\n\\u{202e}& written', '      ^~~~~~~~', 2, 1],
    ['\u3000\r& written', '  \\u{3000}\\r& written', '            ^', 2, 1],
    ['😀 & file', '  \\u{1f600} & file', '  ^~~~~~~~~', 0, 2],
    ['\x9b\x7f', '  \\x9b\\x7f', '  ^~~~', 0, 1],
    ['file & \ud83d', '  file & \\u{d83d}', '         ^~~~~~~~', 7, 1],
    ['file\u00a0& pr\u00e9sent', '  file\\xa0& pr\\xe9sent', '              ^~~~', 9, 1],
  ])('escapes %j and keeps the marks below it', (text, shown, marks, index, length) => {
    const error = refusal(text);
    expect(error.message.split('\n').slice(1, 3)).toEqual([shown, marks]);
    expect([error.index, error.length]).toEqual([index, length]);
    expect(error.message).not.toMatch(/[^\n\x20-\x7e]/);
  });

  it('shows a part of a long expression', () => {
    const [, shown, marks] = refusal(
      `${'huge & '.repeat(100)}(file${' | written'.repeat(20)} &)`,
    ).message.split('\n');
    expect(shown!.length).toBeLessThan(120);
    expect(shown![marks!.indexOf('^')]).toBe('&');
    expect(marks!.trim()).toBe('^');
    expect(refusal(`foo${' & huge'.repeat(50)}`).message.split('\n')[1]).toMatch(/^ {2}foo & huge.*\.\.\.$/);
  });

  it('refuses what is too long or too deep instead of overflowing', () => {
    const long = refusal('('.repeat(100_000));
    expect(long.message).toContain('longer than 1024 characters');
    expect(long.message.length).toBeLessThan(500);
    expect([long.index, long.length]).toEqual([1024, 98_976]);
    const deep = refusal(`${'('.repeat(101)}huge${')'.repeat(101)}`);
    expect(deep.message).toContain('more than 100 parentheses inside each other');
    expect([deep.index, deep.length]).toEqual([100, 1]);
    expect(compileWhere(`${'('.repeat(100)}huge${')'.repeat(100)}`)).toEqual(masks(PAGE_IS_HUGE));
    expect(compileWhere(`(huge) | ${'(huge) | '.repeat(110)}huge`)).toEqual(masks(PAGE_IS_HUGE));
    expect(compileWhere(`${'!'.repeat(1000)}huge`)).toEqual(masks(PAGE_IS_HUGE));
  });

  it('blames the alternative that is needed, among as many as may be written', () => {
    const others = CATEGORIES.map(({ name }) => name).filter((name) => name !== 'present');
    // What 'present' says anyway is none; of two that are the same, the first is to blame.
    const covered = others.flatMap((a) => others.map((b) => `present & ${a} & ${b}`)).slice(0, 30);
    const text = [...covered, 'present', 'guard & !huge', 'swapped'].join(' | ');
    expect(text.length).toBeGreaterThan(900);
    const error = refusal(text);
    expect(text.slice(error.index, error.index + error.length)).toBe('guard & !huge');
    expect(compileWhere([...covered, 'present'].join(' | '))).toEqual(masks(PAGE_IS_PRESENT));
    const twice = refusal('present | guard & !huge | guard & !huge');
    expect([twice.index, twice.length]).toEqual([10, 13]);
  });

  // An algorithm that tried all subsets of the products would not end.
  it('comes to an end with the worst', () => {
    const names = CATEGORIES.map(({ name }) => name);
    const products = Array.from(
      { length: 40 },
      (_, index) => `${names[index % 9]}&!${names[(index * 7 + 1) % 9]}`,
    );
    expect(refusal(products.join('|')).message).toContain('several categories at once');
  });
});

describe('formatWhere', () => {
  it.each<[Partial<WhereMasks>, string]>([
    [{}, 'present | !present'],
    [masks(0), 'present | !present'],
    [{ categoryMask: PAGE_IS_WRITTEN }, 'written'],
    [
      masks(PAGE_IS_FILE | PAGE_IS_WRITTEN, PAGE_IS_SWAPPED | PAGE_IS_PRESENT, PAGE_IS_FILE),
      'written & !file & (present | swapped)',
    ],
    [masks(0, PAGE_IS_SWAPPED | PAGE_IS_PRESENT, PAGE_IS_SWAPPED), 'present | !swapped'],
    [masks(PAGE_IS_PRESENT, PAGE_IS_WRITTEN), 'written & present'],
    [masks(0, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN), '!written'],
    [masks(PAGE_IS_PRESENT, PAGE_IS_PRESENT | PAGE_IS_WRITTEN, PAGE_IS_HUGE), 'present'],
  ])('%j is %s', (filter, text) => {
    expect(formatWhere(filter)).toBe(text);
  });

  it('says all masks over three categories, each meaning in one way', () => {
    const byTable = new Map<number, string>();
    for (let inverted = 0; inverted < 8; inverted++) {
      for (let mask = 0; mask < 8; mask++) {
        for (let anyof = 0; anyof < 8; anyof++) {
          const filter = masks(unpack(mask), unpack(anyof), unpack(inverted));
          const text = formatWhere(filter);
          const table = tableOf(filter);
          expect(byTable.get(table) ?? text).toBe(text);
          byTable.set(table, text);
          expect(tableOf(compileWhere(text))).toBe(table);
          expect(formatWhere(compileWhere(text))).toBe(text);
        }
      }
    }
  });

  it('says random masks over all categories', () => {
    const seed = Number(process.env['PMSCAN_SEED'] ?? Date.now() % 1e9);
    const next = randomBelow(seed);
    const random = () => next(512);
    for (let round = 0; round < 200; round++) {
      const filter = masks(random(), random() & random(), random());
      const compiled = compileWhere(formatWhere(filter));
      for (let set = 0; set <= ALL_CATEGORIES; set++) {
        if (matches(filter, set) !== matches(compiled, set)) throw new Error(`seed ${seed}, set ${set}`);
      }
    }
  });

  it.each([0x400, -1, 1.5, Number.NaN])('refuses %d, which is no set of categories', (mask) => {
    expect(() => formatWhere({ categoryAnyofMask: mask })).toThrow(RangeError);
    expect(() => formatWhere({ categoryMask: mask })).toThrow(`Cannot format categoryMask ${mask}`);
  });
});
