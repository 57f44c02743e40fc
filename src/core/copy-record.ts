/** What a sink holds of a process's memory, and what of that is known to be out of date. */
import { PAGE_SIZE } from '../abi/index.js';
import { PageSet } from './page-set.js';
import type { Planned } from './plan.js';
import { RangeSet } from './range-set.js';

export class CopyRecord {
  /** Pages that were copied, as they were at some time. */
  readonly copied = new PageSet();
  /** Pages that the tracker reported and that were not copied since. */
  readonly dirty = new PageSet();
  /** Where all pages were copied once, or are in `dirty`, while the tracker watched. */
  readonly baseline = new RangeSet();
  /** Pages that the tracker reported since the last state. */
  readonly written = new PageSet();
  readonly #unreadable = new PageSet();
  #failures = 0;

  /** Called before they are copied: what is written from here on is reported anew. */
  take(start: number, end: number): void {
    this.copied.add(start, end);
    this.dirty.delete(start, end);
    this.forgetFailures(start, end);
  }

  forgetFailures(start: number, end: number): void {
    this.#unreadable.delete(start, end);
  }

  /** A page could not be read. Gives how many could not before. */
  fail(page: number): number {
    this.#unreadable.add(page, page + PAGE_SIZE);
    return this.#failures++;
  }

  countUnreadable(plan: readonly Planned[]): number {
    let pages = 0;
    for (const { mapping, share } of plan) {
      if (share === 'none' || share === 'header' || share === 'zeros') continue;
      this.#unreadable.runs(mapping.start, mapping.end, true, (start, end) => {
        pages += (end - start) / PAGE_SIZE;
      });
    }
    return pages;
  }
}
