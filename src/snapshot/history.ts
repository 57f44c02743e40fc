/** When bytes changed, and from what to what: a watchpoint in the past. */
import { existsSync } from 'node:fs';
import { PAGE_SIZE } from '../abi/index.js';
import { mappingAt, readsAsZeros } from './content.js';
import { SnapshotError } from './errors.js';
import { manifestFile } from './files.js';
import { isLost } from './listing.js';
import { readChain, readManifest } from './log.js';
import type { Manifest } from './manifest.js';
import { findTouching, spanOf } from './page-index.js';
import { ABSENT, pageOf, visitChanges, visitRanges } from './page-table.js';
import type { PageReader } from './pages.js';
import type { PageSpan } from './touches.js';

/** The bytes at an address, from one snapshot until the next entry. */
export interface HistoryEntry {
  /** The first snapshot that has them. */
  readonly number: number;
  readonly time: Date;
  /** Undefined when it is not mapped, or its content is not kept. */
  readonly bytes: Uint8Array | undefined;
  /**
   * The number of snapshots before the next entry in which a page of these bytes was written, but the bytes stayed the
   * same.
   */
  readonly writtenSame: number;
}

export interface HistoryOptions {
  /** Called for each damaged snapshot that is left out, ascending: its changes are not known. */
  readonly onDamaged?: ((number: number) => void) | undefined;
}

/** Of a page that is not kept: whether it reads as zeros or nothing is known of it. */
const ZEROS = 0;
const UNKNOWN = -1;

/** Some pages in one snapshot after the other. */
class PagesThroughTime {
  readonly #pages: PageSpan;
  readonly #references: number[];
  /** That which has the mappings as they are now. */
  #mapped: Manifest | undefined;

  constructor(pages: PageSpan) {
    this.#pages = pages;
    this.#references = new Array(pages[1] - pages[0]).fill(ABSENT);
  }

  /** Goes on to a snapshot that touches the pages: others leave them as they are. */
  apply(manifest: Manifest): void {
    const [from, to] = this.#pages;
    if (manifest.base === 0) this.#references.fill(ABSENT);
    try {
      visitChanges(manifest.sections.pages, (page, count, reference) => {
        const end = Math.min(to, page + count);
        for (let at = Math.max(from, page); at < end; at++)
          this.#references[at - from] = reference > 1 ? reference + at - page : reference;
        return page + count < to;
      });
    } catch (error) {
      throw new SnapshotError(
        'damaged',
        `Cannot read snapshot ${manifest.number}: ${(error as Error).message}`,
        { cause: error },
      );
    }
    if (manifest.hasMappings) this.#mapped = manifest;
  }

  /** The references of the pages, or `ZEROS` or `UNKNOWN`. */
  references(): number[] {
    return this.#references.map((reference, index) => {
      if (reference !== ABSENT) return reference;
      const address = (this.#pages[0] + index) * PAGE_SIZE;
      const stored = mappingAt(this.#mapped?.head.mappings ?? [], address);
      return stored !== undefined && readsAsZeros(stored) ? ZEROS : UNKNOWN;
    });
  }
}

/**
 * The manifests of the snapshots that touch some pages, and more where that is not known; before them, those that the first is told
 * by. Behind one that cannot be read, it goes on with the next one that tells all.
 */
function* touchingManifests(
  folder: string,
  numbers: readonly number[],
  pages: PageSpan,
  onDamaged: (number: number) => void,
): Generator<Manifest> {
  let span = 0;
  let touching: ReturnType<typeof findTouching>;
  let before: number | undefined;
  for (const number of numbers) {
    if (number === numbers[0]) {
      const chain = unlessLost(() => readChain(folder, number));
      yield* chain ?? [];
      before = chain && number;
    } else if (before !== number - 1) {
      // What lies between is lost: it tells all, or cannot be told.
      const manifest = unlessLost(() => readManifest(folder, number));
      before = manifest?.base === 0 ? number : undefined;
      if (before !== undefined) yield manifest!;
    } else {
      if (spanOf(number) !== span) {
        span = spanOf(number);
        touching = findTouching(folder, span, pages);
      }
      const isUntouched = touching !== undefined && number >= touching.from && !touching.has(number);
      const manifest = isUntouched ? undefined : unlessLost(() => readManifest(folder, number));
      if (manifest !== undefined) yield manifest;
      before = isUntouched || manifest !== undefined ? number : undefined;
    }
    // One that a writer drops meanwhile is no damage.
    if (before === undefined && existsSync(manifestFile(folder, number))) onDamaged(number);
  }
}

function unlessLost<Value>(work: () => Value): Value | undefined {
  try {
    return work();
  } catch (error) {
    if (isLost(error)) return undefined;
    throw error;
  }
}

export function readHistory(
  folder: string,
  numbers: readonly number[],
  pages: PageReader,
  address: number,
  lengthBytes: number,
  { onDamaged = () => undefined }: HistoryOptions = {},
): HistoryEntry[] {
  const entries: (HistoryEntry & { writtenSame: number })[] = [];
  const span: PageSpan = [pageOf(address), pageOf(address + lengthBytes - 1) + 1];
  const state = new PagesThroughTime(span);
  let references: number[] = [];
  for (const manifest of touchingManifests(folder, numbers, span, onDamaged)) {
    state.apply(manifest);
    if (manifest.number < numbers[0]!) continue;
    const now = state.references();
    const last = entries.at(-1);
    const isSame = last !== undefined && now.every((reference, index) => reference === references[index]);
    references = now;
    if (!isSame) {
      const bytes = readBytes(now, pages, address, lengthBytes);
      const isOther =
        last === undefined ||
        (bytes === undefined) !== (last.bytes === undefined) ||
        (bytes !== undefined && Buffer.compare(bytes, last.bytes!) !== 0);
      if (isOther) {
        const { number, timeMs } = manifest;
        entries.push({ number, time: new Date(timeMs), bytes, writtenSame: 0 });
        continue;
      }
    }
    if (isWritten(manifest.sections.written, span)) last!.writtenSame++;
  }
  return entries;
}

function isWritten(section: Uint8Array, [from, to]: PageSpan): boolean {
  let isFound = false;
  visitRanges(section, (page, count) => {
    isFound = page < to && page + count > from;
    return !isFound && page + count < to;
  });
  return isFound;
}

function readBytes(
  references: readonly number[],
  pages: PageReader,
  address: number,
  lengthBytes: number,
): Uint8Array | undefined {
  if (references.includes(UNKNOWN)) return undefined;
  const bytes = new Uint8Array(references.length * PAGE_SIZE);
  references.forEach((reference, index) => {
    bytes.set(pages.read(reference), index * PAGE_SIZE);
  });
  const from = address % PAGE_SIZE;
  return bytes.slice(from, from + lengthBytes);
}
