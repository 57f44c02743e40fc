import { firstIndex } from '../abi/internal.js';

/** A set of addresses, as few ranges; for ranges of any size, unlike `PageSet`. */
export class RangeSet {
  /** Start and end in turns, ascending; no two touch. */
  #bounds: number[] = [];

  /** Index of the first bound that is at least `address`. */
  #find(address: number): number {
    return firstIndex(this.#bounds.length, (index) => this.#bounds[index]! >= address);
  }

  add(start: number, end: number): void {
    if (start >= end) return;
    let from = this.#find(start);
    let to = this.#find(end);
    // Odd: inside a range, or at its end.
    const first = from % 2 === 1 ? this.#bounds[--from]! : start;
    if (to % 2 === 0 && this.#bounds[to] === end) to++;
    const last = to % 2 === 1 ? this.#bounds[to++]! : end;
    this.#bounds.splice(from, to - from, first, last);
  }

  delete(start: number, end: number): void {
    const from = this.#find(start);
    let to = this.#find(end);
    // Odd: inside a range, or at its end.
    const kept = from % 2 === 1 ? [start] : [];
    if (to % 2 === 1) {
      if (this.#bounds[to] === end) to++;
      else kept.push(end);
    }
    if (to > from || kept.length > 0) this.#bounds.splice(from, to - from, ...kept);
  }

  /** The parts of a range, in order, and whether they are in the set. */
  parts(start: number, end: number, visit: (start: number, end: number, inside: boolean) => void): void {
    let index = this.#find(start);
    if (index % 2 === 0 && this.#bounds[index] === start) index++;
    let at = start;
    for (; at < end; index++) {
      const to = Math.min(end, this.#bounds[index] ?? end);
      if (to > at) visit(at, to, index % 2 === 1);
      at = Math.max(at, to);
    }
  }
}

/** Visits what lies in either of two lists of ranges (start and end in turns, ascending), in order; those that touch as one. */
export function visitUnion(
  some: readonly number[],
  others: readonly number[],
  visit: (start: number, end: number) => void,
): void {
  let start = -1;
  let end = -1;
  for (let one = 0, other = 0; one < some.length || other < others.length; ) {
    const first = other >= others.length || some[one]! <= others[other]!;
    const from = first ? some[one]! : others[other]!;
    const to = first ? some[one + 1]! : others[other + 1]!;
    if (first) one += 2;
    else other += 2;
    if (from <= end) {
      end = Math.max(end, to);
      continue;
    }
    if (end >= 0) visit(start, end);
    [start, end] = [from, to];
  }
  if (end >= 0) visit(start, end);
}

/** What lies in either of two lists, as a list of the same kind. */
export function union(some: readonly number[], others: readonly number[]): readonly number[] {
  if (others.length === 0) return some;
  const all: number[] = [];
  visitUnion(some, others, (start, end) => all.push(start, end));
  return all;
}

/** A list of ranges in any order, which may overlap, as a list in order. */
export function ordered(ranges: readonly number[]): readonly number[] {
  let isOrdered = true;
  for (let index = 2; index < ranges.length && isOrdered; index += 2)
    isOrdered = ranges[index - 1]! <= ranges[index]!;
  if (isOrdered) return ranges;
  const pairs: [number, number][] = [];
  for (let index = 0; index < ranges.length; index += 2) pairs.push([ranges[index]!, ranges[index + 1]!]);
  const all: number[] = [];
  visitUnion(pairs.sort(([one], [other]) => one - other).flat(), [], (start, end) => all.push(start, end));
  return all;
}

/** The parts of a list that lie between two addresses. */
export function within(ranges: readonly number[], start: number, end: number): number[] {
  const first = firstIndex(ranges.length / 2, (index) => ranges[index * 2 + 1]! > start);
  const found: number[] = [];
  for (let index = first * 2; index < ranges.length && ranges[index]! < end; index += 2)
    found.push(Math.max(start, ranges[index]!), Math.min(end, ranges[index + 1]!));
  return found;
}
