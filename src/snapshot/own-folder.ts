/**
 * A folder that snapshots may be written to. Whoever else may write to it could put links in the places of the store's files, and
 * so have root overwrite any file. Or put snapshots there that are none.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf } from '../abi/internal.js';
import { explainAccess, SnapshotError } from './errors.js';
import { LOCK_FILE } from './files.js';

const WRITABLE_BY_OTHERS = 0o022;

/** Who runs this by sudo may write to any file anyway. */
function isSudoer(uid: number, user: number): boolean {
  return user === 0 && process.env['SUDO_UID'] === String(uid);
}

function problemOf({ uid, mode }: Stats, folder: string, user: number): string | undefined {
  if (uid !== user && uid !== 0 && !isSudoer(uid, user))
    return `it belongs to user ${uid}, who could redirect what is written there; give a folder of your own, or one that does not exist yet`;
  if ((mode & WRITABLE_BY_OTHERS) !== 0)
    return `other users may write to it, and could redirect what is written there; \`chmod go-w ${folder}\`, or give a folder that does not exist yet`;
  return undefined;
}

/**
 * Makes the folder, for its owner alone, unless it is there.
 *
 * @param user who writes to it; this process's user by default
 * @throws SnapshotError 'unsafe', 'not-permitted', and 'not-empty' for a file
 */
export function makeOwnFolder(folder: string, user: number = process.geteuid!()): void {
  let about: Stats;
  try {
    // Memory holds secrets.
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    about = statSync(folder);
  } catch (error) {
    if (['EEXIST', 'ENOTDIR'].includes(codeOf(error) ?? ''))
      throw new SnapshotError(
        'not-empty',
        `Cannot keep snapshots in ${folder}: it, or a part of its path, is a file; give a folder`,
        { cause: error },
      );
    throw explainAccess(error, `keep snapshots in ${folder}`);
  }
  const problem = problemOf(about, folder, user);
  if (problem !== undefined)
    throw new SnapshotError('unsafe', `Cannot keep snapshots in ${folder}: ${problem}`);
}

/**
 * Opens the file that a writer locks. It is never cut, and no link is followed.
 *
 * @throws SnapshotError 'unsafe' and 'not-permitted'
 */
export function openLockFile(folder: string): number {
  const path = join(folder, LOCK_FILE);
  const unsafe = (cause?: unknown) =>
    new SnapshotError(
      'unsafe',
      `Cannot keep snapshots in ${folder}: ${path} is not a regular file; remove it`,
      {
        cause,
      },
    );
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    if (['ELOOP', 'EISDIR', 'ENXIO'].includes(codeOf(error) ?? '')) throw unsafe(error);
    throw explainAccess(error, `keep snapshots in ${folder}`);
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw unsafe();
}
