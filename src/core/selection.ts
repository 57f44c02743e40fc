/** Selects the ranges to copy. Nothing here asks a kernel. Ranges are in bytes; lists of bounds are start and end in turns. */
import { PAGE_SIZE } from '../abi/index.js';
import { isRingMapping } from './direct-io.js';
import { hasDumpedPages, isPrivateFile, isShared, type Planned } from './plan.js';
import type { RangeSet } from './range-set.js';
import { visitUnion } from './range-set.js';

/** The most pages between two written ones that are copied once more, for one long piece. To write a piece takes as long as to copy four pages. */
const NEAR_PAGES = 3;
/** Parts that are so near each other, in bytes, are looked at in one call. A call costs as much as so many pages. */
const NEAR_BYTES = 256 * PAGE_SIZE;

/** A part of a mapping. */
export interface Part {
  readonly start: number;
  readonly end: number;
  readonly planned: Planned;
}

/** A part, and whether the tracker and earlier copies tell everything of it. */
export interface JudgedPart extends Part {
  readonly trusted: boolean;
}

/** Addresses that a tracker watches. */
export interface Watched {
  readonly start: number;
  readonly end: number;
}

/**
 * Joins written pages between two addresses to pieces that are worth copying: those between may come along, when they were
 * copied before and thus have their place.
 *
 * @param written ascending bounds, of which those from `index` on may reach behind `start`
 */
export function joinWritten(
  written: readonly number[],
  index: number,
  { start, end }: Watched,
  wasCopied: (start: number, end: number) => boolean,
  visit: (start: number, end: number) => void,
): void {
  let last = -1;
  let from = -1;
  for (let next = index; next < written.length && written[next]! < end; next += 2) {
    if (written[next + 1]! <= start) continue;
    const first = Math.max(start, written[next]!);
    if (from < 0) from = first;
    else if (first - last > NEAR_PAGES * PAGE_SIZE || !wasCopied(last, first)) {
      visit(from, last);
      from = first;
    }
    last = Math.min(end, written[next + 1]!);
  }
  if (from >= 0) visit(from, last);
}

/** Cuts all mappings that have pages to dump into parts: those of which the tracker and earlier copies tell everything, and the others. */
export function* judgeParts(
  plan: readonly Planned[],
  watched: readonly Watched[],
  baseline: RangeSet,
  isEarly: (planned: Planned) => boolean,
): Generator<JudgedPart> {
  let index = 0;
  for (const planned of plan) {
    const { mapping } = planned;
    while (index < watched.length && watched[index]!.end <= mapping.start) index++;
    if (!hasDumpedPages(planned)) continue;
    const early = isEarly(planned);
    let at = mapping.start;
    const found: JudgedPart[] = [];
    for (let next = index; early && next < watched.length && watched[next]!.start < mapping.end; next++) {
      const part = watched[next]!;
      if (part.start > at) found.push({ start: at, end: part.start, planned, trusted: false });
      baseline.parts(part.start, part.end, (start, end, trusted) =>
        found.push({ start, end, planned, trusted }),
      );
      at = part.end;
    }
    if (at < mapping.end) found.push({ start: at, end: mapping.end, planned, trusted: false });
    yield* found;
  }
}

/** The questions about memory at the stop. */
export interface Questions {
  /** What shows as written, as ascending bounds; undefined when not all of it is tracked. */
  written(start: number, end: number): readonly number[] | undefined;
  /** What was discarded although it was protected (`Presence.visitDiscarded`), as ascending bounds. */
  discarded(start: number, end: number): readonly number[];
  /** What has to be copied whatever the kernel reports, as ascending bounds. */
  known(start: number, end: number): readonly number[];
  /** Whether the memory can be read from its file. */
  hasFile(planned: Planned): boolean;
  /** Whether the kernel reports discarded pages of 4,096 bytes as written. */
  readonly showsDiscarded: boolean;
  /** Whether all of a part is looked at anyway: then `written` need not report discarded pages of it. */
  isLookedThrough(part: JudgedPart): boolean;
}

/** What may have to be copied. */
export interface Candidates {
  /** What was written or discarded, and what nothing is known of; ascending. */
  readonly changed: Part[];
  /** Of private memory, where pages are looked for: what has none there was discarded; ascending. */
  readonly checked: Part[];
  /** Shared memory that is read from its file. */
  readonly shared: Part[];
  /** Whether more is checked than has changed. */
  readonly isChecksMore: boolean;
}

/** Visits the pages of trusted neighbours that were written or discarded since they were copied. */
function visitChanges(
  parts: readonly JudgedPart[],
  ask: Questions,
  visit: (part: JudgedPart, start: number, end: number) => void,
): void {
  const runs = ask.written(parts[0]!.start, parts[parts.length - 1]!.end);
  if (runs === undefined) {
    // Another mapping than the one that was tracked.
    if (parts.length === 1) visit(parts[0]!, parts[0]!.start, parts[0]!.end);
    else for (const part of parts) visitChanges([part], ask, visit);
    return;
  }
  let index = 0;
  for (const part of parts) {
    const { start, end } = part;
    while (index < runs.length && runs[index + 1]! <= start) index += 2;
    const found: number[] = [];
    for (let next = index; next < runs.length && runs[next]! < end; next += 2)
      found.push(Math.max(start, runs[next]!), Math.min(end, runs[next + 1]!));
    visitUnion(found, ask.known(start, end), (from, to) => visit(part, from, to));
  }
}

export function findCandidates(parts: Iterable<JudgedPart>, ask: Questions): Candidates {
  const checked: Part[] = [];
  const changed: Part[] = [];
  const shared: Part[] = [];
  let isChecksMore = false;
  /** Discarded pages of these do not show among the changes, and all of them has to be looked at. */
  const hiding = new Set<JudgedPart>();
  const add = (part: JudgedPart, start: number, end: number) => {
    const { planned } = part;
    if (isShared(planned) && ask.hasFile(planned)) {
      shared.push({ start, end, planned });
      return;
    }
    changed.push({ start, end, planned });
    if (!hiding.has(part)) checked.push({ start, end, planned });
  };
  // Neighbours together, for a call costs more than many small mappings.
  let group: JudgedPart[] = [];
  const flush = () => {
    if (group.length > 0) visitChanges(group, ask, add);
    group = [];
  };
  for (const part of parts) {
    const { planned, start, end, trusted } = part;
    if (trusted && (!ask.showsDiscarded || planned.traits.huge || ask.isLookedThrough(part)))
      hiding.add(part);
    const isAll = hiding.has(part) && !isShared(planned);
    if (!trusted || isAll || group[group.length - 1]?.end !== start) flush();
    if (trusted) group.push(part);
    else add(part, start, end);
    if (trusted && isPrivateFile(planned)) {
      flush();
      // What was discarded is the file's again, and does not count as written.
      const discarded = ask.discarded(start, end);
      for (let index = 0; index < discarded.length; index += 2)
        add(part, discarded[index]!, discarded[index + 1]!);
    }
    if (!isAll) continue;
    flush();
    isChecksMore = true;
    checked.push({ start, end, planned });
  }
  flush();
  return { changed: inOrder(changed), checked: inOrder(checked), shared, isChecksMore };
}

/** Sorts parts by address, and cuts what overlaps. */
export function inOrder(parts: Part[]): Part[] {
  parts.sort((a, b) => a.start - b.start || a.end - b.end);
  let kept = 0;
  let end = 0;
  for (const part of parts) {
    const start = Math.max(part.start, end);
    if (start >= part.end) continue;
    parts[kept++] = start === part.start ? part : { ...part, start };
    end = part.end;
  }
  parts.length = kept;
  return parts;
}

/** Returns the parts of `parts` that lie in `limits`. Both are ascending. */
export function intersect(parts: readonly Part[], limits: readonly Part[]): Part[] {
  const found: Part[] = [];
  let index = 0;
  for (const { start, end, planned } of parts) {
    while (index < limits.length && limits[index]!.end <= start) index++;
    for (let next = index; next < limits.length && limits[next]!.start < end; next++)
      found.push({
        start: Math.max(start, limits[next]!.start),
        end: Math.min(end, limits[next]!.end),
        planned,
      });
  }
  return found;
}

/** Calls `visit` for what lies in `parts` and not in `others`, which lie in them; both ascending. */
export function visitRest(
  parts: readonly Part[],
  others: readonly Part[],
  visit: (start: number, end: number) => void,
): void {
  let index = 0;
  for (const { start, end } of parts) {
    let at = start;
    while (index < others.length && others[index]!.end <= start) index++;
    for (let next = index; next < others.length && others[next]!.start < end; next++) {
      if (others[next]!.start > at) visit(at, others[next]!.start);
      at = Math.max(at, others[next]!.end);
    }
    if (at < end) visit(at, end);
  }
}

/**
 * Of private memory, the parts with pages of its own.
 *
 * @param visitPresent calls back for those between two addresses of a mapping, and of mappings of the same kind behind it
 */
export function findPresent(
  checked: readonly Part[],
  visitPresent: (
    planned: Planned,
    start: number,
    end: number,
    visit: (start: number, end: number) => void,
  ) => void,
): Part[] {
  const present: Part[] = [];
  const isAlike = (one: Planned, other: Planned) =>
    isPrivateFile(one) === isPrivateFile(other) && one.traits.huge === other.traits.huge;
  for (let index = 0; index < checked.length; ) {
    const { planned, start } = checked[index]!;
    let last = index;
    for (let next = checked[last + 1]; next !== undefined; next = checked[last + 1]) {
      if (next.start - checked[last]!.end > NEAR_BYTES || !isAlike(next.planned, planned)) break;
      last++;
    }
    let at = index;
    visitPresent(planned, start, checked[last]!.end, (from, to) => {
      while (at < last && checked[at]!.end <= from) at++;
      for (let next = at; next <= last && checked[next]!.start < to; next++) {
        const part = checked[next]!;
        const begin = Math.max(from, part.start);
        const stop = Math.min(to, part.end);
        if (begin < stop) present.push({ start: begin, end: stop, planned: part.planned });
      }
    });
    index = last + 1;
  }
  return present;
}

/**
 * What is copied from the process's memory, ascending.
 *
 * @param present of what was checked, what has pages of its own
 */
export function selectTaken(
  { changed, isChecksMore }: Candidates,
  present: readonly Part[],
  hasFile: (planned: Planned) => boolean,
): Part[] {
  const taken = isChecksMore ? intersect(present, changed) : [...present];
  const own = new Set(taken.map(({ planned }) => planned));
  // Without its file, all of it is read by way of the process, which may have to make page tables for that.
  const whole = new Set<Planned>();
  const without: Part[] = [];
  for (const part of changed) {
    const { planned } = part;
    const isWhole =
      isPrivateFile(planned) && !hasFile(planned) && (planned.share === 'all' || own.has(planned));
    if (isWhole) whole.add(planned);
    if (isWhole || isShared(planned)) without.push(part);
  }
  return [...taken.filter(({ planned }) => !whole.has(planned)), ...without].sort(
    (a, b) => a.start - b.start,
  );
}

/** Orders parts for reading. Rings come first: they say that a device has written, and must not be newer than what it wrote. */
export function readingOrder(taken: readonly Part[]): number[] {
  const isRing = ({ planned }: Part) => isRingMapping(planned.mapping.name);
  const inTurn = [...taken.filter(isRing), ...taken.filter((part) => !isRing(part))];
  return boundsOf(inTurn);
}

/** Ascending parts as a list of bounds. */
export function boundsOf(parts: readonly Part[]): number[] {
  return parts.flatMap(({ start, end }) => [start, end]);
}

export function bytesOf(parts: readonly { readonly start: number; readonly end: number }[]): number {
  let bytes = 0;
  for (const { start, end } of parts) bytes += end - start;
  return bytes;
}
