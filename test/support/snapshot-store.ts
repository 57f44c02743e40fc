/** Stores of made-up snapshots, for tests: page tables with known content. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE_SIZE } from '../../src/abi/index.js';
import { NO_TRAITS } from '../../src/core/filter.js';
import type { StoredMapping } from '../../src/snapshot/manifest.js';
import { PageTable, ZERO } from '../../src/snapshot/page-table.js';
import { type NewSnapshot, type StoreProcess, StoreWriter } from '../../src/snapshot/store.js';

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

/** A mapping of private memory without a file, all of which is kept. */
export function mappingOf(start: number, end: number): StoredMapping {
  return {
    mapping: {
      start,
      end,
      perms: 'rw-p',
      offset: 0,
      device: { major: 0, minor: 0 },
      inode: 0,
      name: '',
      deleted: false,
    },
    traits: NO_TRAITS,
    known: true,
    share: 'written',
    holds: 'pages',
  };
}

/** Adds a snapshot with this content, of a process with one mapping, unless others are given. */
export async function addSnapshot(
  store: StoreWriter,
  model: Model,
  written?: NewSnapshot['written'],
  timeMs = 1_700_000_000_000 + store.newest * 1000,
  more: Partial<Pick<NewSnapshot, 'mappings' | 'categories' | 'pageCategories'>> = {},
) {
  const table = new PageTable();
  for (const [page, number] of model)
    table.set(FIRST_PAGE + page, number === 0 ? ZERO : store.put(pageOfNumber(number)));
  return await store.add({
    table,
    written,
    pageCategories: new Uint8Array(),
    categories: 0,
    timeMs,
    pauseMs: 1,
    totalMs: 2,
    doubts: [],
    unreadablePages: 0,
    facts: {
      ids: { pid: 4242, ppid: 1, pgid: 1, sid: 1 },
      state: 'S',
      flags: 0,
      nice: 0,
      uid: 0,
      gid: 0,
      name: new Uint8Array([0x61]),
      commandLine: new Uint8Array([0x61, 0]),
      auxv: new Uint8Array(16),
      isElsewhere: false,
    },
    threads: [],
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

export { PAGE_SIZE, START, StoreWriter };
