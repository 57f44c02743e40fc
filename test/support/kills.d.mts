export function leftovers(pid: number): string | undefined;
export function killTrackers(
  program: string,
  mode: string,
  threads: number,
  count: number,
  mostMs?: number,
  progress?: (done: number) => void,
): Promise<string>;
