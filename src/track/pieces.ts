/** Calls `visit` for the runs of existing pages between two addresses, in address order. */
export type PageFinder = (start: number, end: number, visit: (start: number, end: number) => void) => void;

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
