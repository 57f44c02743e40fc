/** Text in columns of a terminal. */
import { stripVTControlCharacters } from 'node:util';

/** Characters that take one column each; measuring the others costs a hundred times as much. */
const NARROW = /^[\x20-\x7e\u00b7\u2580-\u259f]*$/;

/** Knows all characters; its tables take longer to load than many a command to run. */
let measure: ((text: string) => number) | undefined;

/**
 * Loads what measures wide characters, if there are any in these texts, or without texts in any case. To be called before names of
 * others are laid out: until then, each character counts as one column.
 */
export async function loadWidths(texts?: readonly string[]): Promise<void> {
  if (measure !== undefined) return;
  if (texts?.every((text) => NARROW.test(text)) === true) return;
  measure = (await import('string-width')).default;
}

/** Width in terminal columns; colour codes take none. */
export function columnsOf(text: string): number {
  if (NARROW.test(text)) return text.length;
  return measure === undefined ? [...stripVTControlCharacters(text)].length : measure(text);
}

/**
 * No text takes fewer columns than a sixth of its length, unless it means to: most characters take one or two, and a letter with two accents takes
 * one for three. What is longer is cut without being measured, since that takes long.
 */
const MOST_UNITS_IN_COLUMN = 6;
/** A third of these stands at the beginning of what is shown of such a text. */
const HEAD_UNITS_IN_COLUMN = 2;

let segmenter: Intl.Segmenter | undefined;

/** Characters as people see them. */
function* charactersOf(text: string): Generator<string> {
  segmenter ??= new Intl.Segmenter();
  for (const { segment } of segmenter.segment(text)) yield segment;
}

/** Text without the halves of characters at its ends. */
const whole = (text: string) => text.replace(/^[\udc00-\udfff]|[\ud800-\udbff]$/g, '');

/** Characters from the beginning of a list for as long as they fit into so many columns. */
function fitting(characters: Iterable<string>, columns: number): string[] {
  const found: string[] = [];
  let used = 0;
  for (const character of characters) {
    used += columnsOf(character);
    if (used > columns) break;
    found.push(character);
  }
  return found;
}

/** Whether text takes no more columns than this. Measures no further than that. */
function isFitting(text: string, columns: number): boolean {
  if (NARROW.test(text)) return text.length <= columns;
  let used = 0;
  for (const character of charactersOf(text)) {
    used += columnsOf(character);
    if (used > columns) return false;
  }
  return true;
}

/**
 * Cuts text without colour codes to a width in terminal columns, in its middle: the end of a path tells more than its middle.
 */
export function shorten(
  text: string,
  columns: number,
  style: { unicode: boolean } = { unicode: true },
): string {
  const most = columns * MOST_UNITS_IN_COLUMN;
  if (most === Number.POSITIVE_INFINITY || (text.length <= most && isFitting(text, columns))) return text;
  const ellipsis = style.unicode ? '…' : '~';
  if (columns < 2) return ellipsis.slice(0, columns);
  const headUnits = columns * HEAD_UNITS_IN_COLUMN;
  const [first, last] =
    text.length <= most
      ? [text, text]
      : [whole(text.slice(0, headUnits)), whole(text.slice(headUnits - most))];
  const head = fitting(charactersOf(first), Math.floor((columns - 1) / 3)).join('');
  const room = columns - 1 - columnsOf(head);
  const tail = fitting([...charactersOf(last)].reverse(), room)
    .reverse()
    .join('');
  return `${head}${ellipsis}${tail}`;
}

/** Lines of at most `columns`, broken between words; those after the first begin with `indent`. A longer word has a line of its own. */
export function wrapText(text: string, columns: number, indent = ''): string[] {
  const start = /^ */.exec(text)![0];
  const lines: string[] = [];
  let line = start;
  let used = start.length;
  let isEmpty = true;
  for (const word of text.slice(start.length).split(' ')) {
    const width = columnsOf(word);
    if (!isEmpty && used + 1 + width > columns) {
      lines.push(line);
      line = indent + word;
      used = indent.length + width;
    } else {
      line += isEmpty ? word : ` ${word}`;
      used += isEmpty ? width : 1 + width;
    }
    isEmpty = false;
  }
  return [...lines, line];
}

export interface Column {
  readonly title: string;
  readonly align: 'left' | 'right';
}

function pad(text: string, width: number, align: 'left' | 'right'): string {
  const fill = ' '.repeat(Math.max(0, width - columnsOf(text)));
  return align === 'left' ? text + fill : fill + text;
}

/**
 * Lines of a table, title line first. Cells may hold colour codes; the last column is neither padded nor measured, unless its cells stand to
 * the right.
 * Columns whose cells are all empty are left out.
 */
export function tableLines(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const isPadded = (index: number) => index < columns.length - 1 || columns[index]!.align === 'right';
  const widths = columns.map((column, index) => {
    const cells = rows.map((row) => row[index] ?? '');
    // What lies in it may be long, and measuring it takes long.
    if (!isPadded(index)) return cells.some((cell) => cell !== '') ? column.title.length : 0;
    const width = cells.reduce((most, cell) => Math.max(most, columnsOf(cell)), 0);
    return width === 0 ? 0 : Math.max(width, columnsOf(column.title));
  });
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, index) => (isPadded(index) ? pad(cell, widths[index]!, columns[index]!.align) : cell))
      .filter((_, index) => widths[index]! > 0)
      .join('  ')
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...rows.map(line)];
}
