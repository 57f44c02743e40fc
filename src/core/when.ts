/**
 * Conditions in words: `rss > 2G & (cpu > 90% | threads > 500)`.
 *
 *     or    = and  { ("|" | "||" | "or") and }
 *     and   = not  { ("&" | "&&" | "and") not }
 *     not   = { "!" | "not" } ( comparison | "signal" name | "(" or ")" )
 *     comparison = quantity ( ">" | ">=" | "<" | "<=" ) value
 *
 * A quantity may be unknown at first: a rate needs two looks. A condition that depends on it is not met then.
 */
import {
  type Token as ExpressionToken,
  excerpt,
  MOST_CHARACTERS,
  MOST_DEPTH,
  OPERATORS,
  quoted,
  SIZE_UNITS,
  tokenize,
} from '../query/internal.js';

/** The values of one look. Sizes are in bytes, rates in bytes a second; a share of 1 is all of it. */
export interface WhenValues {
  /** Resident memory of the process. */
  readonly rss?: number | undefined;
  readonly swapped?: number | undefined;
  /** 1 is one processor all the time. */
  readonly cpu?: number | undefined;
  readonly threads?: number | undefined;
  /** Bytes of the pages that it writes, a second. */
  readonly written?: number | undefined;
  /** Memory of its control group, bytes. */
  readonly groupBytes?: number | undefined;
  /** The same as a share of the group's limit. */
  readonly groupShare?: number | undefined;
  /** Signals that came, as `USR1`. */
  readonly signals?: ReadonlySet<string> | undefined;
}

/**
 * A condition with a syntax error. The message has four lines: the problem, the expression, a caret, and what is
 * possible.
 *
 * @example
 * ```ts
 * import { compileWhen, WhenError } from 'pagemap-scan/core';
 * try {
 *   compileWhen('rss > 2G & heat > 90%');
 * } catch (error) {
 *   console.assert(error instanceof WhenError && error.index === 11 && error.length === 4);
 * }
 * ```
 */
export class WhenError extends Error {
  override readonly name = 'WhenError';
  readonly code = 'ERR_WHEN';
  /** Where the offending part begins, in UTF-16 code units of the expression. */
  readonly index: number;
  /** The offending part's length in the same units; 0 when something is missing there. */
  readonly length: number;

  constructor(expression: string, index: number, length: number, problem: string, remedy: string) {
    super(`Cannot compile the condition: ${problem}\n${excerpt(expression, index, length)}\n${remedy}`);
    this.index = index;
    this.length = length;
  }
}

const GRAMMAR =
  'A condition is made of comparisons and signals, ! (not), & (and), | (or) and parentheses: rss > 2G & (cpu > 90% | signal USR1)';

type Unit = 'size' | 'percent' | 'count' | 'rate';
/** The quantities that a condition can compare. */
export type WhenQuantity = Exclude<keyof WhenValues, 'signals'>;

const EXAMPLES: Readonly<Record<Unit, string>> = {
  size: 'a size: 500M, 2G',
  percent: 'a share: 90%',
  count: 'a number: 500',
  rate: 'a rate: 200M/s',
};

/** What a quantity is read from, by the unit that it is compared with. */
const QUANTITIES: Readonly<Record<string, Partial<Record<Unit, WhenQuantity>>>> = {
  rss: { size: 'rss' },
  swapped: { size: 'swapped' },
  cpu: { percent: 'cpu' },
  threads: { count: 'threads' },
  written: { rate: 'written' },
  'cgroup.memory': { percent: 'groupShare', size: 'groupBytes' },
};

/** Signals that a command does not use otherwise. */
const SIGNALS: readonly string[] = ['USR1', 'USR2'];

/** `2G`, `90%`, `500`, `200M/s`; undefined for what is none of these. */
function parseValue(text: string, unit: Unit): number | undefined {
  const [, number, letter, isBytes, percent, rate] =
    /^(\d+(?:\.\d+)?)([KMGT]?)(i?B)?(%?)(\/s)?$/i.exec(text) ?? [];
  if (number === undefined) return undefined;
  const hasSize = letter !== '' || isBytes !== undefined;
  const value = Number(number) * SIZE_UNITS[letter!.toUpperCase()]!;
  const isWanted = {
    size: percent === '' && rate === undefined,
    rate: percent === '' && rate !== undefined,
    count: !hasSize && percent === '' && rate === undefined,
    percent: !hasSize && percent === '%' && rate === undefined,
  }[unit];
  if (!isWanted) return undefined;
  return unit === 'percent' ? value / 100 : value;
}

type Comparator = '>' | '>=' | '<' | '<=';

type Node =
  | {
      readonly kind: 'compare';
      readonly quantity: WhenQuantity;
      readonly by: Comparator;
      readonly limit: number;
    }
  | { readonly kind: 'signal'; readonly signal: string }
  | { readonly kind: 'not'; readonly part: Node }
  | { readonly kind: 'and' | 'or'; readonly parts: readonly Node[] };

type Token = ExpressionToken<'word' | 'compare'>;

const KINDS = { ...OPERATORS, '>': 'compare', '>=': 'compare', '<': 'compare', '<=': 'compare' } as const;

function tokensOf(text: string): Token[] {
  const pattern = /\s*(?:(&&|\|\||>=|<=|[!&|()<>]|[A-Za-z0-9_.%/]+)|$)/uy;
  return tokenize<'word' | 'compare'>(
    text,
    pattern,
    KINDS,
    'word',
    (index, length, problem) => new WhenError(text, index, length, problem, GRAMMAR),
  );
}

class Parser {
  readonly #text: string;
  readonly #tokens: readonly Token[];
  #position = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
    this.#tokens = tokensOf(text);
  }

  get #token(): Token {
    return this.#tokens[this.#position]!;
  }

  #fail({ index, text }: Token, problem: string, remedy: string = GRAMMAR): WhenError {
    return new WhenError(this.#text, index, text.length, problem, remedy);
  }

  parse(): Node {
    if (this.#token.kind === 'end')
      throw new WhenError(this.#text, 0, this.#text.length, 'the expression is empty', GRAMMAR);
    const node = this.#joined('or');
    const token = this.#token;
    if (token.kind === ')') throw this.#fail(token, "')' without a '(' before it");
    if (token.kind !== 'end') throw this.#fail(token, `there is no & or | before ${quoted(token.text)}`);
    return node;
  }

  #joined(kind: 'and' | 'or'): Node {
    const parts: Node[] = [];
    for (;;) {
      parts.push(kind === 'or' ? this.#joined('and') : this.#not());
      if (this.#token.kind !== kind) return parts.length === 1 ? parts[0]! : { kind, parts };
      this.#position++;
    }
  }

  #not(): Node {
    let negated = false;
    while (this.#token.kind === 'not') {
      negated = !negated;
      this.#position++;
    }
    const part = this.#token.kind === '(' ? this.#group() : this.#term();
    return negated ? { kind: 'not', part } : part;
  }

  #group(): Node {
    const open = this.#token;
    if (++this.#depth > MOST_DEPTH) throw this.#fail(open, 'too many parentheses inside each other');
    this.#position++;
    const node = this.#joined('or');
    if (this.#token.kind !== ')') throw this.#fail(open, "'(' without a ')' behind it");
    this.#position++;
    this.#depth--;
    return node;
  }

  #term(): Node {
    const token = this.#token;
    if (token.kind === 'end') throw this.#fail(token, 'something is missing at the end');
    if (token.kind !== 'word') throw this.#fail(token, `unexpected ${quoted(token.text)}`);
    this.#position++;
    const name = token.text.toLowerCase();
    if (name === 'signal') return this.#signal();
    const units = Object.hasOwn(QUANTITIES, name) ? QUANTITIES[name] : undefined;
    if (units === undefined) {
      const names = [...Object.keys(QUANTITIES), 'signal'].join(', ');
      throw this.#fail(token, `there is no ${quoted(token.text)}`, `There are ${names}`);
    }
    const comparator = this.#token;
    if (comparator.kind !== 'compare')
      throw this.#fail(
        comparator,
        `${token.text} has to be compared`,
        'Compare with >, >=, < or <=: rss > 2G',
      );
    this.#position++;
    return { kind: 'compare', by: comparator.text as Comparator, ...this.#value(token.text, units) };
  }

  #value(
    name: string,
    units: Partial<Record<Unit, WhenQuantity>>,
  ): { quantity: WhenQuantity; limit: number } {
    const token = this.#token;
    this.#position++;
    for (const [unit, quantity] of Object.entries(units) as [Unit, WhenQuantity][]) {
      const limit = token.kind === 'word' ? parseValue(token.text, unit) : undefined;
      if (limit !== undefined) return { quantity, limit };
    }
    const examples = (Object.keys(units) as Unit[]).map((unit) => EXAMPLES[unit]).join(', or ');
    const found = token.kind === 'end' ? 'nothing' : quoted(token.text);
    throw this.#fail(token, `${name} is compared with ${found}`, `Give ${examples}`);
  }

  #signal(): Node {
    const token = this.#token;
    const signal = token.text.toUpperCase().replace(/^SIG/, '');
    if (token.kind !== 'word' || !SIGNALS.includes(signal)) {
      const found =
        token.kind === 'end' ? 'no signal is named' : `${quoted(token.text)} is no signal for this`;
      throw this.#fail(token, found, `Give signal ${SIGNALS.join(', or signal ')}`);
    }
    this.#position++;
    return { kind: 'signal', signal };
  }
}

const COMPARE: Readonly<Record<Comparator, (value: number, limit: number) => boolean>> = {
  '>': (value, limit) => value > limit,
  '>=': (value, limit) => value >= limit,
  '<': (value, limit) => value < limit,
  '<=': (value, limit) => value <= limit,
};

/** Evaluates a condition; undefined when it depends on what is not known. */
function evaluate(node: Node, values: WhenValues): boolean | undefined {
  if (node.kind === 'signal') return values.signals?.has(node.signal) ?? false;
  if (node.kind === 'compare') {
    const value = values[node.quantity];
    return value === undefined ? undefined : COMPARE[node.by](value, node.limit);
  }
  if (node.kind === 'not') {
    const part = evaluate(node.part, values);
    return part === undefined ? undefined : !part;
  }
  const decisive = node.kind === 'or';
  const parts = node.parts.map((part) => evaluate(part, values));
  if (parts.includes(decisive)) return decisive;
  return parts.includes(undefined) ? undefined : !decisive;
}

function* leaves(node: Node): Generator<Node> {
  if (node.kind === 'and' || node.kind === 'or') for (const part of node.parts) yield* leaves(part);
  else if (node.kind === 'not') yield* leaves(node.part);
  else yield node;
}

/** A condition, to be asked at each look. */
export interface WhenCondition {
  /** As it was written. */
  readonly text: string;
  /** The quantities to look at. */
  readonly quantities: ReadonlySet<WhenQuantity>;
  /** Signals that it waits for, as `USR1`. */
  readonly signals: ReadonlySet<string>;
  /** Whether the condition is met. It is not while it depends on an unknown quantity. */
  isMet(values: WhenValues): boolean;
}

/**
 * Compiles a condition.
 *
 * @throws WhenError
 * @example
 * ```ts
 * import { compileWhen } from 'pagemap-scan/core';
 * const condition = compileWhen('rss > 2G & !(cpu < 90%)');
 * console.assert(condition.isMet({ rss: 3 * 2 ** 30, cpu: 1.5 }));
 * console.assert(!condition.isMet({ rss: 3 * 2 ** 30 }));
 * ```
 */
export function compileWhen(text: string): WhenCondition {
  if (text.length > MOST_CHARACTERS)
    throw new WhenError(
      text,
      MOST_CHARACTERS,
      1,
      'the expression is too long',
      `${MOST_CHARACTERS} characters at most`,
    );
  const node = new Parser(text).parse();
  const quantities = new Set<WhenQuantity>();
  const signals = new Set<string>();
  for (const leaf of leaves(node)) {
    if (leaf.kind === 'compare') quantities.add(leaf.quantity);
    if (leaf.kind === 'signal') signals.add(leaf.signal);
  }
  return { text, quantities, signals, isMet: (values) => evaluate(node, values) === true };
}
