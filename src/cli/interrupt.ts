/** What asks a command to end: Ctrl-C, and the signals of service managers, `timeout` and closed terminals. */
import { setImmediate } from 'node:timers/promises';
import { EXIT } from './exit.js';

/** How long work may go on before signals get a chance to arrive, milliseconds: too short for people to notice. */
const DEAF_MS = 20;

/** Ctrl-C in work that never waits: the first ends it at the next step, the second at once. */
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

/** `timeout` sends its signal to the process and to its group: what comes again so soon is the same request, milliseconds. */
const SAME_REQUEST_MS = 200;

/** The first signal ends the work in order, with what there is; the next one, at once. */
export class Ending implements Disposable {
  static readonly #SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  readonly #abort = new AbortController();
  readonly #handler = (received: NodeJS.Signals) => {
    if (this.received === undefined) {
      this.received = received;
      this.#since = performance.now();
      this.#abort.abort();
    } else if (performance.now() - this.#since > SAME_REQUEST_MS) {
      process.exit(EXIT.interrupted);
    }
  };
  #since = 0;

  /** The signal that came first. */
  received: NodeJS.Signals | undefined;
  /** Settles with it. */
  readonly requested = new Promise<void>((resolve) => {
    this.#abort.signal.addEventListener('abort', () => resolve(), { once: true });
  });

  constructor() {
    for (const signal of Ending.#SIGNALS) process.on(signal, this.#handler);
  }

  /** The same for what takes an AbortSignal. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  [Symbol.dispose](): void {
    for (const signal of Ending.#SIGNALS) process.off(signal, this.#handler);
  }
}
