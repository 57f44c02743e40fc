import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { randomBelow } from '../../test/support/random.mjs';
import { findMapping, findMappingIndex, type Mapping, parseMaps } from './maps.js';
import { nameBytes, ProcParseError } from './text.js';

/** One character a byte, so that a test can spell invalid UTF-8 as `\xff`. */
function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function parse(text: string): Mapping[] {
  return parseMaps(latin1(text));
}

/** A line with this name as the kernel pads it. */
function lineNamed(name: string): string {
  return `${'7f2edecbf000-7f2edecc0000 rw-s 00000000 fe:00 2146541'.padEnd(72)} ${name}\n`;
}

function nameOf(name: string): string {
  return parse(lineNamed(name))[0]!.name;
}

function errorOf(bytes: Uint8Array): ProcParseError {
  try {
    parseMaps(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(ProcParseError);
    return error as ProcParseError;
  }
  throw new Error('parsed');
}

// Printed by Linux 6.18 for a process that mapped files with such names.
const RECORDED =
  '562587ae3000-562587ae5000 r--p 00002000 fe:00 260386                     /usr/bin/head\n' +
  '562587b04000-562587b25000 rw-p 00000000 00:00 0                          [heap]\n' +
  '7f2ede082000-7f2ede3c7000 rw-p 00000000 00:00 0 \n' +
  '7f2edebba000-7f2edebbb000 rw-s 00000000 fe:00 2146543                    /tmp/pm/d/a\x1b[31m\n' +
  '7f2edecbe000-7f2edecbf000 rw-s 00000000 fe:00 2146542                    /tmp/pm/d/a\tb\n' +
  '7f2edecbf000-7f2edecc0000 rw-s 00000000 fe:00 2146541                    /tmp/pm/d/a\\012b\n' +
  '7f2edecc0000-7f2edecc1000 rw-s 00000000 fe:00 2146540                    /tmp/pm/d/a b\n' +
  '7fdbf902b000-7fdbf902d000 rw-s 00000000 00:01 1027                       /dev/zero (deleted)\n' +
  '7ffe1ca4e000-7ffe1ca6f000 rw-p 00000000 00:00 0                          [stack]\n' +
  'ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n';

describe('parseMaps', () => {
  it('takes recorded lines apart', () => {
    const mappings = parse(RECORDED);
    expect(mappings.map(({ name }) => name)).toEqual([
      '/usr/bin/head',
      '[heap]',
      '',
      '/tmp/pm/d/a\x1b[31m',
      '/tmp/pm/d/a\tb',
      '/tmp/pm/d/a\nb',
      '/tmp/pm/d/a b',
      '/dev/zero',
      '[stack]',
      '[vsyscall]',
    ]);
    expect(mappings[0]).toEqual({
      start: 0x562587ae3000,
      end: 0x562587ae5000,
      perms: 'r--p',
      offset: 0x2000,
      device: { major: 0xfe, minor: 0 },
      inode: 260386,
      name: '/usr/bin/head',
      deleted: false,
    });
    expect(mappings.filter(({ deleted }) => deleted).map(({ inode }) => inode)).toEqual([1027]);
  });

  it('keeps addresses above 2^63 exact', () => {
    const vsyscall = parse(RECORDED).at(-1)!;
    expect(BigInt(vsyscall.start)).toBe(0xffffffffff600000n);
    expect(BigInt(vsyscall.end)).toBe(0xffffffffff601000n);
    const top = parse('fffffffffffff000-ffffffffffffffff rwxs fffffffffffff000 00:00 0 \n')[0]!;
    expect(BigInt(top.start)).toBe(0xfffffffffffff000n);
    expect(BigInt(top.offset)).toBe(0xfffffffffffff000n);
    const random = randomBelow(1);
    for (let round = 0; round < 1000; round++) {
      const start = (BigInt(random(2 ** 26)) << 38n) | (BigInt(random(2 ** 26)) << 12n);
      const line = `${start.toString(16)}-${(start + 4096n).toString(16)} ---p 0 0:0 0\n`;
      expect(BigInt(parse(line)[0]!.start)).toBe(start);
    }
  });

  it('gives all permissions', () => {
    for (const r of 'r-')
      for (const w of 'w-')
        for (const x of 'x-')
          for (const s of 'sp') {
            const perms = r + w + x + s;
            expect(parse(`1000-2000 ${perms} 0 0:0 0\n`)[0]!.perms).toBe(perms);
          }
  });

  it('reads wide devices and inodes', () => {
    const [mapping] = parse('1000-2000 r--p 00000000 103:fffff 9007199254740991 /a\n');
    expect(mapping!.device).toEqual({ major: 0x103, minor: 0xfffff });
    expect(mapping!.inode).toBe(Number.MAX_SAFE_INTEGER);
    expect(parse('1000-2000 r--p 0 0:0 18446744073709551615 /a\n')[0]!.inode).toBe(2 ** 64);
  });

  it('reads an empty file and a view into a larger buffer', () => {
    expect(parse('')).toEqual([]);
    const padded = latin1(`1000-2000 rw-p 0 0:0 0\n${RECORDED}garbage`);
    const view = padded.subarray(23, 23 + RECORDED.length);
    expect(parseMaps(view)).toEqual(parse(RECORDED));
    expect(parseMaps(Buffer.from(RECORDED, 'latin1'))).toEqual(parse(RECORDED));
  });

  it.runIf(process.platform === 'linux')('reads the mappings of this process', () => {
    const mappings = parseMaps(readFileSync('/proc/self/maps'));
    expect(mappings.length).toBeGreaterThan(20);
    expect(mappings.some(({ name }) => name === '[stack]')).toBe(true);
    for (let index = 1; index < mappings.length; index++) {
      expect(mappings[index]!.start).toBeGreaterThanOrEqual(mappings[index - 1]!.end);
    }
    for (const { start, end, offset } of mappings) {
      expect([start % 4096, end % 4096, offset % 4096]).toEqual([0, 0, 0]);
    }
  });

  it('reads 10,000 mappings', () => {
    const lines = Array.from({ length: 10_000 }, (_, index) => {
      const start = 0x7f0000000000 + index * 8192;
      const fields = `${start.toString(16)}-${(start + 8192).toString(16)} r-xp 00000000 fe:00 ${index}`;
      return `${fields.padEnd(72)} /usr/lib/x86_64-linux-gnu/library-${index}.so.1.2.3\n`;
    });
    const bytes = latin1(lines.join(''));
    const mappings = parseMaps(bytes);
    expect(mappings).toHaveLength(10_000);
    expect(mappings[9_999]!.name).toBe('/usr/lib/x86_64-linux-gnu/library-9999.so.1.2.3');
  });
});

describe('names', () => {
  it('undoes the newline escape and no other', () => {
    expect(nameOf('/a\\012\\012b')).toBe('/a\n\nb');
    expect(nameOf('/a\\011b\\\\c\\')).toBe('/a\\011b\\\\c\\');
    expect(nameOf('/a\\01')).toBe('/a\\01');
    expect(nameOf('/a\\\\012')).toBe('/a\\\n');
  });

  it('keeps spaces inside and at the end', () => {
    expect(nameOf('/a  b   ')).toBe('/a  b   ');
    expect(nameOf('[anon: my heap ]')).toBe('[anon: my heap ]');
  });

  it('cuts off (deleted) from files only', () => {
    const deleted = (name: string) => {
      const mapping = parse(lineNamed(name))[0]!;
      return [mapping.name, mapping.deleted];
    };
    expect(deleted('/memfd:my mem (deleted)')).toEqual(['/memfd:my mem', true]);
    expect(deleted('/f (deleted) (deleted)')).toEqual(['/f (deleted)', true]);
    expect(deleted('/f (deleted) ')).toEqual(['/f (deleted) ', false]);
    expect(deleted('/f(deleted)')).toEqual(['/f(deleted)', false]);
    expect(deleted('[anon_shmem:x] (deleted)')).toEqual(['[anon_shmem:x] (deleted)', false]);
    expect(deleted('[anon:x (deleted)')).toEqual(['[anon:x (deleted)', false]);
    expect(deleted('/\\012 (deleted)')).toEqual(['/\n', true]);
    expect(deleted('/\xff (deleted)')).toEqual(['/\\xff', true]);
  });

  it('decodes UTF-8 and shows what is none', () => {
    const utf8 = String.fromCharCode(...new TextEncoder().encode('/é€😀\ufeff'));
    expect(nameOf(utf8)).toBe('/é€😀\ufeff');
    expect(nameOf('\xef\xbb\xbf/x')).toBe('\ufeff/x');
    expect(nameOf('/a\xff\xfeb')).toBe('/a\\xff\\xfeb');
    // Cut off, overlong, surrogate, above U+10FFFF, a stray continuation.
    expect(nameOf('/\xe2\x82')).toBe('/\\xe2\\x82');
    expect(nameOf('/\xc0\xaf')).toBe('/\\xc0\\xaf');
    expect(nameOf('/\xe0\x80\xaf')).toBe('/\\xe0\\x80\\xaf');
    expect(nameOf('/\xed\xa0\x80')).toBe('/\\xed\\xa0\\x80');
    expect(nameOf('/\xf4\x90\x80\x80')).toBe('/\\xf4\\x90\\x80\\x80');
    expect(nameOf('/\x80\xc3\xa9')).toBe('/\\x80é');
  });

  it('keeps escapes that the bytes spell apart from its own', () => {
    expect(nameOf('/\\xff')).toBe('/\\x5cxff');
    expect(nameOf('/\\xff\xff')).toBe('/\\x5cxff\\xff');
    expect(nameOf('/\\\xff')).toBe('/\\\\xff');
    expect(nameOf('/\\xFF\\xf')).toBe('/\\xFF\\xf');
  });

  it('keeps long names whole', () => {
    const long = `/${'directory/'.repeat(400)}file`;
    expect(nameOf(long)).toBe(long);
  });

  it('gives every name back to the byte', () => {
    const seed = Number(process.env['PMSCAN_SEED'] ?? Date.now() % 1e9);
    const random = randomBelow(seed);
    // Weighted towards the bytes that the encodings are about.
    const alphabet = [
      ...latin1('\\\\x01012fF5c ()a\t\x1b\n'),
      0xc3,
      0xa9,
      0xe2,
      0x82,
      0xac,
      0xff,
      0x80,
      0xf0,
    ];
    for (let round = 0; round < 5000; round++) {
      const name = [0x2f];
      for (let length = random(24); length > 0; length--) {
        name.push(random(4) === 0 ? random(255) + 1 : alphabet[random(alphabet.length)]!);
      }
      const text = String.fromCharCode(...name);
      // The two that the kernel's format cannot tell apart.
      if (text.includes('\\012') || text.endsWith(' (deleted)')) continue;
      const mapping = parse(lineNamed(text.replaceAll('\n', '\\012')))[0]!;
      expect([...nameBytes(mapping.name)], `seed ${seed}, round ${round}`).toEqual(name);
    }
  });
});

describe('what is no maps file', () => {
  it.each([
    ['', 'no address range'],
    ['hello', 'no address range'],
    ['-2000 rw-p 0 0:0 0', 'no address range'],
    ['1000', 'no address range'],
    ['1000-', 'no address range'],
    ['1000- rw-p 0 0:0 0', 'no address range'],
    ['1000-2000', 'no address range'],
    ['1000-2000rw-p 0 0:0 0', 'no address range'],
    ['1000-20G0 rw-p 0 0:0 0', 'no address range'],
    ['1000-11111111111111111 rw-p 0 0:0 0', 'no address range'],
    ['2000-1000 rw-p 0 0:0 0', 'an address range that ends before it starts'],
    ['1000-1000 rw-p 0 0:0 0', 'an address range that ends before it starts'],
    ['1000-2000 ', 'no permissions'],
    ['1000-2000 rw-', 'no permissions'],
    ['1000-2000 wr-p 0 0:0 0', 'no permissions'],
    ['1000-2000 rw-px 0 0:0 0', 'no permissions'],
    ['1000-2000 rw-p', 'no permissions'],
    ['1000-2000 rw-p ', 'no file offset'],
    ['1000-2000 rw-p x 0:0 0', 'no file offset'],
    ['1000-2000 rw-p 0', 'no file offset'],
    ['1000-2000 rw-p 0 ', 'no device number'],
    ['1000-2000 rw-p 0 00', 'no device number'],
    ['1000-2000 rw-p 0 0:', 'no device number'],
    ['1000-2000 rw-p 0 0:0', 'no device number'],
    ['1000-2000 rw-p 0 0:0 ', 'no inode number'],
    ['1000-2000 rw-p 0 0:0 a', 'no inode number'],
    ['1000-2000 rw-p 0 0:0 0/a', 'no inode number'],
    ['1000-2000 rw-p 0 0:0 0\r', 'no inode number'],
  ])('%j', (line, problem) => {
    const good = '1000-2000 rw-p 00000000 00:00 0 \n';
    const error = errorOf(latin1(`${good}${line}\n${good}`));
    expect([error.file, error.line]).toEqual(['maps', 2]);
    expect(error.text).toBe(line.replace('\r', '\\x0d'));
    expect(error.message).toBe(`Cannot parse line 2 of maps: ${problem} in "${error.text}"`);
  });

  it('shows control characters escaped, and not too much', () => {
    expect(errorOf(latin1('\x1b[31m\x9b\xff\n')).text).toBe('\\x1b[31m\\x9b\\xff');
    expect(errorOf(latin1(`${'z'.repeat(1000)}\n`)).text).toBe(`${'z'.repeat(160)}...`);
  });

  it('refuses a text that is cut off anywhere but behind a line', () => {
    for (let length = 1; length < RECORDED.length; length++) {
      const bytes = latin1(RECORDED.slice(0, length));
      if (RECORDED[length - 1] === '\n') {
        expect(parseMaps(bytes)).toEqual(
          parse(RECORDED).slice(0, RECORDED.slice(0, length).split('\n').length - 1),
        );
      } else {
        expect(errorOf(bytes).message).toContain('cut off');
      }
    }
    const cut = latin1(RECORDED.slice(0, -5));
    expect(parseMaps(cut.subarray(0, cut.lastIndexOf(10) + 1))).toEqual(parse(RECORDED).slice(0, -1));
  });
});

describe('findMapping', () => {
  it('agrees with a linear search', () => {
    const random = randomBelow(7);
    for (let count = 0; count < 12; count++) {
      let at = 0;
      const mappings = Array.from({ length: count }, () => {
        const start = at + random(3);
        at = start + 1 + random(3);
        return { start, end: at };
      });
      for (let address = -1; address <= at + 1; address++) {
        const expected = mappings.findIndex(({ start, end }) => start <= address && address < end);
        expect(findMappingIndex(mappings, address)).toBe(expected);
        expect(findMapping(mappings, address)).toBe(mappings[expected]);
      }
    }
  });
});
