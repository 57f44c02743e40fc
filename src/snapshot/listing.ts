/** Lists a store's snapshots by their manifests, also where some of these are damaged. */
import { existsSync } from 'node:fs';
import { SnapshotError } from './errors.js';
import { listStore, manifestFile } from './files.js';
import { describeSnapshot, type SnapshotInfo } from './info.js';
import { readManifest } from './log.js';

/** A snapshot that cannot be read: its manifest is damaged, or one that it builds on. */
export interface DamagedSnapshot {
  readonly number: number;
  /** What is wrong, as a sentence. */
  readonly problem: string;
}

/**
 * Numbers of the kept snapshots, damaged ones included, ascending. The newest readable manifest says which one is the
 * oldest.
 *
 * @throws SnapshotError 'not-found', 'version', 'not-permitted'
 */
export function keptNumbers(folder: string): number[] {
  const { manifests } = listStore(folder);
  for (const newest of [...manifests].reverse()) {
    try {
      const { first } = readManifest(folder, newest);
      return manifests.filter((number) => number >= first);
    } catch (error) {
      if (isGone(error)) return keptNumbers(folder);
      if (!isDamage(error)) throw error;
    }
  }
  return [...manifests];
}

/** A writer has dropped it since it was listed, and there are newer ones. */
const isGone = (error: unknown) => error instanceof SnapshotError && error.reason === 'not-found';

export const isDamage = (error: unknown): error is SnapshotError =>
  error instanceof SnapshotError && error.reason === 'damaged';

/** Reads each manifest once, and keeps the facts of intact ones: manifests do not change. */
export class Listing {
  readonly #folder: string;
  readonly #infos = new Map<number, SnapshotInfo>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * The intact and the damaged snapshots, both ascending.
   *
   * @throws SnapshotError 'version', 'not-permitted'
   */
  look(numbers: readonly number[]): { infos: SnapshotInfo[]; damaged: DamagedSnapshot[] } {
    const infos: SnapshotInfo[] = [];
    const damaged: DamagedSnapshot[] = [];
    /** Of manifests that were looked at: what is wrong, and undefined of those that are whole. */
    const problems = new Map<number, string | undefined>();
    for (const number of numbers) {
      try {
        const problem = this.#problemOf(number, problems);
        if (problem === undefined) infos.push(this.#infos.get(number)!);
        else damaged.push({ number, problem });
      } catch (error) {
        if (!isGone(error)) throw error;
        // Dropped meanwhile, unless it is there, and what it is told by is not.
        if (existsSync(manifestFile(this.#folder, number)))
          damaged.push({ number, problem: (error as Error).message });
      }
    }
    return { infos, damaged };
  }

  /** What is wrong with a snapshot, or with one that it builds on. */
  #problemOf(number: number, problems: Map<number, string | undefined>): string | undefined {
    if (this.#infos.has(number) || problems.has(number)) return problems.get(number);
    let problem: string | undefined;
    try {
      const { base, head } = readManifest(this.#folder, number);
      if (base >= number) problem = `Cannot read snapshot ${number}: it is based on ${base}`;
      else if (base > 0) problem = this.#problemOf(base, problems);
      if (problem === undefined) this.#infos.set(number, describeSnapshot(head));
    } catch (error) {
      if (!isDamage(error)) throw error;
      problem = error.message;
    }
    problems.set(number, problem);
    return problem;
  }
}
