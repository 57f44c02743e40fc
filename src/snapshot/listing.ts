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

/** Whether a snapshot cannot be had: it is damaged, or its owner or a writer has deleted it. */
export const isLost = (error: unknown) => isDamage(error) || isGone(error);

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

  /** The whole ones, the newest first. It looks at no more snapshots than are asked for, and tells of each damaged one on the way. */
  *newestFirst(numbers: readonly number[], onDamaged: (number: number) => void): Generator<number> {
    const known = new Map<number, boolean>();
    for (const number of [...numbers].reverse()) {
      if (this.#isWhole(number, known)) yield number;
      // Otherwise it was dropped meanwhile.
      else if (existsSync(manifestFile(this.#folder, number))) onDamaged(number);
    }
  }

  /** Whether a snapshot can be read, and all that it builds on. Of the latter it decodes no heads: that takes most of the time. */
  #isWhole(number: number, known: Map<number, boolean>): boolean {
    if (this.#infos.has(number)) return true;
    const chain: number[] = [];
    let answer: boolean | undefined;
    for (let at = number; answer === undefined; ) {
      answer = known.get(at);
      if (answer !== undefined) break;
      chain.push(at);
      try {
        const manifest = readManifest(this.#folder, at);
        if (at === number) describeSnapshot(manifest.head);
        const { base } = manifest;
        if (base === 0) answer = true;
        else if (base >= at) answer = false;
        else at = base;
      } catch (error) {
        if (!isLost(error)) throw error;
        answer = false;
      }
    }
    for (const each of chain) known.set(each, answer);
    return answer;
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
