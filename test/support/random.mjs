/** Numbers from 0 to below 1, the same ones for the same seed (mulberry32: a 32-bit state, good enough to choose pages). */
export function random(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Whole numbers from 0 to below what is asked for, the same ones for the same seed. */
export function randomBelow(seed) {
  const next = random(seed);
  return (below) => Math.floor(next() * below);
}
