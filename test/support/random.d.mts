export function random(seed: number): () => number;
export function randomBelow(seed: number): (below: number) => number;
