import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { testFolders } from '../../test/support/folders.js';
import { writeTextFile } from './output-file.js';

describe('a text file', () => {
  const newFolder = testFolders('output-file');
  let folder: string;
  beforeEach(() => {
    folder = newFolder();
    mkdirSync(folder);
  });
  const read = (name: string) => readFileSync(join(folder, name), 'utf8');

  test('is written where there is none, and replaces one that is there', () => {
    for (const text of ['one', 'two']) {
      writeTextFile(join(folder, 'out'), text, { replace: true });
      expect(read('out')).toBe(text);
    }
    expect(readdirSync(folder)).toEqual(['out']);
  });

  test.each(['a file', 'nothing'])('replaces a link to %s, and not what it leads to', (what) => {
    const [link, victim] = [join(folder, 'link'), join(folder, 'victim')];
    if (what === 'a file') writeFileSync(victim, 'as it was');
    symlinkSync(victim, link);
    writeTextFile(link, 'new', { replace: true });
    expect([read('link'), lstatSync(link).isFile()]).toEqual(['new', true]);
    expect(readdirSync(folder).sort()).toEqual(what === 'a file' ? ['link', 'victim'] : ['link']);
    if (what === 'a file') expect(read('victim')).toBe('as it was');
  });

  test('is kept unless it is to be replaced, and the message says how', () => {
    writeTextFile(join(folder, 'out'), 'one', { replace: false });
    expect(() =>
      writeTextFile(join(folder, 'out'), 'two', { replace: false, advice: 'use --force' }),
    ).toThrow(/^Cannot write .*: it is there already; use --force$/);
    expect(read('out')).toBe('one');
  });

  test('goes through a link of the system: what stands for an open file is written to', () => {
    const fd = openSync(join(folder, 'open'), 'w');
    try {
      writeTextFile(`/dev/fd/${fd}`, 'new', { replace: true });
    } finally {
      closeSync(fd);
    }
    expect([read('open'), readdirSync(folder)]).toEqual(['new', ['open']]);
  });
});
