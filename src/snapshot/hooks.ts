/** What tests hook into snapshots: not exported by the package. */
import type { DumpHooks } from '../core/internal.js';
import { ProcessSnapshotter, type Snapshotter, type SnapshotterOptions } from './snapshotter.js';

/** `startSnapshots`, with what tests hook into it. */
export function startSnapshots(
  pid: number,
  folder: string,
  options: SnapshotterOptions,
  hooks: DumpHooks,
): Promise<Snapshotter> {
  return ProcessSnapshotter.start(pid, folder, options, hooks);
}
