/// <reference lib="esnext.disposable" preserve="true" />
/** Owners of the mappings that are watched. */
import { ProcessHandle } from '../../live/index.js';
import type { Owner } from '../../owners/index.js';
import { OwnerNames, ownedLabel } from '../../owners/internal.js';
import type { AddressRange, RegionVisitor } from '../../query/index.js';
import type { Interval, ProcessTracker } from '../../track/index.js';
import type { Subject } from '../../track/internal.js';
import { hex } from '../text.js';
import type { Collected } from './tracker.js';

/** A tracker that tells whose memory mappings are. */
export interface OwnedTracker extends ProcessTracker {
  collect(visit?: RegionVisitor): Interval & Pick<Collected, 'ownerOf'>;
}

/** The owners of a process's mappings while it is watched; none of a process that has ended. */
export class WatchedOwners implements Disposable {
  readonly #handle: ProcessHandle | undefined;
  readonly #names: OwnerNames | undefined;

  /** To be made before accesses are tracked: to look for owners would count as some. */
  constructor(pid: number, subject: Subject) {
    try {
      this.#handle = new ProcessHandle(pid);
    } catch {
      // Who tracks it says so.
      return;
    }
    this.#names = new OwnerNames(this.#handle, subject === 'accesses');
    if (subject === 'accesses') this.#names.look([]);
  }

  /** Looks for owners, and gives them by mapping. */
  find(): (mapping: AddressRange) => Owner | undefined {
    this.#names?.look([]);
    return (mapping) => this.#names?.of(mapping);
  }

  /** The same tracker, which tells the owners of mappings, too. */
  of(tracker: ProcessTracker): OwnedTracker {
    const names = this.#names;
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
      [Symbol.dispose]: () => tracker[Symbol.dispose](),
    };
  }

  [Symbol.dispose](): void {
    this.#handle?.[Symbol.dispose]();
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
