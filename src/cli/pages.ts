/// <reference lib="esnext.disposable" preserve="true" />
/** Pages to look at: those of a process as they are now, or of one of its snapshots as they were. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { findOwners } from '../owners/internal.js';
import type { Pages } from './looked-at.js';
import { openTarget } from './target.js';

function ofProcess(target: string): Pages {
  const pagemap = openTarget(target);
  const { provider, pid } = pagemap;
  return {
    provider,
    pid,
    pageSize: pagemap.pageSize,
    // Asked when it is wanted: the process may have ended by then.
    get title() {
      return `Process ${pid}, ${pagemap.process.name()}`;
    },
    origin: provider === 'ioctl' ? {} : { provider },
    get categories() {
      return pagemap.categories;
    },
    scan: (request, output) => pagemap.scan(request, output),
    mappings: () => pagemap.mappings(),
    owners: (mappings) => findOwners(pagemap.process, mappings),
    checkAlive: () => pagemap.checkAlive(),
    read: (file) => pagemap.process.read(file),
    [Symbol.dispose]: () => pagemap[Symbol.dispose](),
  };
}

/** Whether a text is `DIR@N`, and there is such a folder with snapshots: processes may have such names, too. */
function isSnapshot(target: string): boolean {
  const at = target.lastIndexOf('@');
  return at > 0 && existsSync(join(target.slice(0, at), 'store.json'));
}

/**
 * Opens the pages of a process, or of a snapshot, `DIR@N`. The caller disposes it.
 *
 * @throws CliError, ProcessError and PagemapError as `openTarget`
 */
export async function openPages(target: string): Promise<Pages> {
  if (!isSnapshot(target)) return ofProcess(target);
  const { openSnapshotPages } = await import('./snap/pages.js');
  return openSnapshotPages(target);
}
