export interface Tally {
  /** Pages whose last write was not reported. */
  readonly lost: number;
  /** Pages reported after the last write. */
  readonly invented: number;
  readonly writes: number;
  readonly collects: number;
  readonly reported: number;
}
export function lostInProcess(program: string, writes: number): Promise<Tally>;
export function lostInOwnMemory(writes: number): Promise<Tally>;
