/**
 * A terminal screen as a grid of cells. A frame is drawn into the grid; only cells that differ from what the terminal
 * shows are sent, in one write, so that nothing flickers and a slow line is not flooded.
 */
import stringWidth from 'string-width';

/** A style as an SGR parameter string: `1;38;5;42`; the empty one is plain. */
export type CellStyle = string;

const segmenter = new Intl.Segmenter();
const PLAIN_ASCII = /^[\x20-\x7e]*$/;

/** A grid of cells; a character of two columns occupies its cell and leaves the next one empty. */
export class CellGrid {
  readonly columns: number;
  readonly rows: number;
  readonly text: string[];
  readonly style: CellStyle[];

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.rows = rows;
    this.text = new Array(columns * rows).fill(' ');
    this.style = new Array(columns * rows).fill('');
  }

  clear(): void {
    this.text.fill(' ');
    this.style.fill('');
  }

  /**
   * Writes text from a cell on; what does not fit into the row is cut off.
   *
   * @param text printable text without control characters
   * @returns the column behind the text
   */
  put(column: number, row: number, text: string, style: CellStyle = ''): number {
    if (row < 0 || row >= this.rows) return column;
    let at = column;
    const set = (value: string) => {
      if (at >= 0 && at < this.columns) {
        this.text[row * this.columns + at] = value;
        this.style[row * this.columns + at] = style;
      }
      at++;
    };
    if (PLAIN_ASCII.test(text)) {
      for (let index = 0; index < text.length && at < this.columns; index++) set(text[index]!);
      return at;
    }
    for (const { segment } of segmenter.segment(text)) {
      const width = stringWidth(segment);
      if (width === 0) continue;
      if (at + width > this.columns) break;
      set(segment);
      if (width === 2) set('');
    }
    return at;
  }

  /** Row `row` as text, without trailing blanks; for tests. */
  line(row: number): string {
    return this.text
      .slice(row * this.columns, (row + 1) * this.columns)
      .join('')
      .trimEnd();
  }
}

const ESC = '\x1b[';

/**
 * The control sequences that turn what the terminal shows, `before`, into `after`; `before` is null for a terminal whose
 * contents are not known.
 */
export function difference(before: CellGrid | null, after: CellGrid): string {
  const { columns, rows } = after;
  const known = before !== null && before.columns === columns && before.rows === rows;
  let output = known ? '' : `${ESC}0m${ESC}2J`;
  let style = '';
  for (let row = 0; row < rows; row++) {
    // Where the cursor will be after what was sent last; -1 when it must be placed.
    let cursor = -1;
    for (let column = 0; column < columns; column++) {
      const index = row * columns + column;
      const text = after.text[index]!;
      const same = known
        ? before.text[index] === text && before.style[index] === after.style[index]
        : text === ' ' && after.style[index] === '';
      // The second half of a wide character goes with its first.
      if (same || text === '') continue;
      if (cursor !== column) output += `${ESC}${row + 1};${column + 1}H`;
      if (after.style[index] !== style) {
        style = after.style[index]!;
        output += style === '' ? `${ESC}0m` : `${ESC}0;${style}m`;
      }
      output += text;
      cursor = column + (after.text[index + 1] === '' && column + 1 < columns ? 2 : 1);
    }
  }
  if (style !== '') output += `${ESC}0m`;
  return output;
}

/** Between these the terminal collects, and shows the result at once; others ignore them. */
const BEGIN_FRAME = `${ESC}?2026h`;
const END_FRAME = `${ESC}?2026l`;

/** A terminal in full-screen use. Disposing it gives the terminal back as it was. */
export class Screen implements Disposable {
  readonly #stream: NodeJS.WriteStream;
  #shown: CellGrid | null = null;
  #next: CellGrid;
  #open = true;
  #busy = false;
  /** Bytes that were sent; how much a frame costs is of interest. */
  sentBytes = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    this.#next = new CellGrid(stream.columns, stream.rows);
    this.#stream.write(`${ESC}?1049h${ESC}?25l`);
  }

  /** Starts a frame: an empty grid of the terminal's present size. */
  frame(): CellGrid {
    const { columns, rows } = this.#stream;
    if (this.#next.columns !== columns || this.#next.rows !== rows) {
      this.#next = new CellGrid(columns, rows);
      this.#shown = null;
    } else {
      this.#next.clear();
    }
    return this.#next;
  }

  /** Forgets what the terminal shows, so that the next frame is drawn as a whole. */
  invalidate(): void {
    this.#shown = null;
  }

  /** Shows the frame. A terminal that has not yet taken the last one skips this one; the next will catch up. */
  show(): void {
    if (this.#busy || !this.#open) return;
    const changes = difference(this.#shown, this.#next);
    if (changes !== '') {
      const text = BEGIN_FRAME + changes + END_FRAME;
      this.sentBytes += text.length;
      if (!this.#stream.write(text)) {
        this.#busy = true;
        this.#stream.once('drain', () => {
          this.#busy = false;
        });
      }
    }
    const { columns, rows } = this.#next;
    const free = this.#shown ?? new CellGrid(columns, rows);
    this.#shown = this.#next;
    this.#next = free;
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#stream.write(`${END_FRAME}${ESC}0m${ESC}?25h${ESC}?1049l`);
  }
}
