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
export interface AccessTally {
  /** Pages of a round whose first access was reported neither in its interval nor in the next. */
  readonly missed: number;
  /** Pages reported after the last access. */
  readonly invented: number;
  /** First accesses: rounds times pages. */
  readonly accesses: number;
  readonly collects: number;
  readonly reported: number;
}
export function missedAccesses(program: string, rounds: number, pagesEach?: number): Promise<AccessTally>;
