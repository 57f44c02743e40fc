/// <reference lib="esnext.disposable" preserve="true" />
/** Looks whether all bytes of a store are what was written. */

import { codeOf } from '../abi/internal.js';
import { checkFileHead } from './data-files.js';
import { SnapshotError } from './errors.js';
import { listStore, manifestFile } from './files.js';
import { Replay, readManifest } from './log.js';
import { checkIndex } from './page-index.js';
import { PageTable, ZERO } from './page-table.js';
import { PageReader } from './pages.js';

export interface Verification {
  /** Snapshots that were looked at. */
  readonly snapshots: number;
  /** Pages that they need, each counted once. */
  readonly pages: number;
  /** What is wrong, as sentences; empty when all is well. */
  readonly problems: readonly string[];
  /** The snapshots that cannot be had as they were. */
  readonly damaged: readonly number[];
}

export interface VerifyOptions {
  /** Called between snapshots and, while pages are read, now and then; throws to end it. */
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

class Verifier {
  readonly #folder: string;
  readonly #pages: PageReader;
  readonly #step: () => Promise<void>;
  readonly #problems: string[] = [];
  readonly #damaged: number[] = [];
  /** Pages that were read, and whether they are as they were. */
  readonly #checked = new Map<number, boolean>();
  #since = 0;

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
    const lost = new Set<number>();
    let isWhole = false;
    for (const number of kept) {
      await this.#step();
      const changes: [page: number, now: number][] = [];
      try {
        if (isWhole) replay.to(number, (page, _, now) => changes.push([page, now]));
        else {
          replay = new Replay(this.#folder);
          lost.clear();
          replay.to(number).table.differences(new PageTable(), (page, now) => changes.push([page, now]));
        }
        isWhole = true;
      } catch (error) {
        isWhole = false;
        this.#damaged.push(number);
        this.#say(error);
        continue;
      }
      for (const [page, now] of changes) {
        if (now > ZERO && !(await this.#check(now))) lost.add(page);
        else lost.delete(page);
      }
      if (lost.size > 0) this.#damaged.push(number);
    }
    return {
      snapshots: kept.length,
      pages: this.#checked.size,
      problems: [...new Set(this.#problems)],
      damaged: this.#damaged,
    };
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
          this.#problems.push(`Cannot read ${manifestFile(this.#folder, number)}: it is gone`);
        }
      return numbers;
    }
    return [];
  }

  async #check(reference: number): Promise<boolean> {
    const known = this.#checked.get(reference);
    if (known !== undefined) return known;
    if (this.#since++ % PAGES_A_STEP === 0) await this.#step();
    const isRight = this.#note(() => this.#pages.read(reference)) !== undefined;
    this.#checked.set(reference, isRight);
    return isRight;
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
    this.#problems.push((error as Error).message);
  }
}

export async function verifyStore(folder: string, { onStep }: VerifyOptions = {}): Promise<Verification> {
  using pages = new PageReader(folder);
  return await new Verifier(folder, pages, onStep ?? (async () => undefined)).run();
}
