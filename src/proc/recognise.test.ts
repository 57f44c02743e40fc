import { describe, expect, test } from 'vitest';
import { parseMaps } from './maps.js';
import {
  hasFile,
  isDevice,
  isExecutable,
  isKernelMade,
  isPrivate,
  isPrivateAnonymous,
  isPrivateFile,
  isReadable,
  isShared,
  isVdso,
  isVvar,
  mappingKind,
  mayBeDevice,
  mayBeHugetlb,
  mayBeWritten,
} from './recognise.js';

const PREDICATES = {
  hasFile,
  isDevice,
  isExecutable,
  isKernelMade,
  isPrivate,
  isPrivateAnonymous,
  isPrivateFile,
  isReadable,
  isShared,
  isVdso,
  isVvar,
  mayBeDevice,
  mayBeHugetlb,
  mayBeWritten,
};

const OWN = ['isPrivate', 'isPrivateAnonymous', 'isReadable', 'mayBeWritten'];
const KERNEL = ['isKernelMade', 'isPrivate', 'isReadable', 'mayBeDevice', 'mayBeWritten'];
const SHARED = ['hasFile', 'isReadable', 'isShared', 'mayBeDevice', 'mayBeWritten'];

const FILE = ['hasFile', 'isPrivate', 'isPrivateFile', 'isReadable', 'mayBeWritten'];
const PRIVATE_CODE = ['hasFile', 'isExecutable', 'isPrivate', 'isPrivateFile', 'isReadable', 'mayBeDevice'];

/** Lines of real processes without their addresses, what the mapping is for, and all that is true of it. */
const LINES: readonly [string, string, readonly string[]][] = [
  ['rw-p 00000000 00:00 0 [heap]', 'heap', OWN],
  ['rw-p 00000000 00:00 0 [stack]', 'stack', OWN],
  ['rw-p 00000000 00:00 0 ', 'anonymous', OWN],
  ['---p 00000000 00:00 0 ', 'anonymous', ['isPrivate', 'isPrivateAnonymous', 'mayBeWritten']],
  ['rwxp 00000000 00:00 0 ', 'anonymous', [...OWN, 'isExecutable']],
  ['rw-p 00000000 00:00 0 [anon:stack of a thread]', 'stack', OWN],
  ['rw-p 00000000 00:00 0 [anon:v8]', 'anonymous', OWN],
  [
    'rw-s 00000000 00:01 77 [anon_shmem:cache]',
    'shared',
    ['hasFile', 'isReadable', 'isShared', 'mayBeWritten'],
  ],
  ['rw-s 00000000 00:01 12 /dev/zero (deleted)', 'shared', SHARED],
  ['rw-p 00000000 00:05 7 /dev/zero', 'anonymous', [...OWN, 'hasFile', 'isPrivateFile', 'mayBeDevice']],
  ['rw-s 00000000 00:19 3 /dev/shm/x', 'shared', SHARED],
  ['r--s 00000000 00:19 3 /dev/shm/x', 'shared', ['hasFile', 'isReadable', 'isShared', 'mayBeDevice']],
  ['rw-s 00000000 00:01 5 /memfd:x (deleted)', 'shared', SHARED],
  ['rw-s 00000000 00:01 5 /SYSV0000002a (deleted)', 'shared', SHARED],
  [
    'rw-p 00000000 00:10 9 /anon_hugepage (deleted)',
    'anonymous',
    ['hasFile', 'isPrivate', 'isReadable', 'mayBeDevice', 'mayBeWritten'],
  ],
  ['rw-s 00000000 00:10 9 /anon_hugepage (deleted)', 'shared', SHARED],
  ['rw-s 00000000 00:2f 9 /dev/hugepages/x', 'shared', SHARED],
  ['rw-p 00000000 00:2f 9 /dev/hugepages/x', 'file', [...FILE, 'mayBeDevice']],
  ['rw-p 00000000 00:19 3 /dev/shm/x', 'file', [...FILE, 'mayBeDevice']],
  ['r-xp 00000000 00:01 5 /memfd:x (deleted)', 'code', PRIVATE_CODE],
  [
    'r-xp 00001000 08:01 99 /usr/lib/libc.so.6',
    'code',
    ['hasFile', 'isExecutable', 'isPrivate', 'isPrivateFile', 'isReadable'],
  ],
  [
    'r--p 00000000 08:01 99 /usr/lib/libc.so.6',
    'file',
    ['hasFile', 'isPrivate', 'isPrivateFile', 'isReadable'],
  ],
  [
    'rw-p 00002000 08:01 99 /usr/lib/libc.so.6',
    'file',
    ['hasFile', 'isPrivate', 'isPrivateFile', 'isReadable', 'mayBeWritten'],
  ],
  ['rw-s 00000000 08:01 99 /var/lib/data', 'file', ['hasFile', 'isReadable', 'isShared', 'mayBeWritten']],
  ['rw-s 00000000 00:05 99 /dev/dri/card0', 'device', [...SHARED, 'isDevice']],
  ['rw-s 00000000 00:0f 4 anon_inode:[io_uring]', 'device', [...SHARED, 'isDevice']],
  ['rw-s 00000000 00:11 8 /[aio] (deleted)', 'device', [...SHARED, 'isDevice']],
  ['r-xp 00000000 00:00 0 [vdso]', 'kernel', [...KERNEL, 'isExecutable', 'isVdso']],
  ['r--p 00000000 00:00 0 [vvar]', 'kernel', [...KERNEL, 'isVdso', 'isVvar']],
  ['r--p 00000000 00:00 0 [vvar_vclock]', 'kernel', [...KERNEL, 'isVdso', 'isVvar']],
  [
    '--xp 00000000 00:00 0 [uprobes]',
    'kernel',
    ['isExecutable', 'isKernelMade', 'isPrivate', 'mayBeDevice', 'mayBeWritten'],
  ],
];

describe('what a mapping is', () => {
  test('is told by the name alone where its permissions are not known', () => {
    expect(['/memfd:x', '/anon_hugepage', '/lib/x.so', ''].map((name) => mappingKind(name, ''))).toEqual([
      ...['shared', 'shared', 'file', 'anonymous'],
    ]);
  });

  test.each(LINES)('%s', (line, kind, truths) => {
    // Neither begins nor ends at a huge page.
    const [mapping] = parseMaps(new TextEncoder().encode(`7f0000001000-7f0000003000 ${line}\n`));
    const found = Object.entries(PREDICATES).filter(([, isTrue]) => isTrue(mapping!));
    expect(found.map(([name]) => name).sort()).toEqual([...truths].sort());
    expect(mappingKind(mapping!.name, mapping!.perms)).toBe(kind);
  });

  test('hugetlb memory has a file, and begins and ends at huge pages', () => {
    const text = [
      '7f0000000000-7f0000400000 rw-p 00000000 00:10 9 /anon_hugepage (deleted)',
      '7f0000400000-7f0000600000 rw-p 00000000 00:00 0 ',
      '7f0000600000-7f0000601000 rw-s 00000000 00:10 9 /anon_hugepage (deleted)',
    ].join('\n');
    const mappings = parseMaps(new TextEncoder().encode(`${text}\n`));
    expect(mappings.map(mayBeHugetlb)).toEqual([true, false, false]);
  });
});
