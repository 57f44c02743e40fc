export const MODES: readonly string[];
export function attachCycles(
  program: string,
  mode: string,
  threads: number,
  cycles: number,
  pauseMs?: number,
  accesses?: boolean,
): Promise<{ said: string; code: number | null; stops: number[] }>;
