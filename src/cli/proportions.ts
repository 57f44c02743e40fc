/** The proportional and the unique set of each mapping, as the kernel counts them in smaps. */
import type { SmapsMapping } from '../proc/index.js';

/** Bytes; undefined where they are not known. */
export interface Proportions {
  /** Each page divided by how many have it mapped. */
  readonly pssBytes?: number | undefined;
  /** Pages that nobody else has mapped: what would be free if the process ended. */
  readonly ussBytes?: number | undefined;
}

const key = ({ start, end }: { readonly start: number; readonly end: number }) => `${start}-${end}`;

function proportionsOf({ sizes }: SmapsMapping): Proportions {
  const { Pss, Private_Clean, Private_Dirty, Private_Hugetlb = 0 } = sizes;
  if (Pss === undefined || Private_Clean === undefined || Private_Dirty === undefined) return {};
  // Of huge pages of hugetlb, the kernel counts none in Pss.
  return { pssBytes: Pss + Private_Hugetlb, ussBytes: Private_Clean + Private_Dirty + Private_Hugetlb };
}

/**
 * Finds the sets of mappings, in their order. A mapping that has changed since smaps was read has none.
 *
 * @param smaps all mappings of the process
 */
export function proportions(
  mappings: readonly { readonly start: number; readonly end: number }[],
  smaps: readonly SmapsMapping[],
): Proportions[] {
  const known = new Map(smaps.map((mapping) => [key(mapping), proportionsOf(mapping)]));
  return mappings.map((mapping) => known.get(key(mapping)) ?? {});
}

/** Adds up what is known. */
export function sumProportions(parts: readonly Proportions[]): Proportions {
  const sum = (name: keyof Proportions) => parts.reduce((total, part) => total + (part[name] ?? 0), 0);
  return { pssBytes: sum('pssBytes'), ussBytes: sum('ussBytes') };
}
