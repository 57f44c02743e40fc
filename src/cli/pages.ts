/// <reference lib="esnext.disposable" preserve="true" />
/** Pages to look at: those of a process as they are now, or of one of its snapshots as they were. */
import { findOwners } from '../owners/internal.js';
import { EXIT, exitCodeOf } from './exit.js';
import type { Pages } from './looked-at.js';
import { holdsSnapshots } from './snap/folder.js';
import type { SnapshotName } from './snap/where.js';
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

async function ofSnapshot(name: (where: typeof import('./snap/where.js')) => SnapshotName): Promise<Pages> {
  const [where, { openSnapshotPages }] = await Promise.all([
    import('./snap/where.js'),
    import('./snap/pages.js'),
  ]);
  return openSnapshotPages(name(where));
}

/**
 * Opens the pages of a process, or of a snapshot: `DIR@N`, or `DIR` for the newest one. Processes may have such names, too. A
 * folder without a slash is meant only where no process has its name.
 *
 * @throws CliError, ProcessError and PagemapError as `openTarget`
 */
export async function openPages(target: string): Promise<Pages> {
  const at = target.lastIndexOf('@');
  if (at > 0 && !target.includes('/', at) && holdsSnapshots(target.slice(0, at)))
    return await ofSnapshot(({ snapshotNamed }) => snapshotNamed(target));
  const newest = () => ofSnapshot(() => ({ folder: target, which: 'latest' }));
  if (target.includes('/') && holdsSnapshots(target)) return await newest();
  try {
    return ofProcess(target);
  } catch (error) {
    const isName = exitCodeOf(error) === EXIT.noProcess && !/^\d+$/.test(target);
    if (isName && holdsSnapshots(target)) return await newest();
    throw error;
  }
}
