/** Which mappings are told apart in metrics: few enough, whatever a process maps. */

/** So many names have a series of their own, at most. */
const MOST_NAMES = 20;
/** A name gets one when it makes this share of the writes of an interval. */
const LEAST_SHARE = 0.01;
const MOST_CHARACTERS = 100;

/** All that has no series of its own. */
export const OTHER = 'other';

/**
 * A mapping's name as a label: printable characters only, of bounded length, and numbers (in names of temporary files, say)
 * as `#`, so that not each file is another name.
 */
export function labelOf(name: string): string {
  if (name === '') return '[anon]';
  const plain = name
    .replace(/ \(deleted\)$/, '')
    .replace(/[^\x20-\x7e\u00a1-\u1fff\u2030-\u205e\u3001-\ud7ff]/g, '?')
    .replace(/(?<![A-Za-z])[0-9a-f]{8,}(?![A-Za-z])|\d{3,}/g, '#');
  return plain.length > MOST_CHARACTERS ? `${plain.slice(0, MOST_CHARACTERS)}…` : plain;
}

/** Gives labels to names, the first ones to earn one. */
export class NameLabels {
  readonly #given = new Set<string>();

  /** @param share of all that was written in the interval, 0 to 1 */
  label(name: string, share: number): string {
    const label = labelOf(name);
    if (this.#given.has(label)) return label;
    if (share < LEAST_SHARE || this.#given.size >= MOST_NAMES) return OTHER;
    this.#given.add(label);
    return label;
  }
}
