/// <reference lib="esnext.disposable" preserve="true" />
/** Goes over many snapshots, one after the other, reading each manifest once. */
import { MOST_USER_SPACE_END, PAGE_SIZE } from '../abi/internal.js';
import { PageSet } from '../core/internal.js';
import { isLost } from './listing.js';
import { type Point, Replay } from './log.js';
import { ZERO } from './page-table.js';
import { PageReader } from './pages.js';
import { type Snapshot, type Snapshots, StoredSnapshot } from './snapshots.js';

export interface WalkedSnapshot {
  /** Valid until the next one is asked for. */
  readonly snapshot: Snapshot;
  /** Pages whose bytes were others at any time since the one before: runs from one address to another, ascending. */
  readonly changed: readonly (readonly [start: number, end: number])[];
}

/**
 * @param numbers ascending; those between two of them are gone over, too, unless they are damaged
 * @throws SnapshotError 'damaged', 'version', 'not-found' when one is dropped meanwhile
 */
export function* walkSnapshots(
  snapshots: Snapshots,
  numbers: readonly number[],
): Generator<WalkedSnapshot, void, void> {
  using pages = new PageReader(snapshots.folder);
  let replay = new Replay(snapshots.folder);
  let last: Point | undefined;
  for (const number of numbers) {
    const set = new PageSet();
    const visit = (page: number, before: number, now: number) => {
      // A page of zeros is as one that is not there.
      if (before > ZERO || now > ZERO) set.add(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
    };
    if (last === undefined) last = replay.to(number);
    else {
      try {
        for (let between = last.manifest.number + 1; between <= number; between++)
          last = replay.to(between, visit);
      } catch (error) {
        if (!isLost(error)) throw error;
        const { table } = last;
        replay = new Replay(snapshots.folder);
        last = replay.to(number);
        last.table.differences(table, (page, now, before) => visit(page, before, now));
      }
    }
    const point = last;
    const changed: [number, number][] = [];
    set.runs(0, MOST_USER_SPACE_END, true, (start, end) => changed.push([start, end]));
    yield { snapshot: new StoredSnapshot(point, pages, snapshots.machine, undefined), changed };
  }
}
