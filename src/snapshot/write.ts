/** Writes a small file so that it is there as a whole or not at all, whatever happens. */
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { codeOf } from '../abi/internal.js';
import { cannotSync } from '../live/internal.js';
import { SnapshotError } from './errors.js';
import { PART } from './files.js';

const NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

const NO_ROOM: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** An error that says where there was no room, if that is what it is about. */
export function explainSpace(error: unknown, folder: string): unknown {
  if (!NO_ROOM.has(codeOf(error) ?? '')) return error;
  return new SnapshotError(
    'space',
    `Cannot keep the snapshot in ${folder}: there is no room for it any more, or a limit does not let it grow; those before it are whole`,
    { cause: error },
  );
}

/** The same of a file that something of a snapshot is written to. */
export function explainOutput(error: unknown, file: string): unknown {
  if (!NO_ROOM.has(codeOf(error) ?? '')) return error;
  return new SnapshotError(
    'space',
    `Cannot write ${file}: ${dirname(file)} has no room for it, or a limit does not let it grow; make room, or name a file elsewhere: -o FILE`,
    { cause: error },
  );
}

export function writeAll(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
}

/** Brings a folder's list of names to the disk. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } catch (error) {
    if (!cannotSync(error)) throw error;
  } finally {
    closeSync(fd);
  }
}

export function writeWhole(path: string, bytes: Uint8Array): void {
  const part = `${path}${PART}`;
  const isNew = !existsSync(path);
  let written: string | undefined = part;
  try {
    // One that a writer was killed over. What is made is new: no link is followed, and nothing is cut that was there.
    rmSync(part, { force: true });
    const fd = openSync(part, NEW, 0o600);
    try {
      writeAll(fd, bytes, 0);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(part, path);
    // What was there before is gone: the new one is all there is.
    written = isNew ? path : undefined;
    syncFolder(dirname(path));
  } catch (error) {
    try {
      if (written !== undefined) unlinkSync(written);
    } catch {
      // It never came to be.
    }
    throw explainSpace(error, dirname(path));
  }
}
