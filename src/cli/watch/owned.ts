/** What mappings of one owner have, added up. */
import type { Owner } from '../../owners/index.js';
import { ownedLabel } from '../../owners/internal.js';
import { hex } from '../text.js';

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
