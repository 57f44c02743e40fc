/// <reference lib="esnext.disposable" preserve="true" />
/** Pages to look at: those of a process as they are now, or of one of its snapshots as they were. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Pagemap } from '../abi/index.js';
import type { Provider } from '../live/index.js';
import type { Mapping } from '../proc/index.js';
import { openTarget } from './target.js';

export interface Pages extends Pagemap, Disposable {
  readonly provider: Provider | 'snapshot';
  readonly pid: number;
  /** The categories that can be told. */
  readonly categories: number;
  /** What it is, for a title. */
  readonly title: string;
  /** What JSON says of where the answers come from. */
  readonly origin: Readonly<Record<string, unknown>>;
  mappings(): readonly Mapping[];
  /** @throws ProcessError 'ended' when the process has ended meanwhile */
  checkAlive(): void;
  /** One of the process's files in /proc; undefined where there is no process. */
  readonly read: ((file: string) => Uint8Array) | undefined;
}

function ofProcess(target: string): Pages {
  const pagemap = openTarget(target);
  const { provider, pid } = pagemap;
  return {
    provider,
    pid,
    title: `Process ${pid}, ${pagemap.process.name()}`,
    origin: provider === 'ioctl' ? {} : { provider },
    get categories() {
      return pagemap.categories;
    },
    scan: (request, output) => pagemap.scan(request, output),
    mappings: () => pagemap.mappings(),
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
