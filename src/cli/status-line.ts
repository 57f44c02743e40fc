/** What stands on the terminal and goes away again. */
const shown = new Set<Disposable>();

/** Takes away all that is shown for a while: before a message that stays, which would stick to it otherwise. */
export function clearStatus(): void {
  for (const one of shown) one[Symbol.dispose]();
}

/** What a picture that changes in its place needs of a terminal; standard error is one. */
export interface Terminal {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
  write(text: string): unknown;
}

const isTerminal = ({ isTTY }: Terminal) => isTTY === true && process.env['TERM'] !== 'dumb';

/** A line on a terminal's standard error that says how it goes, again and again in the same place. */
export class StatusLine implements Disposable {
  /** Whether there is a terminal for it; without one, nothing is shown. */
  readonly isOn: boolean;
  readonly #terminal: Terminal;

  constructor(terminal: Terminal = process.stderr) {
    this.#terminal = terminal;
    this.isOn = isTerminal(terminal);
  }

  /** Shows `text`, cut to one line, in the place of the last one. */
  show(text: string): void {
    if (!this.isOn) return;
    shown.add(this);
    const columns = Math.max((this.#terminal.columns || 80) - 1, 1);
    this.#terminal.write(`\r${text.slice(0, columns)}\x1b[K`);
  }

  /** Takes the line away. */
  [Symbol.dispose](): void {
    if (shown.delete(this)) this.#terminal.write('\r\x1b[K');
  }
}

/** Lines on a terminal that are shown again and again in the same place. */
export class StatusLines implements Disposable {
  /** Whether there is a terminal for them; without one, nothing is shown. */
  readonly isOn: boolean;
  readonly #terminal: Terminal;
  #shown = 0;

  constructor(terminal: Terminal = process.stderr) {
    this.#terminal = terminal;
    this.isOn = isTerminal(terminal);
  }

  /** Shows lines of plain text in the place of the last ones; as many as there is room for. */
  show(lines: readonly string[]): void {
    if (!this.isOn) return;
    const { columns = 80, rows = 24 } = this.#terminal;
    const fitting = lines.slice(0, Math.max(1, rows - 1));
    const cut = fitting.map((line) => `${line.slice(0, Math.max(1, columns - 1))}\x1b[K\n`);
    this.#terminal.write(`${this.#up()}${cut.join('')}\x1b[J`);
    this.#shown = fitting.length;
    shown.add(this);
  }

  #up(): string {
    return this.#shown === 0 ? '\r' : `\r\x1b[${this.#shown}A`;
  }

  /** Takes the lines away. */
  [Symbol.dispose](): void {
    if (this.#shown > 0) this.#terminal.write(`${this.#up()}\x1b[J`);
    this.#shown = 0;
    shown.delete(this);
  }
}
