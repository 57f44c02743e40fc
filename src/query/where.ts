/**
 * Filters in words: `written & !file & (present | swapped)`.
 *
 *     or    = and  { ("|" | "||" | "or") and }
 *     and   = not  { ("&" | "&&" | "and") not }
 *     not   = { "!" | "~" | "not" } ( category | "(" or ")" )
 *
 * PAGEMAP_SCAN can test less than that: c = categories ^ inverted matches when (c & mask) == mask and (anyof == 0 or
 * c & anyof), which is a conjunction of literals and at most one clause (a disjunction of literals). So an expression
 * is compiled by what it means and not by how it is written: from its truth table. The literals that hold wherever it
 * matches are the mask. It is expressible if and only if one clause says what is left (`factorsOf`): that is anyof. Negative
 * literals are inverted.
 */
import { ALL_CATEGORIES, CATEGORIES, categoryBit } from '../abi/index.js';
import { excerpt, quoted } from './excerpt.js';
import {
  type Token as ExpressionToken,
  MOST_CHARACTERS,
  MOST_DEPTH,
  OPERATORS,
  tokenize,
} from './expression.js';

/** The three masks of a filter: a part of a `ScanRequest`. */
export interface WhereMasks {
  /** Categories to invert before the masks are applied. */
  categoryInverted: number;
  /** A page matches only when it has all of these (after inversion). */
  categoryMask: number;
  /** Unless 0, a page matches only when it has one of these (after inversion). */
  categoryAnyofMask: number;
}

/**
 * A filter with a syntax error, or one that the masks cannot express. The message has four lines: the
 * problem, the expression, a caret under the offending part, and what is possible. Everything but printable
 * ASCII is escaped in it, so it is safe for a terminal.
 *
 * @example
 * ```ts
 * import { compileWhere, WhereError } from 'pagemap-scan/query';
 * try {
 *   compileWhere('written | (present & file)');
 * } catch (error) {
 *   console.assert(error instanceof WhereError && error.index === 10 && error.length === 16);
 * }
 * ```
 */
export class WhereError extends Error {
  override readonly name = 'WhereError';
  readonly code = 'ERR_WHERE';
  /** Where the offending part begins, in UTF-16 code units of the expression. */
  readonly index: number;
  /** The offending part's length in the same units; 0 when something is missing there. */
  readonly length: number;

  constructor(expression: string, index: number, length: number, problem: string, remedy: string) {
    super(`Cannot compile the filter: ${problem}\n${excerpt(expression, index, length)}\n${remedy}`);
    this.index = index;
    this.length = length;
  }
}

const FORM =
  'One filter can require categories (a & !b) and one group of alternatives (c | !d): a & !b & (c | !d)';
const GRAMMAR =
  'A filter is made of categories, ! (not), & (and), | (or) and parentheses: written & !file & (present | swapped)';

// --- Messages ---------------------------------------------------------------------------------------------------

/** Words that people try, and what says the same. */
const INSTEAD: Readonly<Record<string, string>> = {
  anon: "Anonymous pages are '!file'",
  anonymous: "Anonymous pages are '!file'",
  clean: "Pages that were not written are '!written'",
  dirty: "Written pages are 'written'",
  idle: "Pages that were not accessed are 'present & !accessed'",
};

function unknownNameRemedy(name: string): string {
  const list = `The categories are ${CATEGORIES.map((category) => category.name).join(', ')}`;
  const plain = name.toLowerCase().replace(/^page_is_/, '');
  const instead = Object.hasOwn(INSTEAD, plain) ? INSTEAD[plain] : undefined;
  const nearest = nearestCategory(plain.replace(/[-_]/g, ''));
  const hint = instead ?? (nearest === undefined ? undefined : `Did you mean '${nearest}'?`);
  return hint === undefined ? list : `${hint}${hint.endsWith('?') ? '' : '.'} ${list}`;
}

/** The category that `name` begins, or the one with the fewest edits; undefined when none is near. */
function nearestCategory(name: string): string | undefined {
  if (name.length >= 3) {
    const begun = CATEGORIES.find((category) => category.name.startsWith(name));
    if (begun !== undefined) return begun.name;
  }
  let nearest: string | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const category of CATEGORIES) {
    const distance = editDistance(name, category.name);
    if (distance < least && distance <= Math.ceil(category.name.length / 3)) {
      nearest = category.name;
      least = distance;
    }
  }
  return nearest;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one word into the other. */
function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let distance = Math.min(
        previous[column]! + 1,
        current[column - 1]! + 1,
        previous[column - 1]! + (same ? 0 : 1),
      );
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        distance = Math.min(distance, beforePrevious[column - 2]! + 1);
      }
      current.push(distance);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length]!;
}

// --- Parsing ----------------------------------------------------------------------------------------------------

type Token = ExpressionToken<'name'>;

const KINDS = { ...OPERATORS, '~': 'not' } as const;

function tokensOf(text: string): Token[] {
  const pattern = /\s*(?:(&&|\|\||[!~&|()]|[A-Za-z0-9_][A-Za-z0-9_-]*)|$)/uy;
  return tokenize<'name'>(
    text,
    pattern,
    KINDS,
    'name',
    (index, length, problem) => new WhereError(text, index, length, problem, GRAMMAR),
  );
}

/** A part of the expression; its span includes its parentheses. `negated` applies to the whole of it. */
interface Node {
  readonly kind: 'category' | 'and' | 'or';
  readonly bit: number;
  readonly parts: readonly Node[];
  readonly negated: boolean;
  readonly index: number;
  readonly end: number;
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

  #fail(token: Token, problem: string, remedy: string = GRAMMAR): WhereError {
    return new WhereError(this.#text, token.index, token.text.length, problem, remedy);
  }

  parse(): Node {
    if (this.#token.kind === 'end') {
      throw new WhereError(this.#text, 0, this.#text.length, 'the expression is empty', GRAMMAR);
    }
    const node = this.#or();
    const token = this.#token;
    if (token.kind === ')') throw this.#fail(token, "')' without a '(' before it");
    if (token.kind !== 'end') throw this.#noOperator(token);
    return node;
  }

  #or(): Node {
    return this.#operands('or', () => this.#operands('and', () => this.#not()));
  }

  /** Operands with an operator between them; a single one is itself. */
  #operands(kind: 'and' | 'or', operand: () => Node): Node {
    const parts = [operand()];
    while (this.#token.kind === kind) {
      this.#position++;
      parts.push(operand());
    }
    const first = parts[0]!;
    if (parts.length === 1) return first;
    return { kind, bit: 0, parts, negated: false, index: first.index, end: parts.at(-1)!.end };
  }

  #not(): Node {
    const index = this.#token.index;
    let negated = false;
    for (; this.#token.kind === 'not'; this.#position++) negated = !negated;
    const node = this.#operand();
    return { ...node, negated: node.negated !== negated, index };
  }

  #operand(): Node {
    const token = this.#token;
    if (token.kind === 'name') {
      this.#position++;
      const name = token.text;
      const bit = categoryBit(name);
      if (bit === undefined) {
        throw this.#fail(token, `there is no category ${quoted(name)}`, unknownNameRemedy(name));
      }
      const end = token.index + token.text.length;
      return { kind: 'category', bit, parts: [], negated: false, index: token.index, end };
    }
    if (token.kind === '(') return this.#parentheses(token);
    throw this.#missing(token);
  }

  #parentheses(open: Token): Node {
    if (++this.#depth > MOST_DEPTH) {
      throw this.#fail(open, `more than ${MOST_DEPTH} parentheses inside each other`);
    }
    this.#position++;
    if (this.#token.kind === ')') {
      const length = this.#token.index + 1 - open.index;
      throw new WhereError(this.#text, open.index, length, 'empty parentheses', GRAMMAR);
    }
    const node = this.#or();
    const close = this.#token;
    if (close.kind === 'end') throw this.#fail(open, "'(' without a ')' after it");
    if (close.kind !== ')') throw this.#noOperator(close);
    this.#position++;
    this.#depth--;
    return { ...node, index: open.index, end: close.index + 1 };
  }

  #noOperator(token: Token): WhereError {
    const previous = this.#tokens[this.#position - 1]!;
    const problem = `no operator between ${quoted(previous.text)} and ${quoted(token.text)}`;
    return this.#fail(token, problem, 'Write & for pages that are both, | for pages that are either');
  }

  /** What is wrong where an operand should be: the operator that lacks it is to blame. */
  #missing(token: Token): WhereError {
    const previous = this.#tokens[this.#position - 1];
    if (token.kind === 'and' || token.kind === 'or') {
      return this.#fail(token, `no category before ${quoted(token.text)}`);
    }
    if (previous === undefined) return this.#fail(token, "')' without a '(' before it");
    return this.#fail(previous, `no category after ${quoted(previous.text)}`);
  }
}

// --- Meaning ----------------------------------------------------------------------------------------------------

function evaluate(node: Node, categories: number): boolean {
  if (node.kind === 'category') return ((categories & node.bit) !== 0) !== node.negated;
  for (const part of node.parts) {
    if (evaluate(part, categories) !== (node.kind === 'and')) return (node.kind === 'or') !== node.negated;
  }
  return (node.kind === 'and') !== node.negated;
}

function usedCategories(node: Node): number {
  let used = node.bit;
  for (const part of node.parts) used |= usedCategories(part);
  return used;
}

/** A boolean function of some categories: `table[n]` for the set whose bits, packed together, are n. */
interface Truth {
  readonly bits: readonly number[];
  readonly table: Uint8Array;
}

function truthOf(bits: readonly number[], matches: (categories: number) => boolean): Truth {
  const table = new Uint8Array(1 << bits.length);
  for (let packed = 0; packed < table.length; packed++) {
    let categories = 0;
    for (let variable = 0; variable < bits.length; variable++) {
      if (packed & (1 << variable)) categories |= bits[variable]!;
    }
    table[packed] = matches(categories) ? 1 : 0;
  }
  return { bits, table };
}

function combine(a: Truth, b: Truth, operator: 'and' | 'or'): Truth {
  const table = a.table.map((value, index) =>
    operator === 'and' ? value & b.table[index]! : value | b.table[index]!,
  );
  return { bits: a.bits, table };
}

/** A set of assignments that have some variables fixed: packed, the bits of `fixed` are as in `values`. */
interface Cube {
  readonly fixed: number;
  readonly values: number;
}

/**
 * The smallest cube that holds all assignments of `among` for which the function has that value; undefined when there are
 * none. `isAll` says whether it has that value in all of the cube.
 */
function cubeOf({ bits, table }: Truth, value: 0 | 1, among: Cube): (Cube & { isAll: boolean }) | undefined {
  let ones = -1;
  let zeros = -1;
  let count = 0;
  for (let packed = 0; packed < table.length; packed++) {
    if (table[packed] !== value || (packed & among.fixed) !== among.values) continue;
    ones &= packed;
    zeros &= ~packed;
    count++;
  }
  if (count === 0) return undefined;
  const all = table.length - 1;
  const fixed = (ones | zeros) & all;
  return { fixed, values: ones & all, isAll: count === 2 ** (bits.length - countBits(fixed)) };
}

function countBits(set: number): number {
  let count = 0;
  for (let rest = set; rest !== 0; rest &= rest - 1) count++;
  return count;
}

const EVERYWHERE: Cube = { fixed: 0, values: 0 };

/** The categories of packed variables. */
function unpack(bits: readonly number[], packed: number): number {
  return bits.reduce((set, bit, variable) => (packed & (1 << variable) ? set | bit : set), 0);
}

/**
 * A function as a filter says it: literals that are required, and one clause beside them, or undefined when it never matches.
 *
 * What the function requires singly is what all assignments that match have in common. Where that is given, one clause says the
 * rest if and only if those that do not match are a cube: a clause is false where all of its literals are.
 */
function factorsOf(truth: Truth): { required: Cube; clause: Cube; isExpressible: boolean } | undefined {
  const required = cubeOf(truth, 1, EVERYWHERE);
  if (required === undefined) return undefined;
  const rest = cubeOf(truth, 0, required);
  // The clause's own literals are fixed; what is required is fixed as well, but is none of it.
  const fixed = rest === undefined ? 0 : rest.fixed & ~required.fixed;
  const clause = { fixed, values: (rest?.values ?? 0) & fixed };
  return { required, clause, isExpressible: rest === undefined || rest.isAll };
}

function isExpressible(truth: Truth): boolean {
  return factorsOf(truth)?.isExpressible ?? true;
}

function sameTable(a: Truth, b: Truth): boolean {
  return a.table.every((value, index) => value === b.table[index]);
}

// --- What is in the way -----------------------------------------------------------------------------------------

/** A part with the negations of all around it applied. */
interface Part {
  readonly node: Node;
  readonly negated: boolean;
  readonly kind: Node['kind'];
}

function partOf(node: Node, negated: boolean): Part {
  // Moving a negation inside turns !(a & b) into !a | !b.
  const flipped = node.negated !== negated && node.kind !== 'category';
  return { node, negated, kind: flipped ? (node.kind === 'and' ? 'or' : 'and') : node.kind };
}

/** The operands of `part`, those of operands of the same kind in their place. */
function operandsOf(part: Part): Part[] {
  const operands: Part[] = [];
  const inside = part.negated !== part.node.negated;
  for (const node of part.node.parts) {
    const operand = partOf(node, inside);
    if (operand.kind === part.kind) operands.push(...operandsOf(operand));
    else operands.push(operand);
  }
  return operands;
}

/** Finds which part of an expression that parsed is to blame. */
class Diagnosis {
  readonly #text: string;
  readonly #root: Part;
  readonly #bits: readonly number[];
  /** What the expression requires singly: true whatever part is looked at, it may make parts simpler. */
  readonly #required: Cube;
  readonly #context: Truth;

  constructor(text: string, root: Node, bits: readonly number[], required: Cube = EVERYWHERE) {
    this.#text = text;
    this.#root = partOf(root, false);
    this.#bits = bits;
    this.#required = required;
    const isInside = (_: unknown, packed: number) => ((packed & required.fixed) === required.values ? 1 : 0);
    this.#context = { bits, table: Uint8Array.from({ length: 2 ** bits.length }, isInside) };
  }

  #truth({ node, negated }: Part): Truth {
    return truthOf(this.#bits, (categories) => evaluate(node, categories) !== negated);
  }

  #constant(value: boolean): Truth {
    return truthOf(this.#bits, () => value);
  }

  #fail({ node }: Part, problem: string, remedy: string): WhereError {
    return new WhereError(this.#text, node.index, node.end - node.index, problem, remedy);
  }

  /** The expression contradicts itself: the first factor that leaves nothing is to blame. */
  never(): WhereError {
    const problem = 'it can never match';
    let before = this.#constant(true);
    for (const factor of this.#root.kind === 'and' ? operandsOf(this.#root) : []) {
      const truth = this.#truth(factor);
      if (!truth.table.includes(1)) return this.#fail(factor, problem, 'No page can satisfy this part');
      before = combine(before, truth, 'and');
      if (before.table.includes(1)) continue;
      return this.#fail(factor, problem, 'No page that satisfies what comes before can satisfy this part');
    }
    return this.#fail(this.#root, problem, 'No page can satisfy this');
  }

  /** The masks cannot say it. */
  inexpressible(): WhereError {
    return this.#root.kind === 'or' ? this.#inAlternatives(this.#root) : this.#inFactors();
  }

  /** The first factor with which it is too much: by itself, or because it is a second group of alternatives. */
  #inFactors(): WhereError {
    let before = this.#context;
    let group: Part | undefined;
    for (const factor of operandsOf(this.#root)) {
      const truth = this.#truth(factor);
      const after = combine(before, truth, 'and');
      // Required singly, or said before.
      if (sameTable(before, after)) continue;
      if (!isExpressible(combine(this.#context, truth, 'and'))) return this.#inAlternatives(factor);
      if (!isExpressible(after)) {
        const { index, end } = (group ?? factor).node;
        const other = quoted(this.#text.slice(index, end));
        return this.#fail(factor, `a second group of alternatives, after ${other}`, FORM);
      }
      before = after;
      group = factor;
    }
    throw new Error('unreachable: all factors together are the expression, which is not expressible');
  }

  /** The first alternative that is more than a group of alternatives itself, unless the others cover it anyway. */
  #inAlternatives(part: Part): WhereError {
    const operands = operandsOf(part);
    const truths = operands.map((operand) => combine(this.#context, this.#truth(operand), 'and'));
    const complex = [...operands.keys()].filter(
      (index) => operands[index]!.kind !== 'category' && !this.#isClause(truths[index]!),
    );
    // How many alternatives match a set: one that is alone at any is needed.
    const matching = new Uint16Array(2 ** this.#bits.length);
    for (const { table } of truths) for (const [packed, value] of table.entries()) matching[packed]! += value;
    const needed = complex.find((index) =>
      truths[index]!.table.some((value, packed) => value === 1 && matching[packed] === 1),
    );
    const problem = 'an alternative that requires several categories at once';
    return this.#fail(operands[needed ?? complex[0] ?? -1] ?? part, problem, FORM);
  }

  /** Whether one clause, or less, says it beside what is required anyway. */
  #isClause(truth: Truth): boolean {
    const factors = factorsOf(truth);
    if (factors === undefined) return true;
    const more = countBits(factors.required.fixed & ~this.#required.fixed);
    return factors.isExpressible && more + (factors.clause.fixed === 0 ? 0 : 1) <= 1;
  }
}

/**
 * Compiles a filter in words to the three masks of a scan.
 *
 * Names are those of `CATEGORIES`, without regard to case, with or without `PAGE_IS_`. `!`, `~` or `not`
 * binds tighter than `&`, `&&` or `and`, and that tighter than `|`, `||` or `or`. The masks are minimal: no
 * repetitions, and no categories that make no difference. An expression that always matches gives no masks.
 *
 * @throws WhereError when `text` has a syntax error, can never match, or does not fit one filter
 * @example
 * ```ts
 * import { PAGE_IS_FILE, PAGE_IS_PRESENT, PAGE_IS_SWAPPED, PAGE_IS_WRITTEN } from 'pagemap-scan/abi';
 * import { compileWhere } from 'pagemap-scan/query';
 * const masks = compileWhere('written & !file & (present | swapped)');
 * console.assert(masks.categoryInverted === PAGE_IS_FILE);
 * console.assert(masks.categoryMask === (PAGE_IS_WRITTEN | PAGE_IS_FILE));
 * console.assert(masks.categoryAnyofMask === (PAGE_IS_PRESENT | PAGE_IS_SWAPPED));
 * ```
 */
export function compileWhere(text: string): WhereMasks {
  if (text.length > MOST_CHARACTERS) {
    const length = text.length - MOST_CHARACTERS;
    throw new WhereError(text, MOST_CHARACTERS, length, `longer than ${MOST_CHARACTERS} characters`, FORM);
  }
  const root = new Parser(text).parse();
  const used = usedCategories(root);
  const bits = CATEGORIES.map((category) => category.bit).filter((bit) => used & bit);
  const factors = factorsOf(truthOf(bits, (categories) => evaluate(root, categories)));
  if (factors === undefined) throw new Diagnosis(text, root, bits).never();
  const { required, clause, isExpressible: isOne } = factors;
  if (!isOne) throw new Diagnosis(text, root, bits, required).inexpressible();
  return {
    // A clause's literals are those that are false where it is.
    categoryInverted: unpack(bits, (required.fixed & ~required.values) | clause.values),
    categoryMask: unpack(bits, required.fixed),
    categoryAnyofMask: unpack(bits, clause.fixed),
  };
}

/** An expression for a filter that matches everything; the language has no constants. */
const EVERYTHING = 'present | !present';

/**
 * The shortest expression that compiles to these masks, categories in the order of their bits. Equivalent
 * masks give the same text: it leaves out alternatives that the mask decides, and inversions without effect.
 *
 * @throws RangeError for bits that are no category of this library
 * @example
 * ```ts
 * import { compileWhere, formatWhere } from 'pagemap-scan/query';
 * console.assert(formatWhere(compileWhere('not file and (swapped or present)')) === '!file & (present | swapped)');
 * ```
 */
export function formatWhere(masks: Readonly<Partial<WhereMasks>>): string {
  const { categoryInverted = 0, categoryMask = 0, categoryAnyofMask = 0 } = masks;
  for (const [name, mask] of Object.entries({ categoryInverted, categoryMask, categoryAnyofMask })) {
    if (!Number.isInteger(mask) || mask < 0 || mask > ALL_CATEGORIES) {
      throw new RangeError(`Cannot format ${name} ${mask}: not a set of the known categories`);
    }
  }
  const literals = (set: number) =>
    CATEGORIES.filter(({ bit }) => set & bit).map(({ name, bit }) =>
      categoryInverted & bit ? `!${name}` : name,
    );
  const alternatives = categoryAnyofMask & categoryMask ? [] : literals(categoryAnyofMask);
  if (alternatives.length === 1) return literals(categoryMask | categoryAnyofMask).join(' & ');
  const group = alternatives.join(' | ');
  if (categoryMask === 0) return group || EVERYTHING;
  return [...literals(categoryMask), ...(group ? [`(${group})`] : [])].join(' & ');
}
