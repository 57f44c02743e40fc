/** Where a shell would find a command. */
import { statSync } from 'node:fs';
import { join } from 'node:path';

/** Folders that are searched where PATH is not set: man execvp(3). */
const DEFAULT_PATH = '/bin:/usr/bin';

/**
 * Whether there is such a command at all, permitted or not, as far as it shows: looking for it fails with EACCES already when
 * a folder in PATH may not be searched.
 */
export function isThere(command: string, path: string = process.env['PATH'] ?? DEFAULT_PATH): boolean {
  const candidates = command.includes('/')
    ? [command]
    : path.split(':').map((folder) => join(folder || '.', command));
  return candidates.some((candidate) => {
    try {
      return statSync(candidate).isFile();
    } catch {
      return false;
    }
  });
}
