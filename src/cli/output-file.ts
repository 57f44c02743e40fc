/** Files that commands write memory to. */
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { CliError, EXIT } from './exit.js';
import { printable } from './text.js';

function failure(file: string, why: string): CliError {
  return new CliError(EXIT.failed, `Cannot write ${printable(file)}: ${why}`);
}

/** @throws CliError where no new file can be in the folder of this one */
export function checkFolder(file: string): void {
  const folder = dirname(file);
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw failure(file, 'there is no such folder');
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch {
    throw failure(file, 'its folder may not be written to; name another file: -o FILE');
  }
}

/** Refuses what could only fail after the work is done, and tells of a file that the work will replace. */
export function checkOutput(file: string): void {
  const existing = statSync(file, { throwIfNoEntry: false });
  if (existing?.isDirectory()) throw failure(file, 'it is a folder; name a file in it');
  if (existing !== undefined && !existing.isFile()) throw failure(file, 'it is not a regular file');
  checkFolder(file);
  if (existing !== undefined)
    process.stderr.write(`pmscan: ${printable(file)} is replaced when the new one is complete\n`);
}
