/** New memory next to tracked memory of the same kind: the kernel joins the two into one mapping. */
import { type Mapping, mayBeWritten } from '../proc/internal.js';

/** With more parts than that, reading the list of mappings between collects takes more than a few milliseconds. */
export const MOST_NEIGHBOURS = 2000;

/** A part of memory that is tracked, as far as it matters here. */
export interface TrackedRange {
  readonly start: number;
  readonly end: number;
  readonly inode: number;
}

/**
 * The parts of anonymous mappings that are not tracked and lie next to some that are, without a gap.
 *
 * @param mappings all of the process, in address order
 * @param tracked in address order
 */
export function newNeighbours(
  mappings: readonly Mapping[],
  tracked: readonly TrackedRange[],
): { mapping: Mapping; start: number; end: number }[] {
  const found: { mapping: Mapping; start: number; end: number }[] = [];
  let index = 0;
  for (const mapping of mappings) {
    if (mapping.inode !== 0 || !mayBeWritten(mapping)) continue;
    const { start, end } = mapping;
    while (index < tracked.length && tracked[index]!.end < start) index++;
    let at = start;
    const add = (from: number, to: number, next: TrackedRange | undefined) => {
      const last = tracked[index - 1];
      const touchesBefore = from > start || (last?.end === from && last.inode === 0);
      const touchesBehind = next !== undefined && next.start === to && next.inode === 0;
      if (from < to && (touchesBefore || touchesBehind)) found.push({ mapping, start: from, end: to });
    };
    while (index < tracked.length && tracked[index]!.start < end) {
      const part = tracked[index]!;
      add(at, Math.min(end, part.start), part);
      at = Math.max(at, part.end);
      index++;
    }
    if (at < end) add(at, end, tracked[index]);
    // It may reach into the next mapping.
    if (index > 0 && tracked[index - 1]!.end > end) index--;
  }
  return found;
}
