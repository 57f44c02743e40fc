/** A line on a terminal's standard error that says how it goes, again and again in the same place. */
export class StatusLine implements Disposable {
  /** Whether there is a terminal for it; without one, nothing is shown. */
  readonly isOn = process.stderr.isTTY === true && process.env['TERM'] !== 'dumb';
  #isShown = false;

  /** Shows `text`, cut to one line, in the place of the last one. */
  show(text: string): void {
    if (!this.isOn) return;
    this.#isShown = true;
    const columns = Math.max((process.stderr.columns ?? 80) - 1, 1);
    process.stderr.write(`\r${text.slice(0, columns)}\x1b[K`);
  }

  /** Takes the line away. */
  [Symbol.dispose](): void {
    if (this.#isShown) process.stderr.write('\r\x1b[K');
    this.#isShown = false;
  }
}
