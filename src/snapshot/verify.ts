/// <reference lib="esnext.disposable" preserve="true" />
/** Checks that all bytes of a store are as they were written. */

import { codeOf, MOST_USER_SPACE_END, PAGE_SIZE } from '../abi/internal.js';
import { PageSet } from '../core/internal.js';
import { CheckedPages } from './checked-pages.js';
import { checkFileHead } from './data-files.js';
import { SnapshotError } from './errors.js';
import { listStore, manifestFile } from './files.js';
import { Replay, readManifest } from './log.js';
import { checkIndex } from './page-index.js';
import { type PageTable, pageOf, ZERO } from './page-table.js';
import { PageReader } from './pages.js';

export interface Verification {
  /** The number of checked snapshots. */
  readonly snapshots: number;
  /** The number of pages that they need, each counted once. */
  readonly pages: number;
  /** What is wrong, as sentences; empty when all is well. */
  readonly problems: readonly string[];
  /** The damaged snapshots. */
  readonly damaged: readonly number[];
}

export interface VerifyOptions {
  /** Called between snapshots, and now and then while pages are read. Throw an error to end the check. */
  readonly onStep?: (() => Promise<void>) | undefined;
}

/** So many pages are checked between two steps. */
const PAGES_A_STEP = 1024;

/** A file may be gone: a writer has dropped it since. Had it not, its pages would be missed. */
function unlessGone(check: () => void): void {
  try {
    check();
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}

/** Appends a run, which ascends, to runs. */
function addToRuns(runs: number[], first: number, end: number): void {
  if (runs.at(-1) === first) runs[runs.length - 1] = end;
  else runs.push(first, end);
}

class Verifier {
  readonly #folder: string;
  readonly #pages: PageReader;
  readonly #step: () => Promise<void>;
  readonly #problems = new Set<string>();
  readonly #damaged: number[] = [];
  /** Pages that were read, and whether they are as they were. */
  readonly #checked = new CheckedPages();

  constructor(folder: string, pages: PageReader, step: () => Promise<void>) {
    this.#folder = folder;
    this.#pages = pages;
    this.#step = step;
  }

  async run(): Promise<Verification> {
    const { data, manifests, indexes } = listStore(this.#folder);
    for (const number of data) this.#note(() => unlessGone(() => checkFileHead(this.#folder, number)));
    for (const number of indexes) this.#note(() => unlessGone(() => checkIndex(this.#folder, number)));
    const kept = this.#kept(manifests);
    let replay = new Replay(this.#folder);
    /** Pages of the state that is gone over, by address, whose bytes are lost. */
    const lost = new PageSet();
    let isWhole = false;
    for (const number of kept) {
      await this.#step();
      /** Where the runs of pages begin and end that have changed: pages by themselves may be too many. */
      const runs: number[] = [];
      let table: PageTable;
      try {
        if (isWhole) ({ table } = replay.to(number, (page) => addToRuns(runs, page, page + 1)));
        else {
          replay = new Replay(this.#folder);
          lost.clear();
          ({ table } = replay.to(number));
          table.runs(0, pageOf(MOST_USER_SPACE_END), (page, count) => addToRuns(runs, page, page + count));
        }
        isWhole = true;
      } catch (error) {
        isWhole = false;
        this.#damaged.push(number);
        this.#say(error);
        continue;
      }
      await this.#checkRuns(runs, table, lost);
      if (lost.some(0, MOST_USER_SPACE_END)) this.#damaged.push(number);
    }
    return {
      snapshots: kept.length,
      pages: this.#checked.count,
      problems: [...this.#problems],
      damaged: this.#damaged,
    };
  }

  /** Looks at the pages of some addresses, and puts those that are lost into `lost`. */
  async #checkRuns(runs: readonly number[], table: PageTable, lost: PageSet): Promise<void> {
    for (let at = 0; at < runs.length; at += 2) {
      for (let page = runs[at]!; page < runs[at + 1]!; page++) {
        const reference = table.get(page);
        const [start, end] = [page * PAGE_SIZE, (page + 1) * PAGE_SIZE];
        if (reference <= ZERO) {
          lost.delete(start, end);
          continue;
        }
        let isRight = this.#checked.get(reference);
        if (isRight === undefined) {
          if (this.#checked.count % PAGES_A_STEP === 0) await this.#step();
          isRight = this.#note(() => this.#pages.read(reference)) !== undefined;
          this.#checked.set(reference, isRight);
        }
        if (isRight) lost.delete(start, end);
        else lost.add(start, end);
      }
    }
  }

  /** The snapshots that count, as far as that can be known. */
  #kept(manifests: readonly number[]): readonly number[] {
    for (const newest of [...manifests].reverse()) {
      const manifest = this.#note(() => readManifest(this.#folder, newest));
      if (manifest === undefined) continue;
      const numbers = manifests.filter((number) => number >= manifest.first);
      for (let number = manifest.first; number <= newest; number++)
        if (!manifests.includes(number)) {
          this.#damaged.push(number);
          this.#problems.add(`Cannot read ${manifestFile(this.#folder, number)}: it is gone`);
        }
      return numbers;
    }
    return [];
  }

  #note<Value>(work: () => Value): Value | undefined {
    try {
      return work();
    } catch (error) {
      this.#say(error);
      return undefined;
    }
  }

  #say(error: unknown): void {
    // What the disk cannot read is damaged, too.
    if (!(error instanceof SnapshotError) && codeOf(error) !== 'EIO') throw error;
    this.#problems.add((error as Error).message);
  }
}

export async function verifyStore(folder: string, { onStep }: VerifyOptions = {}): Promise<Verification> {
  using pages = new PageReader(folder, { byContent: true });
  return await new Verifier(folder, pages, onStep ?? (async () => undefined)).run();
}
