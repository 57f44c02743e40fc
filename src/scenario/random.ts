/** Seeded random numbers (xorshift128), the same on every machine. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param seed any integer */
  constructor(seed: number) {
    this.#a = seed | 0 || 0x9e3779b9;
    this.#b = Math.imul(this.#a, 0x85ebca6b) ^ 0x1234567;
    this.#c = Math.imul(this.#b, 0xc2b2ae35) ^ 0x89abcde;
    this.#d = Math.imul(this.#c, 0x27d4eb2f) ^ 0xf012345;
    for (let round = 0; round < 16; round++) this.next();
  }

  /** An unsigned 32-bit number. */
  next(): number {
    const t = this.#a ^ (this.#a << 11);
    this.#a = this.#b;
    this.#b = this.#c;
    this.#c = this.#d;
    this.#d = this.#d ^ (this.#d >>> 19) ^ t ^ (t >>> 8);
    return this.#d >>> 0;
  }

  /** An integer from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + (this.next() % (high - low + 1));
  }

  /** True in `percent` of 100 cases. */
  chance(percent: number): boolean {
    return this.next() % 100 < percent;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.next() % items.length]!;
  }

  /** One of the items, in proportion to its weight. */
  weighted<T>(items: readonly (readonly [item: T, weight: number])[]): T {
    let total = 0;
    for (const [, weight] of items) total += weight;
    let left = this.next() % total;
    for (const [item, weight] of items) {
      left -= weight;
      if (left < 0) return item;
    }
    return items[0]![0];
  }
}
