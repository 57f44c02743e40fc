/** What asks a command to end: Ctrl-C, and the signals of service managers, `timeout` and closed terminals. */
import { setImmediate } from 'node:timers/promises';
import { EXIT } from './exit.js';

/** How long work may go on before signals get a chance to arrive, milliseconds: too short for people to notice. */
const DEAF_MS = 20;

/** `timeout` sends its signal to the process and to its group: what comes again so soon is the same request, milliseconds. */
const SAME_REQUEST_MS = 200;

/** The first signal ends the work in order, with what there is; the next one, at once. */
export class Ending implements Disposable {
  readonly #signals: readonly NodeJS.Signals[];
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

  constructor(signals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    this.#signals = signals;
    for (const signal of signals) process.on(signal, this.#handler);
  }

  /** The same for what takes an AbortSignal. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  [Symbol.dispose](): void {
    for (const signal of this.#signals) process.off(signal, this.#handler);
  }
}

/** Ctrl-C in work that never waits: the first ends it at the next step, the next one at once. */
export class Interrupt implements Disposable {
  readonly #ending = new Ending(['SIGINT']);
  #listened = performance.now();

  /** Lets pending signals arrive, if that was some time ago, and tells whether one was an interrupt. */
  async check(): Promise<boolean> {
    if (performance.now() - this.#listened >= DEAF_MS) {
      await setImmediate();
      this.#listened = performance.now();
    }
    return this.#ending.received !== undefined;
  }

  [Symbol.dispose](): void {
    this.#ending[Symbol.dispose]();
  }
}

/** It is seen within this time that a process has ended, however long the wait, milliseconds. */
const MOST_BLIND_MS = 1000;

/** Waits that end early: when that is requested, or with a process. */
export class Alarm {
  #requested = false;
  #wake: () => void = () => undefined;

  /** @param requested one reaction to it does for all waits: racing it would leave one behind each time, for days */
  constructor(requested: Promise<unknown>) {
    requested.then(() => {
      this.#requested = true;
      this.#wake();
    });
  }

  get isRequested(): boolean {
    return this.#requested;
  }

  /**
   * Waits until `dueMs` of performance.now(), and in any case until signals had a chance to arrive.
   *
   * @param onSecond is called at the beginning and each second: a line on the terminal that stands still looks as if the command hung
   */
  async until(
    dueMs: number,
    target: { readonly ended?: boolean | undefined },
    onSecond?: () => void,
  ): Promise<void> {
    if (this.#requested) return;
    do {
      onSecond?.();
      const waitMs = Math.min(Math.max(0, dueMs - performance.now()), MOST_BLIND_MS);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    } while (!this.#requested && !target.ended && dueMs - performance.now() > 1);
  }
}
