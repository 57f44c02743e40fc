/**
 * The times of intervals, milliseconds. The first one begins when this is made, right after the first
 * protection.
 */
export class IntervalClock {
  readonly #started = performance.now();
  #last = this.#started;

  /** An interval ends now. @param begin when collecting began, as of `performance.now()` */
  end(begin: number): { elapsedMs: number; intervalMs: number; scanMs: number } {
    const now = performance.now();
    const times = { elapsedMs: now - this.#started, intervalMs: now - this.#last, scanMs: now - begin };
    this.#last = now;
    return times;
  }
}
