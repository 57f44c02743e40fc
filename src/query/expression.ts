/** What filters and conditions in words have in common: their operators, and how they are cut into tokens. */
import { quoted } from './excerpt.js';

/** Long enough for anything written by hand; keeps the parser's work and the messages small. */
export const MOST_CHARACTERS = 1024;
/** Parentheses inside each other. A parser's recursion is as deep. */
export const MOST_DEPTH = 100;

/** The operators of all of them, as they may be written. */
export const OPERATORS = {
  '!': 'not',
  not: 'not',
  '&': 'and',
  '&&': 'and',
  and: 'and',
  '|': 'or',
  '||': 'or',
  or: 'or',
  '(': '(',
  ')': ')',
} as const;

type Operator = (typeof OPERATORS)[keyof typeof OPERATORS];

export interface Token<Kind extends string> {
  readonly kind: Kind | Operator | 'end';
  /** Empty at the end. */
  readonly text: string;
  /** Where it begins, in UTF-16 code units. */
  readonly index: number;
}

/**
 * Cuts an expression into tokens; the last one is its end.
 *
 * @param pattern sticky; it takes white space and, as its first group, one token, or none at the end
 * @param kinds operators by how they are written, in lower case
 * @param other what all else is
 * @param fail makes the error for a character that no token begins with
 */
export function tokenize<Kind extends string>(
  text: string,
  pattern: RegExp,
  kinds: Readonly<Record<string, Kind | Operator>>,
  other: Kind,
  fail: (index: number, length: number, problem: string) => Error,
): Token<Kind>[] {
  const tokens: Token<Kind>[] = [];
  for (;;) {
    const before = pattern.lastIndex;
    const match = pattern.exec(text);
    if (match === null) {
      const index = before + /^\s*/.exec(text.slice(before))![0].length;
      const character = String.fromCodePoint(text.codePointAt(index)!);
      throw fail(index, character.length, `unexpected ${quoted(character)}`);
    }
    const word = match[1];
    if (word === undefined) {
      tokens.push({ kind: 'end', text: '', index: text.length });
      return tokens;
    }
    const lower = word.toLowerCase();
    const kind = Object.hasOwn(kinds, lower) ? kinds[lower]! : other;
    tokens.push({ kind, text: word, index: pattern.lastIndex - word.length });
  }
}
