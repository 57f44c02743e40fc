/** When bytes changed, and from what to what: a watchpoint in the past. */
import { PAGE_SIZE } from '../abi/index.js';
import { mappingAt, readsAsZeros } from './content.js';
import type { Replay } from './log.js';
import { ABSENT, decodeRanges, pageOf } from './page-table.js';
import type { PageReader } from './pages.js';

/** The bytes at an address, from one snapshot on. */
export interface HistoryEntry {
  /** The first snapshot that has them. */
  readonly number: number;
  readonly time: Date;
  /** Undefined when it is not mapped, or its content is not kept. */
  readonly bytes: Uint8Array | undefined;
  /** Snapshots before the next entry in which a page of them was written, and they stayed as they were. */
  readonly writtenSame: number;
}

export function readHistory(
  replay: Replay,
  numbers: readonly number[],
  pages: PageReader,
  address: number,
  lengthBytes: number,
): HistoryEntry[] {
  const entries: (HistoryEntry & { writtenSame: number })[] = [];
  const first = pageOf(address);
  const end = pageOf(address + lengthBytes - 1) + 1;
  let references: number[] = [];
  for (const number of numbers) {
    const { table, mappings, manifest } = replay.to(number);
    const now: number[] = [];
    for (let page = first; page < end; page++) {
      const reference = table.get(page);
      if (reference !== ABSENT) now.push(reference);
      else {
        const stored = mappingAt(mappings, page * PAGE_SIZE);
        now.push(stored !== undefined && readsAsZeros(stored) ? 0 : -1);
      }
    }
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
        entries.push({ number, time: new Date(manifest.timeMs), bytes, writtenSame: 0 });
        continue;
      }
    }
    if (isWritten(manifest.sections.written, first, end)) last!.writtenSame++;
  }
  return entries;
}

function isWritten(section: Uint8Array, first: number, end: number): boolean {
  return decodeRanges(section).some(([page, count]) => page < end && page + count > first);
}

function readBytes(
  references: readonly number[],
  pages: PageReader,
  address: number,
  lengthBytes: number,
): Uint8Array | undefined {
  if (references.includes(-1)) return undefined;
  const bytes = new Uint8Array(references.length * PAGE_SIZE);
  references.forEach((reference, index) => {
    bytes.set(pages.read(reference), index * PAGE_SIZE);
  });
  const from = address % PAGE_SIZE;
  return bytes.slice(from, from + lengthBytes);
}
