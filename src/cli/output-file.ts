/** Files that commands write. */
import {
  accessSync,
  constants,
  lstatSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { codeOf } from '../abi/internal.js';
import { CliError, EXIT } from './exit.js';
import { printable } from './text.js';

function failure(file: string, why: string, cause?: unknown): CliError {
  return new CliError(EXIT.failed, `Cannot write ${printable(file)}: ${why}`, { cause });
}

/** What is there, if anything: nothing is below a file. */
function existingAt(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (codeOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** @throws CliError where no new file can be in the folder of this one */
function checkFolder(file: string): void {
  const folder = dirname(file);
  if (existingAt(folder)?.isDirectory() !== true) throw failure(file, 'there is no such folder');
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch {
    throw failure(file, 'its folder may not be written to; name another file: -o FILE');
  }
}

/** Refuses what could only fail after the work is done, and tells of a file that the work will replace. */
export function checkOutput(file: string): void {
  const existing = existingAt(file);
  if (existing?.isDirectory()) throw failure(file, 'it is a folder; name a file in it');
  if (existing !== undefined && !existing.isFile()) throw failure(file, 'it is not a regular file');
  checkFolder(file);
  if (existing !== undefined)
    process.stderr.write(`pmscan: ${printable(file)} is replaced when the new one is complete\n`);
}

export interface TextFileOptions {
  /** Whether a file that is there is replaced; otherwise it is kept, and that is an error. */
  readonly replace: boolean;
  /** What to do about a file that is kept: the end of the message. */
  readonly advice?: string | undefined;
}

const WHY_NOT: Readonly<Record<string, string>> = {
  EEXIST: 'it is there already',
  ENOENT: 'there is no such folder',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota is used up',
  EACCES: 'it may not be written',
  EROFS: 'the file system can only be read',
};

/** `/dev/stdout` is a link that the system made. Nobody else can make one there. */
function isSystemFolder(folder: string): boolean {
  const path = realpathSync(folder);
  return path === '/dev' || path.startsWith('/proc/');
}

/** Whether a new file takes the place of what is there: of a file, and of a link, but not of a pipe or a terminal. */
function isReplaced(path: string): boolean {
  const existing = existingAt(path);
  // A link that leads nowhere is replaced as a file is. Others may have made it, so the file that it names must not appear.
  const isOurs = existing?.isFile() ?? lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink();
  return isOurs === true && !isSystemFolder(dirname(path));
}

function isKept(path: string, advice: string | undefined, cause?: unknown): CliError {
  const why = WHY_NOT['EEXIST']!;
  return failure(path, advice === undefined ? why : `${why}; ${advice}`, cause);
}

/**
 * Refuses what `writeTextFile` could not write, before the time is spent.
 *
 * @throws CliError
 */
export function checkTextFile(path: string, { replace, advice }: TextFileOptions): void {
  const existing = existingAt(path);
  if (!replace && existing !== undefined) throw isKept(path, advice);
  // A pipe or a device is written to as it is.
  if (existing === undefined || isReplaced(path)) checkFolder(path);
}

/**
 * Writes a file as a whole. Follows no symbolic link to a file: in a folder that others may write to, such a link could lead
 * to any file of this user.
 *
 * @throws CliError
 */
export function writeTextFile(path: string, text: string, { replace, advice }: TextFileOptions): void {
  try {
    const isNew = replace && isReplaced(path);
    // Only what is no file, as a pipe, is written to as it is; where a shell put it there, behind what is there already.
    const flag = replace && !isNew && existingAt(path) !== undefined ? 'a' : 'wx';
    // The old one stays until the new one is whole.
    const written = isNew ? `${path}.${process.pid}.new` : path;
    try {
      writeFileSync(written, text, { flag });
      if (isNew) renameSync(written, path);
    } catch (error) {
      // A part of it is of no use; what was there before is not ours.
      if (flag === 'wx' && codeOf(error) !== 'EEXIST') rmSync(written, { force: true });
      throw error;
    }
  } catch (cause) {
    const code = codeOf(cause) ?? '';
    const why = WHY_NOT[code] ?? (code || String(cause));
    if (code !== 'EEXIST') throw failure(path, why, cause);
    if (replace)
      throw failure(path, `${printable((cause as NodeJS.ErrnoException).path ?? '')} is in its way`, cause);
    throw isKept(path, advice, cause);
  }
}
