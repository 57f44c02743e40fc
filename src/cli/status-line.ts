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

/** What a picture that changes in its place needs of a terminal; standard error is one. */
export interface Terminal {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
  write(text: string): unknown;
}

/** Lines on a terminal that are shown again and again in the same place. */
export class StatusLines implements Disposable {
  /** Whether there is a terminal for them; without one, nothing is shown. */
  readonly isOn: boolean;
  readonly #terminal: Terminal;
  #shown = 0;

  constructor(terminal: Terminal = process.stderr) {
    this.#terminal = terminal;
    this.isOn = terminal.isTTY === true && process.env['TERM'] !== 'dumb';
  }

  /** Shows lines of plain text in the place of the last ones; as many as there is room for. */
  show(lines: readonly string[]): void {
    if (!this.isOn) return;
    const { columns = 80, rows = 24 } = this.#terminal;
    const fitting = lines.slice(0, Math.max(1, rows - 1));
    const cut = fitting.map((line) => `${line.slice(0, Math.max(1, columns - 1))}\x1b[K\n`);
    this.#terminal.write(`${this.#up()}${cut.join('')}\x1b[J`);
    this.#shown = fitting.length;
  }

  #up(): string {
    return this.#shown === 0 ? '\r' : `\r\x1b[${this.#shown}A`;
  }

  /** Takes the lines away. */
  [Symbol.dispose](): void {
    if (this.#shown > 0) this.#terminal.write(`${this.#up()}\x1b[J`);
    this.#shown = 0;
  }
}
