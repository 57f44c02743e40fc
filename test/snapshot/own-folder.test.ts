/** Folders that other users may write to: what they put there leads no writer to other files. */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { openSnapshots } from '../../src/snapshot/index.js';
import { makeOwnFolder } from '../../src/snapshot/own-folder.js';
import { testFolders } from '../support/folders.js';
import { ABOUT, addSnapshot, StoreWriter } from '../support/snapshot-store.js';

const newFolder = testFolders('own-folder');

/** A folder, and a file besides it that nobody is to write to. */
function withVictim(): { folder: string; victim: string } {
  const folder = newFolder();
  mkdirSync(folder, { mode: 0o700 });
  const victim = newFolder();
  writeFileSync(victim, 'precious');
  return { folder, victim };
}

const unsafe = expect.objectContaining({ reason: 'unsafe', code: 'ERR_SNAPSHOT_UNSAFE' });

describe('a folder for snapshots', () => {
  test('whose lock is a link, or no file, is refused, and what the link leads to is not cut', () => {
    const { folder, victim } = withVictim();
    const lock = join(folder, 'lock');
    symlinkSync(victim, lock);
    expect(() => StoreWriter.open(folder, ABOUT)).toThrow(unsafe);
    expect(readFileSync(victim, 'utf8')).toBe('precious');
    rmSync(lock);
    mkdirSync(lock);
    expect(() => StoreWriter.open(folder, ABOUT)).toThrow(unsafe);
    rmSync(lock, { recursive: true });
    // It is opened, not made anew.
    writeFileSync(lock, 'kept');
    StoreWriter.open(folder, ABOUT)[Symbol.dispose]();
    expect(readFileSync(lock, 'utf8')).toBe('kept');
  });

  test('with links in the places of what is being written loses these, and not what they lead to', async () => {
    const { folder, victim } = withVictim();
    for (const name of ['store.json.part', 'snapshot-00000001.part']) symlinkSync(victim, join(folder, name));
    using store = StoreWriter.open(folder, ABOUT);
    symlinkSync(victim, join(folder, 'snapshot-00000002.part'));
    await addSnapshot(store, new Map([[1, 1]]));
    await addSnapshot(store, new Map([[1, 2]]), []);
    expect(readFileSync(victim, 'utf8')).toBe('precious');
    expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);
    for (const name of ['store.json', 'snapshot-00000001', 'snapshot-00000002'])
      expect(lstatSync(join(folder, name)).isFile(), name).toBe(true);
    using snapshots = openSnapshots(folder);
    expect((await snapshots.verify()).problems).toEqual([]);
  });

  test.each([0o777, 0o1777, 0o770, 0o702])('is refused with mode %o, and nothing is put there', (mode) => {
    const { folder } = withVictim();
    chmodSync(folder, mode);
    expect(() => StoreWriter.open(folder, ABOUT)).toThrow(unsafe);
    expect(() => StoreWriter.open(folder, ABOUT)).toThrow(`\`chmod go-w ${folder}\``);
    expect(readdirSync(folder)).toEqual([]);
    chmodSync(folder, 0o755);
    StoreWriter.open(folder, ABOUT)[Symbol.dispose]();
  });

  test("is refused when it is another user's", () => {
    const { folder } = withVictim();
    const user = process.geteuid!();
    // Root has all users; all others are told that they are somebody else.
    if (user === 0) chownSync(folder, 65_534, 65_534);
    expect(() => makeOwnFolder(folder, user === 0 ? 0 : user + 1)).toThrow(unsafe);
    expect(() => makeOwnFolder(folder, lstatSync(folder).uid)).not.toThrow();
    if (user !== 0) return;
    // Unless that user has asked for it, by sudo.
    vi.stubEnv('SUDO_UID', '65534');
    try {
      expect(() => makeOwnFolder(folder, 0)).not.toThrow();
      expect(() => makeOwnFolder(folder, 1)).toThrow(unsafe);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  test('is refused when it is a file, or lies in one', () => {
    const { victim } = withVictim();
    for (const path of [victim, join(victim, 'in')])
      expect(() => StoreWriter.open(path, ABOUT)).toThrow(`Cannot keep snapshots in ${path}: it, or a part`);
    expect(readFileSync(victim, 'utf8')).toBe('precious');
  });
});
