import { describe, expect, test } from 'vitest';
import { parseSmaps } from '../proc/index.js';
import { FILTER, type Share, shareOf, traitsOf } from './filter.js';

function smaps(line: string, flags = 'rd wr mr mw me', pageKilobytes = 4) {
  const text = `${line}\nKernelPageSize: ${pageKilobytes} kB\nVmFlags: ${flags}\n`;
  return parseSmaps(new TextEncoder().encode(text))[0]!;
}

const ANONYMOUS = smaps('7f0000000000-7f0000200000 rw-p 00000000 00:00 0 ');
const SHARED = smaps('7f0000000000-7f0000200000 rw-s 00000000 00:01 77 /dev/zero (deleted)');
const MEMFD = smaps('7f0000000000-7f0000200000 rw-s 00000000 00:01 78 /memfd:x (deleted)');
const SHARED_FILE = smaps('7f0000000000-7f0000200000 rw-s 00000000 fe:00 79 /var/data');
const DATA = smaps('7f0000000000-7f0000200000 rw-p 00001000 fe:00 80 /lib/x.so');
const TEXT = smaps('7f0000000000-7f0000200000 r--p 00000000 fe:00 80 /lib/x.so', 'rd mr mw me');
const HUGE = smaps(
  '7f0000000000-7f0000200000 rw-p 00000000 00:0f 81 /anon_hugepage (deleted)',
  'rd wr ht',
  2048,
);
const HUGE_SHARED = smaps(
  '7f0000000000-7f0000200000 rw-s 00000000 00:0f 82 /anon_hugepage (deleted)',
  'ht',
  2048,
);
const SECRET = smaps('7f0000000000-7f0000200000 rw-p 00000000 00:00 0 ', 'rd wr dd');
const DEVICE = smaps('7f0000000000-7f0000200000 rw-s 00000000 00:05 83 /dev/dri/card0', 'rd wr io pf dd');
const VDSO = smaps('7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0 [vdso]', 'rd ex de');
const VVAR = smaps('7ffd00000000-7ffd00004000 r--p 00000000 00:00 0 [vvar]', 'rd io de dd pf');
const DAX = smaps('7f0000000000-7f0000200000 rw-s 00000000 fe:00 84 /mnt/pmem', 'rd wr sf');

describe('man core(5)', () => {
  const all = [
    ANONYMOUS,
    SHARED,
    MEMFD,
    SHARED_FILE,
    DATA,
    TEXT,
    HUGE,
    HUGE_SHARED,
    SECRET,
    DEVICE,
    VDSO,
    VVAR,
    DAX,
  ];
  const none: Share = 'none';
  test.each<[string, number, Share[]]>([
    ['nothing', 0, [none, none, none, none, none, none, none, none, none, none, 'all', 'all', none]],
    [
      'private anonymous memory, with what was written of files',
      FILTER.anonymousPrivate,
      ['written', none, none, none, 'written', 'written', none, none, none, none, 'all', 'all', none],
    ],
    [
      'shared anonymous memory',
      FILTER.anonymousShared,
      [none, 'all', 'all', none, none, none, none, none, none, none, 'all', 'all', none],
    ],
    [
      'private files',
      FILTER.filePrivate,
      [none, none, none, none, 'all', 'all', none, none, none, none, 'all', 'all', none],
    ],
    [
      'shared files',
      FILTER.fileShared,
      [none, none, none, 'all', none, none, none, none, none, none, 'all', 'all', none],
    ],
    [
      'ELF headers',
      FILTER.elfHeaders,
      [none, none, none, none, none, 'header', none, none, none, none, 'all', 'all', none],
    ],
    [
      'private huge pages',
      FILTER.hugePrivate,
      [none, none, none, none, none, none, 'all', none, none, none, 'all', 'all', none],
    ],
    [
      'shared huge pages',
      FILTER.hugeShared,
      [none, none, none, none, none, none, none, 'all', none, none, 'all', 'all', none],
    ],
    [
      'shared DAX',
      FILTER.daxShared,
      [none, none, none, none, none, none, none, none, none, none, 'all', 'all', 'all'],
    ],
    [
      'the default',
      0x33,
      [
        'written',
        'all',
        'all',
        none,
        'written',
        'written-else-header',
        'all',
        none,
        none,
        none,
        'all',
        'all',
        none,
      ],
    ],
  ])('%s', (_, filter, expected) => {
    expect(all.map((mapping) => shareOf(mapping, traitsOf(mapping), filter))).toEqual(expected);
  });
});
