import { describe, expect, test } from 'vitest';
import { categoryBit, PAGE_SIZE } from '../abi/index.js';
import { EXAMPLES, scan } from './examples.js';
import { decodeLink, encodeLink } from './link.js';
import {
  ARENA,
  ARENA_PAGES,
  describeAnswer,
  fromText,
  describe as inWords,
  play,
  reported,
  toText,
} from './play.js';

const present = categoryBit('present')!;

describe('the playground', () => {
  test('tells what the pages are after some operations', () => {
    const { answers, categories, mapped } = play(
      [
        { op: 'mmap', at: 8, pages: 4, prot: 'rw', type: 'anon', sharing: 'private' },
        { op: 'write', at: 9, pages: 2, step: 1 },
        scan({ mask: present, return: present }),
      ],
      '6.18',
    );
    expect([...mapped.slice(7, 13)]).toEqual([0, 1, 1, 1, 1, 0]);
    expect([...categories.slice(8, 12)].map((each) => (each & present) !== 0)).toEqual([
      false,
      true,
      true,
      false,
    ]);
    expect(reported(answers[2])).toEqual([{ at: 9, pages: 2, categories: present }]);
    expect(describeAnswer(answers[2])).toBe(`1 region, walk_end at page ${ARENA_PAGES}`);
    expect(describeAnswer(answers[1])).toBe('2 done');
  });

  test('no example fails, on any kernel that has what it shows', () => {
    for (const { title, ops } of EXAMPLES) {
      const { answers } = play(ops, '7.3');
      expect(answers.map(({ errno }) => errno).filter(Boolean), title).toEqual([]);
    }
    // The one about differences has some.
    const [a, b] = (['7.3', '6.7'] as const).map((name) => play(EXAMPLES.at(-1)!.ops, name).answers);
    expect(a).not.toEqual(b);
  });

  test('operations are the same after a way through a link', async () => {
    for (const { ops } of EXAMPLES) {
      const link = await encodeLink(toText(ops));
      expect(link).toMatch(/^[\w-]+$/);
      expect(fromText(await decodeLink(link))).toEqual(ops);
    }
  });

  test.each([
    ['nothing', ''],
    ['another arena', toText([]).replace('600000000000', '700000000000')],
    ['two scenarios', toText([]) + toText([])],
    ['pages beyond the arena', toText([{ op: 'munmap', at: 1000, pages: 25 }])],
    ['a large file', toText([{ op: 'file', file: 'f', pages: 1e9 }])],
    ['many operations', toText(Array.from({ length: 201 }, () => ({ op: 'munmap', at: 0, pages: 1 })))],
  ])('a link with %s is refused', (_, text) => {
    expect(() => fromText(text)).toThrow('Cannot read the link');
  });

  test('a link that is cut off, or unpacks to very much, is refused', async () => {
    const link = await encodeLink(toText(EXAMPLES[0]!.ops));
    await expect(decodeLink(link.slice(0, -20))).rejects.toThrow('not whole');
    await expect(decodeLink('%%%')).rejects.toThrow('not whole');
    await expect(decodeLink(await encodeLink('a'.repeat(1 << 18)))).resolves.toHaveLength(1 << 18);
    const long = new Blob(['a'.repeat(1 << 22)]).stream().pipeThrough(new CompressionStream('deflate-raw'));
    const packed = Buffer.from(await new Response(long).arrayBuffer()).toString('base64url');
    await expect(decodeLink(packed)).rejects.toThrow('too long');
  });

  test('operations in words', () => {
    expect(inWords({ op: 'mmap', at: 0, pages: 4, prot: 'rw', type: 'anon', sharing: 'private' })).toBe(
      'mmap 4 pages at 0, rw, anon, private',
    );
    expect(inWords({ op: 'write', at: 1, pages: 4, step: 2 })).toBe('write 4 pages at 1, step 2');
    expect(inWords(scan({ flags: 3, return: 0, end: `0x${(ARENA + PAGE_SIZE).toString(16)}` }))).toBe(
      'scan pages 0 to 1, flags 0x3',
    );
  });
});
