import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseMaps } from './maps.js';
import { parseSmaps } from './smaps.js';
import { ProcParseError } from './text.js';

const encoder = new TextEncoder();

// Linux 6.18.
const RECORDED = `556124376000-556124378000 r--p 00000000 fe:00 260386                     /usr/bin/head
Size:                  8 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                   8 kB
Pss:                   8 kB
Pss_Dirty:             0 kB
Shared_Clean:          0 kB
Shared_Dirty:          0 kB
Private_Clean:         8 kB
Private_Dirty:         0 kB
Referenced:            8 kB
Anonymous:             0 kB
KSM:                   0 kB
LazyFree:              0 kB
AnonHugePages:         0 kB
ShmemPmdMapped:        0 kB
FilePmdMapped:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:       0 kB
Swap:                  0 kB
SwapPss:               0 kB
Locked:                0 kB
THPeligible:           0
VmFlags: rd mr mw me 
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
Size:                  4 kB
Rss:                   0 kB
THPeligible:           1
ProtectionKey:         3
VmFlags: ex 
`;

function parse(text: string) {
  return parseSmaps(encoder.encode(text));
}

describe('parseSmaps', () => {
  it('gives mappings with their sizes in bytes, numbers and flags', () => {
    const [head, vsyscall, ...rest] = parse(RECORDED);
    expect(rest).toEqual([]);
    expect(head).toMatchObject({
      start: 0x556124376000,
      name: '/usr/bin/head',
      perms: 'r--p',
      deleted: false,
    });
    expect(Object.keys(head!.sizes)).toHaveLength(22);
    expect(head!.sizes.Size).toBe(8192);
    expect(head!.sizes.Private_Clean).toBe(8192);
    expect(head!.sizes.Swap).toBe(0);
    expect(head!.vmFlags).toEqual(['rd', 'mr', 'mw', 'me']);
    expect(head!.thpEligible).toBe(false);
    expect(BigInt(vsyscall!.start)).toBe(0xffffffffff600000n);
    expect(vsyscall!.sizes).toEqual({ Size: 4096, Rss: 0 });
    expect(vsyscall!.numbers).toEqual({ THPeligible: 1, ProtectionKey: 3 });
    expect(vsyscall!.thpEligible).toBe(true);
    expect(vsyscall!.vmFlags).toEqual(['ex']);
  });

  it('takes fields that it does not know, in any order', () => {
    const [first, second] = parse(
      '1000-2000 rw-p 0 0:0 0 \nNew_Field: 3 kB\nSize: 4 kB\nOdd: some text\nCount: 12\nEmpty:\nTail: 3 kBx\n' +
        '2000-3000 rw-p 0 0:0 0 \nSize: 8 kB\nNew_Field: 5 kB\n',
    );
    expect(first!.sizes).toEqual({ New_Field: 3072, Size: 4096 });
    expect(first!.numbers).toEqual({ Count: 12 });
    expect(first!.thpEligible).toBeUndefined();
    expect(first!.vmFlags).toEqual([]);
    expect(second!.sizes).toEqual({ Size: 8192, New_Field: 5120 });
  });

  it('reads smaps_rollup and an empty file', () => {
    const [rollup] = parse(
      '562587ae3000-7ffca6174000 ---p 00000000 00:00 0                          [rollup]\nRss: 2140 kB\nPss_Anon: 1 kB\n',
    );
    expect(rollup!.name).toBe('[rollup]');
    expect(rollup!.sizes).toEqual({ Rss: 2140 * 1024, Pss_Anon: 1024 });
    expect(parse('')).toEqual([]);
  });

  it('is not misled by names that look like fields', () => {
    const [mapping] = parse('1000-2000 rw-p 0 0:0 0 /a\\012Rss: 99 kB\nRss: 4 kB\n');
    expect(mapping!.name).toBe('/a\nRss: 99 kB');
    expect(mapping!.sizes).toEqual({ Rss: 4096 });
  });

  it.each([
    ['Rss: 4 kB\n', 1, 'a field before the first mapping'],
    ['1000-2000 rw-p 0 0:0 0 \nRss 4 kB\n', 2, 'neither a mapping nor a field'],
    ['1000-2000 rw-p 0 0:0 0 \n\n', 2, 'neither a mapping nor a field'],
    ['1000-2000 rw-p 0 0:0 0 \n: 4 kB\n', 2, 'neither a mapping nor a field'],
    ['1000-2000 rw-p 0 0:0 0 \nRss: 4 kB\n3000-2000 rw-p 0 0:0 0 \n', 3, 'ends before it starts'],
    ['1000-2000 rw-p 0 0:0 0 \nRss: 4', 2, 'cut off'],
    ['1000-2000 rw-p 0 0:0 0', 1, 'cut off'],
  ])('refuses %j', (text, line, problem) => {
    expect(() => parse(text)).toThrow(ProcParseError);
    expect(() => parse(text)).toThrow(`Cannot parse line ${line} of smaps: `);
    expect(() => parse(text)).toThrow(problem);
  });

  it.runIf(process.platform === 'linux')('reads this process as parseMaps does', () => {
    const smaps = parseSmaps(readFileSync('/proc/self/smaps'));
    const stack = smaps.find(({ name }) => name === '[stack]')!;
    expect(stack.sizes.Rss).toBeGreaterThan(0);
    expect(stack.vmFlags).toContain('wr');
    for (const { start, end, sizes } of smaps) expect(sizes.Size).toBe(end - start);
    const program = parseMaps(readFileSync('/proc/self/maps'))[0]!;
    expect(smaps[0]).toMatchObject({ ...program });
  });
});
