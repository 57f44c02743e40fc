/** Scenario files that are wrong, by chance or on purpose: each is refused with its line, or runs to its end. */
import { expect, test } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import { parseScenarios, runScenarios, ScenarioError } from './index.js';

const HEADER = '{"scenario":1,"name":"a","kernel":"7.3","arena":"0x600000000000","arena_pages":1024}';
const SEED = Number(process.env['PMSCAN_SEED'] ?? 1);

/** Every operation, with every key. */
const VALID = [
  HEADER,
  '{"op":"file","file":"f","pages":8,"expect":{"ret":0}}',
  '{"op":"mmap","at":0,"pages":4,"prot":"rw","type":"anon","sharing":"private","expect":{"ret":0}}',
  '{"op":"mmap","at":8,"pages":4,"prot":"rw","type":"file","sharing":"shared","file":"f","offset":1}',
  '{"op":"mmap","at":512,"pages":512,"prot":"rw","type":"hugetlb","sharing":"private"}',
  '{"op":"uffd","uffd":"u","features":["wp_async","wp_unpopulated","wp_hugetlbfs_shmem"]}',
  '{"op":"register","uffd":"u","at":0,"pages":4,"mode":["wp"]}',
  '{"op":"write","at":0,"pages":6,"step":2,"expect":{"ok":2,"fault":1}}',
  '{"op":"read","at":512,"pages":512,"step":3}',
  '{"op":"writeprotect","uffd":"u","at":0,"pages":4,"wp":true}',
  '{"op":"rwprotect","uffd":"u","at":0,"pages":4,"rwp":true}',
  '{"op":"scan","size":96,"flags":0,"start":"0x600000000000","end":"0x600000004000","vec":true,"vec_len":8,' +
    '"max_pages":0,"inverted":0,"mask":0,"anyof":0,"return":8,"gone":false,' +
    '"expect":{"ret":1,"walk_end":"0x600000004000","regions":[["0x600000000000","0x600000001000",8]]}}',
  '{"op":"madvise","at":0,"pages":4,"advice":"pageout","expect":{"errno":"EINVAL"}}',
  '{"op":"mprotect","at":0,"pages":2,"prot":"none"}',
  '{"op":"mremap","at":0,"pages":2,"to":100,"to_pages":3}',
  '{"op":"clear_refs","value":4}',
  '{"op":"unregister","uffd":"u","at":2,"pages":2}',
  '{"op":"close","uffd":"u"}',
  '{"op":"munmap","at":0,"pages":12}',
];

/** The file with a line behind the header. */
const withHeader = (line: string) => `${HEADER}\n${line}`;

function problem(text: string): string {
  try {
    parseScenarios(text, 'file.jsonl');
  } catch (error) {
    if (error instanceof ScenarioError) return `${error.line}: ${error.message}`;
    throw error;
  }
  return '';
}

const MMAP = '"prot":"rw","sharing":"private"';
const DEEP = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;

test.each([
  ['a read beyond the arena', '{"op":"read","at":0,"pages":9007199254740991,"step":1}', 'beyond the arena'],
  ['one page beyond', '{"op":"munmap","at":1020,"pages":5}', '5 pages from page 1020 on, of 1024'],
  ['advice', '{"op":"madvise","at":0,"pages":35000000000,"advice":"dontneed"}', 'beyond the arena'],
  ['half a huge page', `{"op":"mmap","at":512,"pages":513,"type":"hugetlb",${MMAP}}`, '1024 pages from page'],
  ['a move beyond', '{"op":"mremap","at":0,"pages":1,"to":1024,"to_pages":1}', '1 pages from page 1024'],
  ['a file', '{"op":"file","file":"f","pages":3000000000}', 'at most 65536 pages together'],
  ['another file', '{"op":"file","file":"f","pages":9007199254740991}', 'at most 65536 pages together'],
  ['an offset', `{"op":"mmap","at":0,"pages":1,"type":"anon",${MMAP},"offset":65537}`, '"offset" is at most'],
  ['a name', `{"op":"close","uffd":"${'u'.repeat(65)}"}`, 'is not possible for "uffd"'],
  ['a vector', VALID[11]!.replace('"vec_len":8', '"vec_len":65537'), '"vec_len" is at most 65536'],
  ['deep nesting', `{"op":"munmap","at":${DEEP},"pages":1}`, 'a list is not possible for "at"'],
  ['a prototype', '{"op":"close","uffd":"u","expect":{"__proto__":{}}}', 'unknown key "__proto__" in'],
  ['a method', '{"op":"close","uffd":"u","expect":{"hasOwnProperty":1}}', 'unknown key "hasOwnProperty" in'],
  ['its class', '{"op":"close","uffd":"u","expect":{"constructor":1}}', 'unknown key "constructor" in'],
  ['a key of it', '{"op":"close","uffd":"u","__proto__":1}', 'unknown key "__proto__"'],
  ['no region', VALID[11]!.replace('[["0x600000000000","0x600000001000",8]]', '[null]'), '"regions" in'],
  ['half a region', VALID[11]!.replace('"0x600000001000",8]', '"0x600000001000"]'), '"regions" in'],
])('refused with its line: %s', (_, line, expected) => {
  expect(problem(withHeader(line))).toMatch(/^2: Cannot read file\.jsonl:2: /);
  expect(problem(withHeader(line))).toContain(expected);
});

test.each([
  ['its name', { name: { toString: 1 } }, 'an object is not possible for "name"'],
  ['its kernel', { kernel: 6.18 }, '6.18 is not possible for "kernel"'],
  ['its place', { arena: '0x600000000001' }, 'the arena does not begin with a page'],
  ['its size', { arena_pages: Number.MAX_SAFE_INTEGER }, 'an arena has at most 262144 pages'],
  ['its end', { arena: '0x7fffffe00000' }, 'the arena lies outside user space'],
  ['no user space', { arena: '0xffffffffffff0000' }, 'the arena lies outside user space'],
])('a header is refused for %s', (_, change, expected) => {
  const text = JSON.stringify({ ...JSON.parse(HEADER), ...change });
  expect(problem(text)).toMatch(/^1: Cannot read file\.jsonl:1: /);
  expect(problem(text)).toContain(expected);
});

test('what is as large as it may be runs, and so does a scan of anything', async () => {
  const text = [
    HEADER.replace('1024', '262144'),
    '{"op":"file","file":"f","pages":32768}',
    '{"op":"file","file":"g","pages":32768}',
    '{"op":"mmap","at":0,"pages":262144,"prot":"rw","type":"anon","sharing":"private"}',
    '{"op":"write","at":0,"pages":262144,"step":1,"expect":{"ok":1,"fault":0}}',
    VALID[11]!
      .replace('"0x600000004000","vec"', '"0xffff800000001000","vec"')
      .replace(/"expect".*/, '"expect":{"errno":"EFAULT"}}'),
    VALID[11]!
      .replace('"vec_len":8', '"vec_len":"0x555555555555555"')
      .replace(/"expect".*/, '"expect":{"errno":"EFAULT"}}'),
  ];
  const { mismatches, first, answers } = await runScenarios(text.join('\n'), { check: true });
  expect(answers[0]).toContainEqual({ ok: 262144, fault: 0 });
  expect({ mismatches, step: first?.step }).toEqual({ mismatches: 1, step: 3 });
  expect(first?.pages).toEqual(['page 0 0x600000000000 mapped hole 0x0']);
});

const KEYS = ['__proto__', 'constructor', 'hasOwnProperty', 'toString', 'expect', 'op', 'scenario', 'x', ''];
const NASTY: readonly unknown[] = [
  ...[null, true, false, -1, -0, 0, 1, 1.5, 6, 513, 65536, 65537, 2 ** 31, 2 ** 53 - 1, 2 ** 53, 1e300],
  ...['', 'x', 'rw', 'none', 'wp', 'anon', '0x', '0xffffffffffffffff', '0x600000000000', '\u0000\u001b[31m'],
  ...[[], [null], [[]], [[1, 2]], ['rwp'], ['wp', 'rwp'], [['0x1', '0x2', 3]], {}, { toString: 1 }],
  Object.fromEntries([['__proto__', {}]]),
];

type Dice = ReturnType<typeof randomBelow>;
const choose = <T>(dice: Dice, from: readonly T[]): T => from[dice(from.length)]!;

/** The same with one thing changed: a value, a key more, or a key less. */
function mutated(value: unknown, dice: Dice): unknown {
  const entries = Object.entries((value ?? {}) as object);
  const isList = Array.isArray(value);
  if (typeof value !== 'object' || entries.length === 0 || dice(12) === 0) return choose(dice, NASTY);
  const at = dice(entries.length);
  const what = dice(8);
  if (what === 0) entries.splice(at, 1);
  else if (what === 1) entries.push([choose(dice, KEYS), choose(dice, NASTY)]);
  else entries[at] = [entries[at]![0], mutated(entries[at]![1], dice)];
  // From entries, so that __proto__ is a key as any other.
  return isList ? entries.map(([, item]) => item) : Object.fromEntries(entries);
}

/** The same with a few characters less, or some twice. */
function torn(text: string, dice: Dice): string {
  const from = dice(text.length);
  const to = from + dice(4);
  return dice(2) === 0 ? text.slice(0, from) + text.slice(to) : text.slice(0, to) + text.slice(from);
}

test(`lines that were changed at random are refused with a line, or run to their end (seed ${SEED})`, async () => {
  const dice = randomBelow(SEED);
  let refused = 0;
  let ran = 0;
  for (let round = 0; round < 4000; round++) {
    const at = dice(VALID.length);
    const line = VALID[at]!;
    const changed = dice(5) === 0 ? torn(line, dice) : JSON.stringify(mutated(JSON.parse(line), dice));
    const text = VALID.with(at, changed).join('\n');
    try {
      await runScenarios(text, { check: true });
      ran++;
    } catch (error) {
      // Only what a reader can do something about: not a TypeError of the parser's or the simulator's own.
      if (!(error instanceof ScenarioError)) throw new Error(`${changed} gave ${error}`, { cause: error });
      // A smaller arena, or a large file, makes later lines wrong.
      expect(error.line).toBeGreaterThanOrEqual(at + 1);
      expect(error.message).toContain(`scenario:${error.line}: `);
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(1000);
  expect(ran).toBeGreaterThan(500);
});
