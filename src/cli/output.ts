/** Standard output: written in large pieces, at the reader's pace. */
import { once } from 'node:events';
import { clearStatus } from './status-line.js';

const FLUSH_LENGTH = 1 << 16;

/** Collects text and writes it in pieces of 64 KiB; a slow reader slows us down instead of filling our memory. */
export class Output {
  #pending = '';

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

  async flush(): Promise<void> {
    if (this.#pending === '') return;
    const text = this.#pending;
    this.#pending = '';
    if (!process.stdout.write(text)) await once(process.stdout, 'drain');
  }
}

/**
 * Decides what becomes of errors in writing, for all of the program, help included. A reader that went away
 * (`pmscan scan ... | head`) is no failure: there is nothing left to do. Anything else, a full disk say, is.
 */
export function handleWriteErrors(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    clearStatus();
    if (error.code === 'EPIPE') process.exit(0);
    process.stderr.write(`pmscan: Cannot write the output: ${error.code ?? error.message}\n`);
    process.exit(1);
  });
  // Where messages cannot be written, the exit code is what is left.
  process.stderr.on('error', () => undefined);
}
