/** Standard output: written in large pieces, at the reader's pace. */
import { once } from 'node:events';

const FLUSH_LENGTH = 1 << 16;

/** The reader has gone (`pmscan scan … | head`): there is nothing left to do, and nothing wrong. */
export class ReaderGone extends Error {}

/** Collects text and writes it in pieces of 64 KiB; a slow reader slows us down instead of filling our memory. */
export class Output {
  #pending = '';
  #gone = false;

  constructor() {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      this.#gone = true;
    });
  }

  write(text: string): void {
    this.#pending += text;
  }

  line(text: string): void {
    this.#pending += `${text}\n`;
  }

  /** Call it now and then while writing: hands pieces that are large enough to the system. */
  async drain(): Promise<void> {
    if (this.#pending.length >= FLUSH_LENGTH) await this.flush();
  }

  /** @throws ReaderGone when nobody reads any more */
  async flush(): Promise<void> {
    if (this.#gone) throw new ReaderGone();
    if (this.#pending === '') return;
    const text = this.#pending;
    this.#pending = '';
    if (!process.stdout.write(text)) {
      await once(process.stdout, 'drain').catch(() => {
        this.#gone = true;
      });
    }
    if (this.#gone) throw new ReaderGone();
  }
}
