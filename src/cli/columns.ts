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

/** Cuts text to a width in terminal columns, in its middle: the end of a path tells more than its middle. */
export function shorten(
  text: string,
  columns: number,
  style: { unicode: boolean } = { unicode: true },
): string {
  if (columnsOf(text) <= columns) return text;
  const ellipsis = style.unicode ? '…' : '~';
  if (columns < 2) return ellipsis.slice(0, columns);
  const characters = [...new Intl.Segmenter().segment(text)].map((part) => part.segment);
  const headColumns = Math.floor((columns - 1) / 3);
  let head = '';
  let used = 0;
  let index = 0;
  for (; index < characters.length; index++) {
    const width = columnsOf(characters[index]!);
    if (used + width > headColumns) break;
    head += characters[index];
    used += width;
  }
  let tail = '';
  used += 1;
  for (let last = characters.length - 1; last >= index; last--) {
    const width = columnsOf(characters[last]!);
    if (used + width > columns) break;
    tail = characters[last] + tail;
    used += width;
  }
  return `${head}${ellipsis}${tail}`;
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
 * Lines of a table, title line first. Cells may hold colour codes; the last column is not padded.
 * Columns whose cells are all empty are left out.
 */
export function tableLines(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const widths = columns.map((column, index) => {
    let width = 0;
    for (const row of rows) width = Math.max(width, columnsOf(row[index] ?? ''));
    return width === 0 ? 0 : Math.max(width, columnsOf(column.title));
  });
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, index) => pad(cell, widths[index]!, columns[index]!.align))
      .filter((_, index) => widths[index]! > 0)
      .join('  ')
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...rows.map(line)];
}
