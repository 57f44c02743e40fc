/**
 * The first index from 0 to `count` that `isReached` is true of, by binary search; `count` when there is none. Once true, it has to
 * stay so for all greater indices.
 */
export function firstIndex(count: number, isReached: (index: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isReached(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
