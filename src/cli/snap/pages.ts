/// <reference lib="esnext.disposable" preserve="true" />
/** The pages of a snapshot, for the commands that look at those of processes. */
import { openSnapshots, SnapshotError, type Snapshots } from '../../snapshot/index.js';
import type { Pages } from '../looked-at.js';
import { ownersOfSnapshot } from './owners.js';
import { asCliError, chooseSnapshot, type SnapshotName } from './where.js';

/** @throws CliError when there is no such snapshot, or it is damaged */
export function openSnapshotPages({ folder, which }: SnapshotName): Pages {
  let snapshots: Snapshots | undefined;
  try {
    snapshots = openSnapshots(folder);
    const opened = snapshots;
    const snapshot = opened.open(chooseSnapshot(opened, which));
    const { pid, name } = opened.process;
    const { number } = snapshot.info;
    return {
      provider: 'snapshot',
      pid,
      pageSize: snapshot.pageSize,
      title: `Snapshot ${number} of process ${pid}, ${name}`,
      origin: { provider: 'snapshot', snapshot: number },
      categories: snapshot.categories,
      scan: (request, output) => snapshot.scan(request, output),
      mappings: () => snapshot.mappings,
      owners(mappings) {
        const owners = ownersOfSnapshot(pid, snapshot);
        return mappings.map(({ start }) => owners.get(start));
      },
      checkAlive: () => undefined,
      read: undefined,
      [Symbol.dispose]: () => opened[Symbol.dispose](),
    };
  } catch (error) {
    snapshots?.[Symbol.dispose]();
    throw error instanceof SnapshotError ? asCliError(error) : error;
  }
}
