/** Files that commands write memory to. */
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { CliError, EXIT } from './exit.js';
import { printable } from './text.js';

/** Refuses what could only fail after the work is done, and tells of a file that the work will replace. */
export function checkOutput(file: string): void {
  const folder = dirname(file);
  const fail = (why: string) => new CliError(EXIT.failed, `Cannot write ${printable(file)}: ${why}`);
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw fail('there is no such folder');
  const existing = statSync(file, { throwIfNoEntry: false });
  if (existing?.isDirectory()) throw fail('it is a folder; name a file in it');
  if (existing !== undefined && !existing.isFile()) throw fail('it is not a regular file');
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch {
    throw fail('its folder may not be written to; name another file: -o FILE');
  }
  if (existing !== undefined)
    process.stderr.write(`pmscan: ${printable(file)} is replaced when the new one is complete\n`);
}
