/** How far a dump has come, told as it goes. */
import type { CoreProgress } from './options.js';

export class Progress {
  readonly #tell: ((progress: CoreProgress) => void) | undefined;
  #started: number;
  #round: CoreProgress['round'] = 1;
  #copiedBytes = 0;
  #totalBytes = 0;

  /** @param started when the dump began, as of `performance.now()` */
  constructor(tell: ((progress: CoreProgress) => void) | undefined, started: number) {
    this.#tell = tell;
    this.#started = started;
  }

  /** The next dump begins. */
  restart(): void {
    this.#started = performance.now();
  }

  get elapsedMs(): number {
    return performance.now() - this.#started;
  }

  /** What comes now; nothing of it is copied yet. */
  begin(round: CoreProgress['round']): void {
    this.#round = round;
    this.#copiedBytes = 0;
  }

  expect(totalBytes: number): void {
    this.#totalBytes = totalBytes;
    this.#copiedBytes = 0;
  }

  add(bytes: number): void {
    this.#copiedBytes += bytes;
    this.tell();
  }

  tell(): void {
    this.#tell?.({
      round: this.#round,
      copiedBytes: this.#copiedBytes,
      totalBytes: this.#totalBytes,
      elapsedMs: this.elapsedMs,
    });
  }
}
