/** Ctrl-C: the first ends the work cleanly at the next step, the second at once. */
import { setImmediate } from 'node:timers/promises';
import { EXIT } from './exit.js';

/** How long work may go on before signals get a chance to arrive, milliseconds: too short for people to notice. */
const DEAF_MS = 20;

export class Interrupt implements Disposable {
  #requested = false;
  #listened = performance.now();

  readonly #handler = () => {
    if (this.#requested) process.exit(EXIT.interrupted);
    this.#requested = true;
  };

  constructor() {
    process.on('SIGINT', this.#handler);
  }

  /** Lets pending signals arrive, if that was some time ago, and tells whether one was an interrupt. */
  async check(): Promise<boolean> {
    if (performance.now() - this.#listened >= DEAF_MS) {
      await setImmediate();
      this.#listened = performance.now();
    }
    return this.#requested;
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#handler);
  }
}
