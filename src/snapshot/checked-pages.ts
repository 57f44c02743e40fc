/** Which pages of a store were looked at, and whether they were right: two bits a page, by their blocks. */
import { BLOCK_PAGES, placeOf } from './block.js';

export class CheckedPages {
  /**
   * By file, then by the place of a block in it: a bit for each page that was looked at, and above those, one if it was wrong. A file
   * has at most 2^20 blocks, and a Map has room for 2^24.
   */
  readonly #files = new Map<number, Map<number, number>>();
  #count = 0;

  /** How many pages were looked at. */
  get count(): number {
    return this.#count;
  }

  /** Whether a page was right; undefined when nobody has looked at it. */
  get(reference: number): boolean | undefined {
    const { file, offset, index } = placeOf(reference);
    const bits = (this.#files.get(file)?.get(offset) ?? 0) >>> index;
    return (bits & 1) === 0 ? undefined : (bits & (1 << BLOCK_PAGES)) === 0;
  }

  /** Notes a page that nobody has looked at. */
  set(reference: number, isRight: boolean): void {
    const { file, offset, index } = placeOf(reference);
    let blocks = this.#files.get(file);
    if (blocks === undefined) {
      blocks = new Map();
      this.#files.set(file, blocks);
    }
    const bits = isRight ? 1 : 1 | (1 << BLOCK_PAGES);
    blocks.set(offset, (blocks.get(offset) ?? 0) | (bits << index));
    this.#count++;
  }
}
