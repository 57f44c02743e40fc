/** Writes a small file so that it is there as a whole or not at all, whatever happens. */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { codeOf } from '../abi/internal.js';
import { cannotSync } from '../live/internal.js';
import { SnapshotError } from './errors.js';
import { PART } from './files.js';

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
    const fd = openSync(part, 'w', 0o600);
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
