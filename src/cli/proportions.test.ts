import { expect, test } from 'vitest';
import { parseSmaps } from '../proc/index.js';
import { proportions, sumProportions } from './proportions.js';

const SMAPS = parseSmaps(
  new TextEncoder().encode(
    [
      '1000-5000 rw-p 00000000 00:00 0 ',
      'Rss:                  16 kB',
      'Pss:                  10 kB',
      'Private_Clean:         1 kB',
      'Private_Dirty:         3 kB',
      '200000-400000 rw-p 00000000 00:0f 5                  /anon_hugepage (deleted)',
      'Pss:                   0 kB',
      'Private_Clean:         0 kB',
      'Private_Dirty:         0 kB',
      'Private_Hugetlb:    2048 kB',
      '500000-501000 rw-p 00000000 00:00 0 ',
      'Rss:                   4 kB',
      '',
    ].join('\n'),
  ),
);

test('by where mappings are; nothing of what has changed since, or is not counted', () => {
  const mappings = [
    { start: 0x500000, end: 0x501000 },
    { start: 0x200000, end: 0x400000 },
    { start: 0x1000, end: 0x6000 },
    { start: 0x1000, end: 0x5000 },
  ];
  const found = proportions(mappings, SMAPS);
  const [huge, plain] = [
    { pssBytes: 2 << 20, ussBytes: 2 << 20 },
    { pssBytes: 10 << 10, ussBytes: 4 << 10 },
  ];
  expect(found).toEqual([{}, huge, {}, plain]);
  expect(sumProportions(found)).toEqual({
    pssBytes: (2 << 20) + (10 << 10),
    ussBytes: (2 << 20) + (4 << 10),
  });
});
