/** The files of a store, by their names. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf } from '../abi/internal.js';
import { explainAccess, SnapshotError } from './errors.js';

export const STORE_FILE = 'store.json';
export const LOCK_FILE = 'lock';
/** What is still being written ends so. */
export const PART = '.part';

/** Others' files may end so, too. */
const OWN_PART = /^(store\.json|(?:snapshot|index)-\d{8,15})\.part$/;

const digits = (number: number) => String(number).padStart(8, '0');

export const dataFile = (folder: string, number: number) => join(folder, `data-${digits(number)}`);
export const manifestFile = (folder: string, number: number) => join(folder, `snapshot-${digits(number)}`);
export const indexFile = (folder: string, number: number) => join(folder, `index-${digits(number)}`);

const LISTS = { data: 'data', snapshot: 'manifests', index: 'indexes' } as const;

/** What a folder has of a store; numbers ascending. */
export interface StoreFiles {
  readonly data: readonly number[];
  readonly manifests: readonly number[];
  readonly indexes: readonly number[];
  /** Left by a writer that was killed. */
  readonly parts: readonly string[];
  /** Of anything else. */
  readonly others: readonly string[];
}

export function listStore(folder: string): StoreFiles {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (cause) {
    const code = codeOf(cause);
    if (code !== 'ENOENT' && code !== 'ENOTDIR')
      throw explainAccess(cause, `read the snapshots in ${folder}`);
    // Or a part of its path is one.
    const why = code === 'ENOENT' ? 'there is no such folder' : 'it is a file; give the folder that it is in';
    throw new SnapshotError('not-found', `Cannot open ${folder}: ${why}`, { cause });
  }
  const found = {
    data: [] as number[],
    manifests: [] as number[],
    indexes: [] as number[],
    parts: [] as string[],
    others: [] as string[],
  };
  for (const name of names) {
    const match = /^(data|snapshot|index)-(\d{8,15})$/.exec(name);
    if (match !== null) found[LISTS[match[1] as keyof typeof LISTS]].push(Number(match[2]));
    else if (OWN_PART.test(name)) found.parts.push(name);
    else if (name !== STORE_FILE && name !== LOCK_FILE) found.others.push(name);
  }
  found.data.sort((a, b) => a - b);
  found.manifests.sort((a, b) => a - b);
  found.indexes.sort((a, b) => a - b);
  return found;
}
