/** Text for people: sizes, counts, columns, colours, and names that come from outside. */
import picocolors from 'picocolors';
import stringWidth from 'string-width';

/**
 * What a terminal could act on or be deceived by: control characters (C0, DEL, C1), line separators, zero-width and
 * bidirectional controls, lone surrogates.
 */
const HARMFUL =
  /[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\p{Cs}/gu;

/** Text from another process, with everything that is not plain text written out: `\x1b`, `\u202e`. */
export function printable(text: string): string {
  return text.replace(HARMFUL, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100
      ? `\\x${code.toString(16).padStart(2, '0')}`
      : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Bytes with a binary unit and three significant digits: `4 KiB`, `1.25 GiB`, `128 TiB`. */
export function humanBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 1023.5 would be shown as 1024 of the smaller unit.
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${UNITS[unit]}`;
}

/** A count with thousands separators, in every locale the same. */
export function humanCount(count: number): string {
  return count.toLocaleString('en-US');
}

/** `1 page`, `2 pages`. */
export function plural(count: number, noun: string): string {
  return `${humanCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

export function hex(address: number): string {
  return `0x${address.toString(16)}`;
}

/** Characters that take one column each; measuring the others costs a hundred times as much. */
const NARROW = /^[\x20-\x7e\u00b7\u2580-\u259f]*$/;

/** Width in terminal columns; colour codes take none. */
export function columnsOf(text: string): number {
  return NARROW.test(text) ? text.length : stringWidth(text);
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
    const width = stringWidth(characters[index]!);
    if (used + width > headColumns) break;
    head += characters[index];
    used += width;
  }
  let tail = '';
  used += 1;
  for (let last = characters.length - 1; last >= index; last--) {
    const width = stringWidth(characters[last]!);
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

/** What the terminal at the other end can show. */
export interface Style {
  readonly colors: ReturnType<typeof picocolors.createColors>;
  /** Block and line-drawing characters may be used. */
  readonly unicode: boolean;
  /** Terminal columns; infinite where there is no terminal. */
  readonly columns: number;
}

/** @param color false by `--no-color` */
export function outputStyle(color: boolean, stream: NodeJS.WriteStream = process.stdout): Style {
  const { env } = process;
  const terminal = stream.isTTY === true && env['TERM'] !== 'dumb';
  const forced = env['FORCE_COLOR'] !== undefined && env['FORCE_COLOR'] !== '0';
  const refused = !color || (env['NO_COLOR'] ?? '') !== '';
  return {
    colors: picocolors.createColors(!refused && (terminal || forced)),
    unicode:
      env['TERM'] !== 'linux' && !/^(C|POSIX)$/.test(env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || ''),
    columns: stream.isTTY === true ? (stream.columns ?? 80) : Number.POSITIVE_INFINITY,
  };
}
