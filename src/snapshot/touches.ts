/** Which of a number of snapshots in a row touch each page: ranges of pages, with a bit for each snapshot. */

/** So many snapshots in a row are told together. */
export const SPAN = 128;
/** Words that have a bit for each of them. */
export const WORDS: number = SPAN / 32;

/** Pages from one to another, the second one not among them. */
export type PageSpan = readonly [first: number, end: number];

/** What lies in any of some ranges, as ascending ranges that do not meet. */
export function uniteSpans(spans: readonly PageSpan[]): PageSpan[] {
  const sorted = [...spans].sort(([one], [other]) => one - other);
  const united: [number, number][] = [];
  for (const [first, end] of sorted) {
    const last = united.at(-1);
    if (last !== undefined && first <= last[1]) last[1] = Math.max(last[1], end);
    else united.push([first, end]);
  }
  return united;
}

/** What lies in one of two lists of ranges, and not in the other. Both ascend, and their ranges do not meet. */
export function differingSpans(one: readonly PageSpan[], other: readonly PageSpan[]): PageSpan[] {
  // Each border begins or ends a range that is in one list alone, unless the other list has it, too.
  const borders = [...one.flat(), ...other.flat()].sort((a, b) => a - b);
  const differing: [number, number][] = [];
  for (let at = 0; at < borders.length; at += 2) {
    const [first, end] = [borders[at]!, borders[at + 1]!];
    if (first === end) continue;
    const last = differing.at(-1);
    if (last?.[1] === first) last[1] = end;
    else differing.push([first, end]);
  }
  return differing;
}

/** Pieces of an address space whose pages are touched by the same snapshots, ascending, in arrays that are used again. */
class Pieces {
  firsts = new Float64Array(64);
  ends = new Float64Array(64);
  bits = new Uint32Array(64 * WORDS);
  length = 0;

  /** Makes room for so many. What they hold is gone. */
  clear(room: number): void {
    this.length = 0;
    if (room <= this.firsts.length) return;
    const size = 2 ** Math.ceil(Math.log2(room));
    this.firsts = new Float64Array(size);
    this.ends = new Float64Array(size);
    this.bits = new Uint32Array(size * WORDS);
  }

  /** Appends a piece with the bits of another one, if any, and one more, if it is 0 or above. */
  push(first: number, end: number, from: Pieces, piece: number, bit: number): void {
    const { bits } = this;
    const at = this.length * WORDS;
    for (let word = 0; word < WORDS; word++)
      bits[at + word] = piece < 0 ? 0 : from.bits[piece * WORDS + word]!;
    if (bit >= 0) bits[at + (bit >> 5)]! |= 1 << (bit & 31);
    if (this.length > 0 && this.ends[this.length - 1] === first && this.#hasBitsOfLast(at)) {
      this.ends[this.length - 1] = end;
      return;
    }
    this.firsts[this.length] = first;
    this.ends[this.length++] = end;
  }

  #hasBitsOfLast(at: number): boolean {
    for (let word = at; word < at + WORDS; word++)
      if (this.bits[word] !== this.bits[word - WORDS]) return false;
    return true;
  }
}

export class Touches {
  #pieces = new Pieces();
  #others = new Pieces();

  get length(): number {
    return this.#pieces.length;
  }

  clear(): void {
    this.#pieces.clear(0);
  }

  /**
   * Notes that a snapshot touches pages. What it takes grows with the pieces that there are.
   *
   * @param bit which one, from 0 to 127
   * @param spans ascending, and they do not meet
   */
  add(bit: number, spans: readonly PageSpan[]): void {
    const before = this.#pieces;
    const after = this.#others;
    // Each border of either makes one piece at most.
    after.clear(2 * (before.length + spans.length));
    let done = 0;
    for (let piece = 0, span = 0; ; ) {
      const pieceFirst =
        piece < before.length ? Math.max(before.firsts[piece]!, done) : Number.POSITIVE_INFINITY;
      const spanFirst = span < spans.length ? Math.max(spans[span]![0], done) : Number.POSITIVE_INFINITY;
      const first = Math.min(pieceFirst, spanFirst);
      if (first === Number.POSITIVE_INFINITY) break;
      const [isInPiece, isInSpan] = [pieceFirst === first, spanFirst === first];
      done = Math.min(isInPiece ? before.ends[piece]! : pieceFirst, isInSpan ? spans[span]![1] : spanFirst);
      after.push(first, done, before, isInPiece ? piece : -1, isInSpan ? bit : -1);
      if (isInPiece && before.ends[piece] === done) piece++;
      if (isInSpan && spans[span]![1] === done) span++;
    }
    [this.#pieces, this.#others] = [after, before];
  }

  /** Visits the pieces, ascending. `bits` has 4 words for each; a piece's begin at `at`. */
  visit(visit: (first: number, end: number, bits: Uint32Array, at: number) => void): void {
    const { firsts, ends, bits, length } = this.#pieces;
    for (let piece = 0; piece < length; piece++) visit(firsts[piece]!, ends[piece]!, bits, piece * WORDS);
  }
}
