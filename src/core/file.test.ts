import fs, { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CoreFile } from './file.js';

const O_TMPFILE = 0o20000000;
/** What an open with the flag fails with. */
const refuse = new Map<number, string>();

const { openSync } = fs;
beforeAll(() => {
  fs.openSync = (path, flags, mode) => {
    for (const [flag, code] of refuse) {
      if ((Number(flags) & flag) !== 0) throw Object.assign(new Error(`${code}, open`), { code });
    }
    return openSync(path, flags, mode);
  };
  syncBuiltinESMExports();
});
afterAll(() => {
  fs.openSync = openSync;
  syncBuiltinESMExports();
});

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-file-'));
const path = join(folder, 'core');
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => refuse.clear());

const openHere = () =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
    } catch {
      return false;
    }
  });

/** Whole pages, then what is none. */
async function write(file: CoreFile): Promise<Buffer> {
  const buffer = new ArrayBuffer((1 << 20) + 4096);
  const expected = Buffer.alloc((4 << 20) + 10);
  const writes: Promise<void>[] = [];
  for (let piece = 0; piece < 4; piece++) {
    // Not all of them can begin at a page's border, wherever the buffer does.
    const bytes = new Uint8Array(buffer, piece * 8, 1 << 20);
    bytes.fill(7);
    expected.fill(7, piece << 20, (piece + 1) << 20);
    writes.push(file.write(bytes, 0, bytes.length, piece << 20));
  }
  await Promise.all(writes);
  const rest = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
  await file.write(rest, 0, 10, 4 << 20);
  expected.set(rest, 4 << 20);
  return expected;
}

describe('CoreFile', () => {
  test.each([
    ['as it is', []],
    ['without nameless files, as Node says', [[O_TMPFILE, 'ENOTSUP']]],
    ['without nameless files, as old kernels say', [[O_TMPFILE, 'EISDIR']]],
    ['without O_DIRECT', [[fs.constants.O_DIRECT, 'EINVAL']]],
  ] as [string, [number, string][]][])('%s', async (_, refused) => {
    for (const [flag, code] of refused) refuse.set(flag, code);
    writeFileSync(path, 'what was there');
    {
      using file = new CoreFile(path, folder);
      const expected = await write(file);
      expect(readFileSync(path, 'utf8')).toBe('what was there');
      await file.publish();
      expect(readFileSync(path).equals(expected)).toBe(true);
    }
    expect(readdirSync(folder)).toEqual(['core']);
    expect(openHere()).toEqual([]);
    {
      using file = new CoreFile(path, folder);
      await write(file);
    }
    // Not published: nothing is left of it, and what was there stays.
    expect(readdirSync(folder)).toEqual(['core']);
    expect(openHere()).toEqual([]);
  });

  test('what fails in a flush is reported when it is published, although the kernel tells it once only', async () => {
    const { fsync } = fs;
    {
      using file = new CoreFile(path, folder);
      const refused = (_fd: number, done: (error: Error) => void) =>
        setImmediate(done, Object.assign(new Error('EIO, fsync'), { code: 'EIO' }));
      fs.fsync = refused as unknown as typeof fsync;
      syncBuiltinESMExports();
      file.flush();
      fs.fsync = fsync;
      syncBuiltinESMExports();
      file.flush();
      await expect(file.publish()).rejects.toThrow('EIO');
    }
    expect(readdirSync(folder)).toEqual(['core']);
    expect(openHere()).toEqual([]);
  });

  test('a file that is flushed before its end is whole, too', async () => {
    using file = new CoreFile(path, folder);
    const expected = await write(file);
    file.flush();
    await file.write(Uint8Array.of(9), 0, 1, 5);
    expected[5] = 9;
    await file.publish();
    expect(readFileSync(path).equals(expected)).toBe(true);
  });

  test('a folder that may not be written to is no reason for another way', () => {
    refuse.set(O_TMPFILE, 'EACCES');
    expect(() => new CoreFile(path, folder)).toThrow('EACCES');
  });
});
