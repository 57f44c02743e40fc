/** How an expression is shown in messages, and the part of it that they are about. */

/** Columns of the expression that are shown around the offending part. */
const SHOWN_BEFORE = 60;
const SHOWN_COLUMNS = 100;

/**
 * One code point as it is shown: everything but printable ASCII escaped, because it could control the terminal, or be
 * wider or narrower than one column.
 */
function shown(character: string): string {
  const code = character.codePointAt(0)!;
  if (code >= 0x20 && code < 0x7f) return character;
  if (code === 0x09) return '\\t';
  if (code === 0x0a) return '\\n';
  if (code === 0x0d) return '\\r';
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

export function quoted(text: string): string {
  const characters = Array.from(text.slice(0, 41), shown);
  return text.length > 40 ? `'${characters.slice(0, 40).join('')}...'` : `'${characters.join('')}'`;
}

/** The expression and, below it, a caret under the offending part; both indented by two. */
export function excerpt(expression: string, index: number, length: number): string {
  const from = index > SHOWN_BEFORE ? index - SHOWN_BEFORE : 0;
  let line = from > 0 ? '...' : '';
  let caretAt = -1;
  let caretEnd = -1;
  let at = from;
  // By code point, so that no escape is cut in two.
  for (const character of expression.slice(from, from + SHOWN_COLUMNS)) {
    if (caretAt < 0 && at >= index) caretAt = line.length;
    if (caretAt >= 0 && caretEnd < 0 && at >= index + length) caretEnd = line.length;
    line += shown(character);
    at += character.length;
  }
  if (caretAt < 0) caretAt = line.length;
  if (caretEnd < 0) caretEnd = length === 0 ? caretAt : line.length;
  if (at < expression.length) line += '...';
  return `  ${line}\n  ${' '.repeat(caretAt)}^${'~'.repeat(Math.max(caretEnd - caretAt - 1, 0))}`;
}
