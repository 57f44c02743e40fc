/// <reference lib="esnext.disposable" preserve="true" />
/** Owners of the mappings that are watched. */
import { ProcessHandle } from '../../live/index.js';
import type { Owner } from '../../owners/index.js';
import { OwnerNames, ownedLabel } from '../../owners/internal.js';
import type { RegionVisitor } from '../../query/index.js';
import type { Interval, ProcessTracker } from '../../track/index.js';
import { hex } from '../text.js';
import type { Collected } from './tracker.js';

/** A tracker that tells whose memory mappings are. */
export interface OwnedTracker extends ProcessTracker {
  collect(visit?: RegionVisitor): Interval & Pick<Collected, 'ownerOf'>;
}

/** The same tracker, which tells the owners of mappings, too. */
export function withOwners(tracker: ProcessTracker): OwnedTracker {
  const handle = handleOf(tracker.pid);
  const names = handle && new OwnerNames(handle);
  return {
    provider: tracker.provider,
    pid: tracker.pid,
    stopMs: tracker.stopMs,
    get ended() {
      return tracker.ended;
    },
    get skipped() {
      return tracker.skipped;
    },
    lookForNeighbours: () => tracker.lookForNeighbours?.(),
    collect(visit) {
      const collected = tracker.collect(visit);
      names?.look(collected.mappings);
      return { ...collected, ownerOf: (mapping) => names?.of(mapping) };
    },
    [Symbol.dispose]() {
      handle?.[Symbol.dispose]();
      tracker[Symbol.dispose]();
    },
  };
}

/** Undefined of a process that has ended: the tracker says so. */
function handleOf(pid: number): ProcessHandle | undefined {
  try {
    return new ProcessHandle(pid);
  } catch {
    return undefined;
  }
}

/** Mappings of one owner, added up. */
export interface OwnerTotal {
  readonly label: string;
  /** Where most of it is. */
  readonly start: number;
  readonly pages: number;
  readonly mappings: number;
}

/** Adds up the pages of mappings with the same owner, the most first. Mappings of which nothing is known stay apart. */
export function totalsByOwner(
  mappings: Iterable<{
    readonly start: number;
    readonly name: string;
    readonly owner: Owner | undefined;
    readonly pages: number;
  }>,
): OwnerTotal[] {
  const totals = new Map<
    string,
    { label: string; start: number; most: number; pages: number; mappings: number }
  >();
  for (const { start, name, owner, pages } of mappings) {
    const isKnown = owner !== undefined || name !== '';
    const label = isKnown ? ownedLabel({ name }, owner) : `[anon] at ${hex(start)}`;
    const total = totals.get(label);
    if (total === undefined) {
      totals.set(label, { label, start, most: pages, pages, mappings: 1 });
      continue;
    }
    total.pages += pages;
    total.mappings++;
    if (pages > total.most) Object.assign(total, { most: pages, start });
  }
  return [...totals.values()].sort((a, b) => b.pages - a.pages);
}
