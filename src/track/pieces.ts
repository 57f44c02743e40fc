/** Work on much memory that keeps its process waiting is done in pieces. */

/** Calls `visit` for the runs of existing pages between two addresses, in address order. */
export type PageFinder = (start: number, end: number, visit: (start: number, end: number) => void) => void;

/** A piece that takes so long, milliseconds, shows that page-table work is expensive here: it and the next ones are followed by rests. */
const EXPENSIVE_MS = 1;
/** After so many pieces in a row that took less, there are no rests any more. */
const CHEAP_PIECES = 16;
/** The longest rest, milliseconds. */
const MOST_REST_MS = 3;

/** A run of pages may have page tables of its own, which take as long to go through as so many bytes that are full. */
const RUN_BYTES = 256 << 10;

/**
 * Cuts a range into pieces that hold about so many bytes of existing pages. Untouched terabytes do not count.
 *
 * @param alignBytes cuts are at multiples of it: in the middle of a huge page, one would split it
 * @returns start and end in turns; together they are the range
 */
export function filledPieces(
  start: number,
  end: number,
  pieceBytes: number,
  find: PageFinder,
  alignBytes = 1,
): number[] {
  const pieces: number[] = [];
  let from = start;
  let room = pieceBytes;
  const cut = (wanted: number) => {
    const at = Math.floor(wanted / alignBytes) * alignBytes;
    if (at > from) {
      pieces.push(from, at);
      from = at;
    }
    room = pieceBytes;
  };
  find(start, end, (first, last) => {
    if (room <= RUN_BYTES) cut(first);
    else room -= RUN_BYTES;
    for (let at = first; at < last; ) {
      const bytes = Math.min(room, last - at);
      at += bytes;
      room -= bytes;
      if (room === 0) cut(at);
    }
  });
  if (from < end) pieces.push(from, end);
  return pieces;
}

/**
 * Does something piece by piece, and gives for how long to rest after a piece, milliseconds, where page-table work is expensive: as long
 * as the piece took, `leastMs` at least, 3 ms at most. Others who wait for the same locks come in. A host does part of that work only
 * afterwards, and lets the process's threads wait for it; without rests that adds up, and the work itself takes longer.
 */
export function* withRests(
  pieces: readonly number[],
  leastMs: number,
  work: (start: number, end: number) => void,
): Generator<number, void, undefined> {
  let toRest = 0;
  for (let index = 0; index < pieces.length; index += 2) {
    const before = performance.now();
    work(pieces[index]!, pieces[index + 1]!);
    const tookMs = performance.now() - before;
    toRest = tookMs >= EXPENSIVE_MS ? CHEAP_PIECES : toRest - 1;
    if (toRest > 0 && index + 2 < pieces.length) yield Math.min(Math.max(tookMs, leastMs), MOST_REST_MS);
  }
}
