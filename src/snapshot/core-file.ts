/// <reference lib="esnext.disposable" preserve="true" />
/** Writes a snapshot as an ELF core file, by the same sink that `dumpCore` has: as if it had been dumped at that moment. */
import { dirname } from 'node:path';
import { PAGE_SIZE } from '../abi/index.js';
import {
  CoreFile,
  coreArchitectureOf,
  ElfSink,
  isPrivateFile,
  isShared,
  type PageCopier,
  type ProcessState,
  reservation,
  type StateMapping,
  type Stored,
} from '../core/internal.js';
import { bufferAddress } from '../live/internal.js';
import type { Point } from './log.js';
import type { StoredMapping } from './manifest.js';
import { pageOf, ZERO } from './page-table.js';
import type { PageReader } from './pages.js';
import { BatchBlocks, readAhead } from './read-ahead.js';
import type { StoreMachine } from './store-file.js';
import { explainOutput } from './write.js';

/** Written at once: 4 MiB. */
const PIECE_PAGES = 1024;
const BUFFERS = 3;

/** The sink asks for nothing: it was given all. */
const NOTHING: PageCopier = {
  async copy() {},
  async copyFile() {},
  async drain() {},
};

/** The runs of a mapping's pages that have content. */
function visitRuns(
  { table }: Point,
  { mapping, holds }: StoredMapping,
  visit: (start: number, end: number, reference: number) => void,
): void {
  if (holds !== 'pages' && holds !== 'parts') return;
  table.runs(pageOf(mapping.start), pageOf(mapping.end), (page, count, reference) =>
    visit(page * PAGE_SIZE, (page + count) * PAGE_SIZE, reference),
  );
}

/** Announces memory as a dump does that copies all of it at once. */
function announce(sink: ElfSink, point: Point): void {
  for (const stored of point.mappings) {
    const range = reservation(stored, {
      hasHeader: stored.holds === 'header',
      hasOwnPages: () => stored.holds === 'pages',
      isPlacedByPages: !isShared(stored) && !isPrivateFile(stored),
    });
    if (range !== undefined) sink.reserve(...range);
    visitRuns(point, stored, (start, end) => {
      if (stored.holds === 'parts') sink.reserve(start, end);
      else sink.expect(stored.mapping, start, end);
    });
  }
}

/** Begins at a page: only so can it be written to the disk past the page cache. */
function alignedBytes(lengthBytes: number): Uint8Array<ArrayBuffer> {
  const buffer = new ArrayBuffer(lengthBytes + PAGE_SIZE);
  const past = bufferAddress(buffer) % PAGE_SIZE;
  return new Uint8Array(buffer, past === 0 ? 0 : PAGE_SIZE - past, lengthBytes);
}

/** Pages that are written at once. */
interface Piece {
  /** Where they lie: start and end in turns. */
  readonly ranges: number[];
  readonly references: number[];
}

/** All pages with content, in pieces. */
function* piecesOf(point: Point): Generator<Piece, void, void> {
  const blocks = new BatchBlocks();
  let piece: Piece = { ranges: [], references: [] };
  for (const stored of point.mappings) {
    const runs: [start: number, end: number, reference: number][] = [];
    visitRuns(point, stored, (start, end, reference) => {
      // What is not written reads as zeros.
      if (reference !== ZERO) runs.push([start, end, reference]);
    });
    for (const [start, end, first] of runs) {
      for (let at = start; at < end; at += PAGE_SIZE) {
        const reference = first + (at - start) / PAGE_SIZE;
        if (piece.references.length === PIECE_PAGES || !blocks.take(reference)) {
          yield piece;
          piece = { ranges: [], references: [] };
          blocks.clear();
          blocks.take(reference);
        }
        const { ranges, references } = piece;
        if (ranges.at(-1) === at) ranges[ranges.length - 1] = at + PAGE_SIZE;
        else ranges.push(at, at + PAGE_SIZE);
        references.push(reference);
      }
    }
  }
  yield piece;
}

async function writePages(sink: ElfSink, point: Point, folder: string): Promise<void> {
  /** One is filled while the others are written. */
  const buffers = Array.from({ length: BUFFERS }, () => ({
    bytes: alignedBytes(PIECE_PAGES * PAGE_SIZE),
    writing: undefined as Promise<void> | undefined,
  }));
  try {
    await readAhead(folder, piecesOf(point), async ({ ranges, references }, page) => {
      const buffer = buffers.shift()!;
      buffers.push(buffer);
      await buffer.writing;
      references.forEach((reference, index) => {
        buffer.bytes.set(page(reference), index * PAGE_SIZE);
      });
      buffer.writing = sink.write(buffer.bytes, ranges);
      buffer.writing?.catch(() => undefined);
    });
  } finally {
    await Promise.allSettled(buffers.map(({ writing }) => writing));
  }
  for (const { writing } of buffers) await writing;
}

function readImage({ table }: Point, { mapping, imageBytes }: StoredMapping, pages: PageReader): Uint8Array {
  const image = new Uint8Array(Math.ceil(imageBytes! / PAGE_SIZE) * PAGE_SIZE);
  for (let at = 0; at < image.length; at += PAGE_SIZE)
    image.set(pages.read(table.get(pageOf(mapping.start + at))), at);
  return image.subarray(0, imageBytes);
}

function stateOf(point: Point, pages: PageReader): ProcessState {
  const { facts, threads } = point.manifest.head;
  const mappings = point.mappings.map(
    ({ imageBytes, ...rest }): StateMapping => ({
      ...rest,
      ...(imageBytes !== undefined && { image: readImage(point, { ...rest, imageBytes }, pages) }),
    }),
  );
  return {
    facts,
    threads,
    mappings,
    visitPages(mapping, visit) {
      visitRuns(point, mapping, (start, end) => visit(start, end, { in: 'sink' }));
    },
  };
}

/** Opens a file that something of a snapshot is written to; the caller disposes it. @throws SnapshotError 'space' */
export function openOutput(file: string): CoreFile {
  try {
    return new CoreFile(file, dirname(file));
  } catch (error) {
    throw explainOutput(error, file);
  }
}

/** @throws SnapshotError 'damaged', 'space' */
export async function writeCoreFile(
  point: Point,
  pages: PageReader,
  { architecture }: StoreMachine,
  file: string,
): Promise<Stored> {
  const arch = coreArchitectureOf(architecture)!;
  using core = openOutput(file);
  try {
    const sink = new ElfSink(core, arch, async () => {
      await core.publish();
      return core.storedBytes;
    });
    announce(sink, point);
    await writePages(sink, point, pages.folder);
    return await sink.finish(stateOf(point, pages), NOTHING);
  } catch (error) {
    throw explainOutput(error, file);
  } finally {
    await core.settle();
  }
}
