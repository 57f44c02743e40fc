/** Keeps states of a process in a store: of each page, once, what it holds. */
import { fstatSync } from 'node:fs';
import { PAGE_SIZE } from '../abi/index.js';
import {
  type PageSource,
  type ProcessState,
  readFully,
  type StateMapping,
  type StateSink,
  type Stored,
} from '../core/internal.js';
import type { StoredMapping } from './manifest.js';
import { ABSENT, PageTable, pageOf, ZERO } from './page-table.js';
import type { StoreWriter } from './store.js';

/** Pages that are kept in memory until the state is known, since some of them are given several times: up to 64 MiB. */
const WAITING_PAGES = 16_384;
/** They are kept in pieces of so many, 4 MiB, which are made as they are needed. */
const PIECE_PAGES = 1024;
/** Read from a file at once, bytes. */
const READ_BYTES = 1 << 18;

/** A state as it is going to be kept. */
export interface KeptState {
  readonly state: ProcessState;
  readonly table: PageTable;
  readonly mappings: readonly StoredMapping[];
  readonly written: readonly (readonly [page: number, count: number, value: number])[] | undefined;
  readonly pageCategories: Uint8Array;
}

/** Pages that were given and not yet put into the store; the last bytes of each. */
class WaitingPages {
  readonly #pieces: Uint8Array[] = [];
  /** By page; where its bytes are, in pages. */
  readonly #slots = new Map<number, number>();
  readonly #free: number[] = [];
  #used = 0;

  get isFull(): boolean {
    return this.#used === WAITING_PAGES && this.#free.length === 0;
  }

  set(page: number, bytes: Uint8Array): void {
    let slot = this.#slots.get(page);
    if (slot === undefined) {
      slot = this.#free.pop() ?? this.#used++;
      this.#slots.set(page, slot);
    }
    this.#at(slot).set(bytes);
  }

  #at(slot: number): Uint8Array {
    const number = Math.floor(slot / PIECE_PAGES);
    let piece = this.#pieces[number];
    if (piece === undefined) {
      piece = new Uint8Array(PIECE_PAGES * PAGE_SIZE);
      this.#pieces[number] = piece;
    }
    const at = (slot % PIECE_PAGES) * PAGE_SIZE;
    return piece.subarray(at, at + PAGE_SIZE);
  }

  delete(page: number): void {
    const slot = this.#slots.get(page);
    if (slot === undefined) return;
    this.#slots.delete(page);
    this.#free.push(slot);
  }

  deleteRange(first: number, end: number): void {
    if (end - first < this.#slots.size) for (let page = first; page < end; page++) this.delete(page);
    else for (const page of [...this.#slots.keys()]) if (page >= first && page < end) this.delete(page);
  }

  /** Takes all out, in the order of addresses. */
  take(visit: (page: number, bytes: Uint8Array) => void): void {
    for (const [page, slot] of [...this.#slots].sort(([one], [other]) => one - other))
      visit(page, this.#at(slot));
    this.#slots.clear();
    this.#free.length = 0;
    this.#used = 0;
  }
}

export class SnapshotSink implements StateSink {
  readonly isSequential = false;
  /** Nobody knows how much of it is new, and how well it can be compressed. */
  readonly freeBytes = Number.POSITIVE_INFINITY;
  readonly place: string;
  readonly #store: StoreWriter;
  readonly #categories: (mappings: readonly StateMapping[]) => Uint8Array;
  readonly #waiting = new WaitingPages();
  /** What was given. */
  readonly #given = new PageTable();
  /** References of the pages of files, by what they were read from. */
  #files = new Map<string, Float64Array>();
  #kept: KeptState | undefined;

  /** @param categories asks what the pages are, as the `Sections` have it */
  constructor(store: StoreWriter, categories: (mappings: readonly StateMapping[]) => Uint8Array) {
    this.#store = store;
    this.place = store.folder;
    this.#categories = categories;
  }

  /** The state that `finish` was given last. */
  take(): KeptState {
    const kept = this.#kept!;
    this.#kept = undefined;
    return kept;
  }

  reserve(): void {
    // Places do not matter here.
  }

  expect(): void {
    // Likewise.
  }

  write(bytes: Uint8Array<ArrayBuffer>, ranges: readonly number[]): undefined {
    let at = 0;
    for (let index = 0; index < ranges.length; index += 2) {
      const end = pageOf(ranges[index + 1]!);
      for (let page = pageOf(ranges[index]!); page < end; page++, at += PAGE_SIZE) {
        if (this.#waiting.isFull) this.#putWaiting();
        this.#waiting.set(page, bytes.subarray(at, at + PAGE_SIZE));
      }
    }
  }

  #putWaiting(): void {
    this.#waiting.take((page, bytes) => this.#given.set(page, this.#store.put(bytes)));
  }

  discard(start: number, end: number): void {
    this.#waiting.deleteRange(pageOf(start), pageOf(end));
    this.#given.delete(pageOf(start), pageOf(end));
  }

  async finish(state: ProcessState): Promise<Stored> {
    const pageCategories = this.#categories(state.mappings);
    this.#takeKept(state);
    this.#putWaiting();
    const table = new PageTable();
    const files = new Map<string, Float64Array>();
    let pages = 0;
    for (const mapping of state.mappings) {
      state.visitPages(mapping, (start, end, source) => {
        pages += pageOf(end) - pageOf(start);
        if (source.in === 'file') this.#putFile(table, files, start, end, source);
        else table.copy(this.#given, pageOf(start), pageOf(end), ZERO);
      });
      if (mapping.image !== undefined) this.#putImage(table, mapping.mapping.start, mapping.image);
    }
    this.#files = files;
    const mappings = state.mappings.map(({ image, ...rest }) => ({
      ...rest,
      ...(image !== undefined && { imageBytes: image.length }),
    }));
    this.#kept = { state, table, mappings, written: writtenRanges(state, table), pageCategories };
    return { bytes: pages * PAGE_SIZE, storedBytes: 0 };
  }

  /** What was copied at the stop is newer than what was given before. */
  #takeKept(state: ProcessState): void {
    for (const mapping of state.mappings) {
      state.visitPages(mapping, (start, end, source) => {
        if (source.in !== 'memory') return;
        let at = source.at;
        for (let page = pageOf(start); page < pageOf(end); page++, at += PAGE_SIZE) {
          this.#waiting.delete(page);
          this.#given.set(page, this.#store.put(source.bytes.subarray(at, at + PAGE_SIZE)));
        }
      });
    }
  }

  #putImage(table: PageTable, start: number, image: Uint8Array): void {
    const page = new Uint8Array(PAGE_SIZE);
    for (let at = 0; at < image.length; at += PAGE_SIZE) {
      page.fill(0);
      page.set(image.subarray(at, at + PAGE_SIZE));
      table.set(pageOf(start + at), this.#store.put(page));
    }
  }

  /** Pages of a file are read once, as long as nobody changes it. */
  #putFile(
    table: PageTable,
    files: Map<string, Float64Array>,
    start: number,
    end: number,
    { fd, offset }: Extract<PageSource, { in: 'file' }>,
  ): void {
    const { dev, ino, size, mtimeNs, ctimeNs } = fstatSync(fd, { bigint: true });
    const key = [dev, ino, size, mtimeNs, ctimeNs, offset, end - start].join(' ');
    let references = files.get(key) ?? this.#files.get(key);
    if (references === undefined) {
      references = new Float64Array((end - start) / PAGE_SIZE).fill(ABSENT);
      const bytes = new Uint8Array(Math.min(READ_BYTES, end - start));
      for (let at = 0; at < end - start; at += bytes.length) {
        const length = Math.min(bytes.length, end - start - at);
        readFully(fd, bytes, 0, length, offset + at);
        for (let page = 0; page < length; page += PAGE_SIZE)
          references[(at + page) / PAGE_SIZE] = this.#store.put(bytes.subarray(page, page + PAGE_SIZE));
      }
    }
    files.set(key, references);
    for (let index = 0; index < references.length; index++)
      table.set(pageOf(start) + index, references[index]!);
  }
}

/** Pages of the state that were written since the last one. */
function writtenRanges({ written, mappings }: ProcessState, table: PageTable) {
  if (written === undefined) return undefined;
  const ranges: [page: number, count: number, value: number][] = [];
  for (const { mapping } of mappings) {
    written.runs(mapping.start, mapping.end, true, (start, end) => {
      let first = -1;
      for (let page = pageOf(start); page <= pageOf(end); page++) {
        const isThere = page < pageOf(end) && table.get(page) !== ABSENT;
        if (isThere && first < 0) first = page;
        if (isThere || first < 0) continue;
        ranges.push([first, page - first, 0]);
        first = -1;
      }
    });
  }
  return ranges;
}
