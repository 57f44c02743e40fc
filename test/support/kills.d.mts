export function leftovers(pid: number): string | undefined;
export function killTrackers(
  program: string,
  mode: string,
  threads: number,
  count: number,
  options?: { progress?: (done: number, doing: 'a' | 't') => void; accesses?: boolean },
): Promise<string>;
