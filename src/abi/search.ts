/**
 * The first index from 0 to `count` for which `isReached` is true, by binary search; `count` when there is
 * none. It must be true for all greater indices, too.
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
