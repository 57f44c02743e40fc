/** Stores of made-up snapshots, for tests: page tables with known content. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE_SIZE } from '../../src/abi/index.js';
import { SnapshotError } from '../../src/snapshot/index.js';
import { PageTable, ZERO } from '../../src/snapshot/page-table.js';
import { type NewSnapshot, StoreWriter } from '../../src/snapshot/store.js';
import type { StoreProcess } from '../../src/snapshot/store-file.js';
import { mappingOf, STATE } from './snapshot-state.mjs';

export const ABOUT: StoreProcess = {
  pid: 4242,
  startTime: 17,
  bootId: 'boot',
  name: 'made-up',
  commandLine: 'made up --for tests',
};

const START = 0x7f00_0000_0000;
export const FIRST_PAGE = START / PAGE_SIZE;

/** What pages hold: a number, of which a page is made. 0 is a page of zeros. */
export type Model = Map<number, number>;

/** The page of a number: all numbers give other bytes. */
export function pageOfNumber(number: number): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  if (number === 0) return page;
  const view = new DataView(page.buffer);
  for (let at = 0; at < PAGE_SIZE; at += 64) view.setFloat64(at, number + at, true);
  return page;
}

/** Adds a snapshot with this content, of a process with one mapping, unless others are given. */
export async function addSnapshot(
  store: StoreWriter,
  model: Model,
  written?: NewSnapshot['written'],
  timeMs = 1_700_000_000_000 + store.newest * 1000,
  more: Partial<Pick<NewSnapshot, 'mappings' | 'categories' | 'pageCategories' | 'threads' | 'facts'>> = {},
) {
  const table = new PageTable();
  // Models with many pages have few numbers.
  const entries = new Map([[0, ZERO]]);
  for (const [page, number] of model) {
    const entry = entries.get(number) ?? store.put(pageOfNumber(number));
    entries.set(number, entry);
    table.set(FIRST_PAGE + page, entry);
  }
  return await store.add({
    ...STATE,
    table,
    written,
    timeMs,
    mappings: [mappingOf(START, START + 2 ** 30)],
    ...more,
  });
}

/** What a folder takes on the disk, bytes. */
export function diskBytes(folder: string): number {
  let bytes = 0;
  for (const name of readdirSync(folder)) bytes += statSync(join(folder, name)).blocks * 512;
  return bytes;
}

export { mappingOf, PAGE_SIZE, START, StoreWriter };

/** The reason of the SnapshotError that something throws; 'none' where it throws nothing. */
export function reasonOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof SnapshotError) return error.reason;
    throw error;
  }
  return 'none';
}
