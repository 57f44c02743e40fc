import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { partPath, pathElement, WorkingFolder } from './place.js';

describe('names from outside in paths', () => {
  test.each([
    ['web-1.example.org', 'web-1.example.org'],
    ['..', '%2E.'],
    ['.hidden', '%2Ehidden'],
    ['a/b\\c', 'a%2Fb%5Cc'],
    ['a=b%', 'a%3Db%25'],
    ['\0\n\x1b[31m', '%00%0A%1B%5B31m'],
    ['ü\u202e', '%C3%BC%E2%80%AE'],
    ['', '__HIVE_DEFAULT_PARTITION__'],
  ])('%j', (name, element) => {
    expect(pathElement(name)).toBe(element);
  });

  test('are short enough, and not cut inside an escape', () => {
    const long = pathElement('ü/'.repeat(1000));
    expect(long.length).toBeLessThanOrEqual(200);
    expect(long).toMatch(/^(%[0-9A-F]{2})+$/);
  });

  test('never leave their folder', () => {
    for (let code = 0; code < 0x300; code++) {
      const path = partPath(String.fromCharCode(code).repeat(3), 1, 'abcdef01', new Date(0));
      expect(path).toMatch(/^host=[\w.%-]+\/date=1970-01-01\/pid=1\/19700101T000000Z-abcdef01\.parquet$/);
    }
  });
});

describe('working folders', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-place-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const own = (path: string, change: object) => {
    const owner = join(path, 'owner');
    writeFileSync(owner, JSON.stringify({ ...JSON.parse(readFileSync(owner, 'utf8')), ...change }));
  };

  test('of somebody alive stay, also where its number stands for another process, as in a container', () => {
    using mine = WorkingFolder.inFolder(folder, 'one');
    own(mine.path, { pid: 999_999_999 });
    using _other = WorkingFolder.inFolder(folder, 'two');
    expect(readdirSync(folder).sort()).toEqual(['.recording-one', '.recording-two']);
    using file = WorkingFolder.forFile(join(folder, 'x.parquet'));
    own(file.path, { pid: 999_999_999, boot: 'another' });
    expect(() => WorkingFolder.forFile(join(folder, 'x.parquet'))).toThrow('process 999999999 on');
  });

  test('of the dead are cleared away, and of other machines not', () => {
    let owner = '';
    {
      using mine = WorkingFolder.inFolder(folder, 'mine');
      owner = readFileSync(join(mine.path, 'owner'), 'utf8');
    }
    for (const [name, change] of Object.entries({
      // Nobody holds its lock.
      dead: { locked: true },
      unlocked: { locked: false, pid: 999_999_999 },
      // A container on this machine that has been made anew since.
      renamed: { locked: true, host: 'another' },
      elsewhere: { locked: true, host: 'elsewhere', boot: 'another' },
    })) {
      const path = join(folder, `.recording-${name}`);
      mkdirSync(path);
      writeFileSync(join(path, 'owner'), JSON.stringify({ ...JSON.parse(owner), ...change }));
    }
    using mine = WorkingFolder.inFolder(folder, 'mine');
    expect(readdirSync(folder).sort()).toEqual(['.recording-elsewhere', '.recording-mine']);
    expect(mine.path).toBe(join(folder, '.recording-mine'));
  });

  test('of other users stay, and so does what a link leads to', () => {
    const base = join(folder, 'others');
    mkdirSync(base);
    let owner = '';
    {
      using mine = WorkingFolder.inFolder(base, 'mine');
      owner = readFileSync(join(mine.path, 'owner'), 'utf8');
      expect(statSync(mine.path).mode & 0o022).toBe(0);
    }
    const dead = (path: string) => {
      mkdirSync(path);
      writeFileSync(join(path, 'owner'), owner);
    };
    dead(join(base, '.recording-dead'));
    dead(join(base, '.x.parquet.recording'));
    dead(join(base, 'elsewhere'));
    symlinkSync(join(base, 'elsewhere'), join(base, '.recording-link'));
    const another = process.geteuid!() + 1;
    WorkingFolder.inFolder(base, 'mine', another)[Symbol.dispose]();
    expect(existsSync(join(base, '.recording-dead', 'owner'))).toBe(true);
    expect(() => WorkingFolder.forFile(join(base, 'x.parquet'), another)).toThrow(
      'if that has ended, remove',
    );
    WorkingFolder.inFolder(base, 'mine')[Symbol.dispose]();
    expect(readdirSync(base).sort()).toEqual(['.recording-link', '.x.parquet.recording', 'elsewhere']);
    expect(existsSync(join(base, 'elsewhere', 'owner'))).toBe(true);
  });
});
