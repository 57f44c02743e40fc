/** Ctrl-C: the first ends the work cleanly at the next step, the second at once. */
import { setImmediate } from 'node:timers/promises';
import { EXIT } from './exit.js';

export class Interrupt implements Disposable {
  #requested = false;

  readonly #handler = () => {
    if (this.#requested) process.exit(EXIT.interrupted);
    this.#requested = true;
  };

  constructor() {
    process.on('SIGINT', this.#handler);
  }

  /** Lets pending signals arrive, and tells whether one was an interrupt. */
  async check(): Promise<boolean> {
    await setImmediate();
    return this.#requested;
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#handler);
  }
}
