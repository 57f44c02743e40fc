export function leftovers(pid: number): string | undefined;
export function killTrackers(
  program: string,
  mode: string,
  threads: number,
  count: number,
  options?: { mostMs?: number; progress?: (done: number) => void; accesses?: boolean },
): Promise<string>;
