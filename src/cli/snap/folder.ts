/** Whether a target is a folder of snapshots. It loads nothing of theirs: most targets are processes. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { CliError, EXIT } from '../exit.js';
import { printable } from '../text.js';

/** @throws CliError where this user may not look into the folder */
export function holdsSnapshots(folder: string): boolean {
  try {
    return statSync(join(folder, 'store.json'), { throwIfNoEntry: false }) !== undefined;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EACCES') return false;
    throw new CliError(
      EXIT.notPermitted,
      `Cannot look into ${printable(folder)}: permission denied; run as its owner, or as root`,
      { cause },
    );
  }
}
