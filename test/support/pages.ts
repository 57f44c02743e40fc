/** Pages of a target's memory, by their numbers in it. */
import { pageSize } from '../../src/live/index.js';

export interface Range {
  readonly start: number;
  readonly end: number;
}

/** Adds the pages of [start, end) that lie in `range`. */
export function addPages(pages: number[], range: Range, start: number, end: number): void {
  for (let at = Math.max(start, range.start); at < Math.min(end, range.end); at += pageSize())
    pages.push((at - range.start) / pageSize());
}

/** `count` numbers, `step` apart. */
export const every = (count: number, first = 0, step = 1): number[] =>
  Array.from({ length: count }, (_, index) => first + index * step);
