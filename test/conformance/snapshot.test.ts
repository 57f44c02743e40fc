/** A snapshot as a platform: simulated memory, of which a snapshot is taken for every scan. */
import { describe } from 'vitest';
import {
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  type Pagemap,
  USER_SPACE_END,
} from '../../src/abi/index.js';
import { userSpaceEnd } from '../../src/live/index.js';
import { forEachRegion } from '../../src/query/index.js';
import { type PageRanges, SnapshotPagemap } from '../../src/snapshot/pagemap.js';
import type { Platform } from './platform.js';
import { SimulatedWorld } from './simulator.js';
import { conformance } from './suite.js';

const KNOWN = 0x1fd & ~(PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED);

/** What is noted of an address space when a snapshot is taken. */
function snapshotOf(live: Pagemap, mappings: readonly { start: number; end: number }[]): SnapshotPagemap {
  const categories: [page: number, count: number, value: number][] = [];
  const query = { start: 0, end: USER_SPACE_END, categoryAnyofMask: KNOWN, returnMask: KNOWN };
  forEachRegion(live, query, (start, end, value) =>
    categories.push([start / PAGE_SIZE, (end - start) / PAGE_SIZE, value]),
  );
  return new SnapshotPagemap({
    mappings,
    categories: categories as PageRanges,
    known: KNOWN,
    written: undefined,
    userSpaceEnd: userSpaceEnd(),
  });
}

/** The simulator's memory, looked at by way of snapshots. */
class SnapshotWorld extends SimulatedWorld {
  override get pagemap(): Pagemap {
    const live = super.pagemap;
    const mappings = () => this.mappings();
    return {
      pageSize: live.pageSize,
      scan: (request, output) => snapshotOf(live, mappings()).scan(request, output),
    };
  }
}

const platform: Platform = {
  name: 'snapshots',
  userSpaceEnd: userSpaceEnd(),
  categories: KNOWN,
  cannotTrack: 'a snapshot does not change',
  cannotTrackAccesses: 'nobody asked',
  // Each scan takes a snapshot of all of it.
  rounds: 5,
  lacks: () => undefined,
  create: () => new SnapshotWorld('6.18'),
};

describe(platform.name, () => conformance(platform));
