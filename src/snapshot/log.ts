/** The manifests of a store, in order: each tells what changed since the one before it, or all. */
import { readFileSync, statSync } from 'node:fs';
import { codeOf } from '../abi/internal.js';
import { explainAccess, SnapshotError } from './errors.js';
import { manifestFile } from './files.js';
import { decodeManifest, type Manifest, type StoredMapping } from './manifest.js';
import { PageTable } from './page-table.js';

/** @throws SnapshotError 'damaged', 'not-permitted', and 'not-found' when it is gone */
export function readManifest(folder: string, number: number): Manifest {
  const path = manifestFile(folder, number);
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    const code = codeOf(cause);
    if (code === 'ENOENT')
      throw new SnapshotError('not-found', `Cannot read snapshot ${number}: it is gone`, { cause });
    // What the disk cannot read is damaged, too.
    if (code === 'EIO')
      throw new SnapshotError('damaged', `Cannot read ${path}: the disk cannot read it`, { cause });
    throw explainAccess(cause, `read ${path}`);
  }
  let manifest: Manifest;
  try {
    manifest = decodeManifest(bytes);
    if (manifest.number !== number) throw new Error('it is that of another snapshot');
  } catch (cause) {
    const why = (cause as Error).message;
    throw new SnapshotError(
      why.startsWith('a newer') ? 'version' : 'damaged',
      `Cannot read ${path}: ${why}`,
      {
        cause,
      },
    );
  }
  return manifest;
}

/** The snapshots that one is told by: from one that tells all, each a change of the one before it, to itself. */
export function readChain(folder: string, number: number, known = 0): Manifest[] {
  const chain: Manifest[] = [];
  for (let at = number; at !== known; ) {
    const manifest = readManifest(folder, at);
    chain.push(manifest);
    const { base } = manifest;
    if (base === 0) break;
    if (base >= at) throw new SnapshotError('damaged', `Cannot read snapshot ${at}: it is based on ${base}`);
    at = base;
  }
  return chain.reverse();
}

/** A file's length, bytes; 0 when it is gone. */
export function fileBytes(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** What a snapshot consists of. */
export interface Point {
  readonly manifest: Manifest;
  readonly table: PageTable;
  readonly mappings: readonly StoredMapping[];
  readonly categories: Uint8Array;
}

/** The state at a number of snapshots, one after the other. */
export class Replay {
  readonly #folder: string;
  #point: Point | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Goes on to a snapshot. The table that it gives is changed by the next call.
   *
   * @param visit gets the pages that change, if nothing but the next snapshot is gone to
   */
  to(number: number, visit?: (page: number, before: number, now: number) => void): Point {
    for (const manifest of readChain(this.#folder, number, this.#point?.manifest.number)) {
      const { number: at, base } = manifest;
      if (base === 0 && this.#point?.manifest.number !== at - 1) this.#point = undefined;
      this.#point = this.#apply(manifest, visit);
    }
    return this.#point!;
  }

  #apply(manifest: Manifest, visit?: (page: number, before: number, now: number) => void): Point {
    const { number, base, sections } = manifest;
    const before = this.#point;
    const isFull = base === 0;
    const table = isFull ? new PageTable() : before!.table;
    try {
      table.apply(sections.pages, isFull ? undefined : visit);
    } catch (cause) {
      throw new SnapshotError('damaged', `Cannot read snapshot ${number}: ${(cause as Error).message}`, {
        cause,
      });
    }
    if (isFull && visit !== undefined)
      table.differences(before?.table ?? new PageTable(), (page, now, earlier) => visit(page, earlier, now));
    return {
      manifest,
      table,
      mappings: (manifest.hasMappings ? manifest.head.mappings : before?.mappings) ?? [],
      categories: sections.categories ?? before?.categories ?? new Uint8Array(),
    };
  }
}
