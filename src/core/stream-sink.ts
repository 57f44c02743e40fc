/**
 * Keeps the state of a process as an ELF core file that is written once, from its beginning to its end: to a pipe, or through
 * compression. All offsets are known beforehand, since the process stands still meanwhile.
 *
 *     ELF header | program headers | notes | memory in the order of addresses | zeros that all empty parts show
 */
import { PassThrough, type Readable } from 'node:stream';
import { PAGE_SIZE } from '../abi/index.js';
import {
  EHDR_BYTES,
  encodeHeader,
  encodeProgramHeaders,
  encodeSectionHeader,
  MOST_PLAIN_HEADERS,
  PHDR_BYTES,
  type ProgramHeader,
  SHDR_BYTES,
} from '../elf/index.js';
import type { CoreArchitecture } from './architecture.js';
import { Layout } from './layout.js';
import { encodeNotes } from './notes.js';
import { addZeros, makeSegments, noteHeader, pageAligned } from './segments.js';
import type { PageCopier, StateSink, Stored } from './sink.js';
import type { PageSource, ProcessState } from './state.js';

/** Bytes that are copied at a time. The stream holds them longer than the caller's buffer may be kept. */
const CHUNK_BYTES = 1 << 20;
/** Gaps up to this length, in bytes, are sent as zeros, for fewer segments. Longer ones, too, when there are too many. */
const LEAST_GAP_BYTES = 16 * PAGE_SIZE;
const MOST_RUNS = 32_768;
/** All empty parts show the same zeros, which have to be sent. Many short segments need fewer of them. */
const LEAST_ZERO_BYTES = 1 << 20;
const MOST_ZERO_SEGMENTS = 16_384;

/** A run of pages to send. */
interface Piece {
  readonly start: number;
  readonly end: number;
  readonly source: PageSource;
}

/** Joins pieces with no more than `gapBytes` between them. Returns start and end in turns. */
export function joinNear(pieces: readonly Omit<Piece, 'source'>[], gapBytes: number): number[] {
  const runs: number[] = [];
  for (const { start, end } of pieces) {
    if (runs.length > 0 && start - runs[runs.length - 1]! <= gapBytes) runs[runs.length - 1] = end;
    else runs.push(start, end);
  }
  return runs;
}

/** Joins the runs of each mapping until they are few enough to have a segment each. */
function chooseRuns(byMapping: readonly (readonly Piece[])[]): number[] {
  for (let gapBytes = LEAST_GAP_BYTES; ; gapBytes *= 4) {
    const runs = byMapping.flatMap((pieces) => joinNear(pieces, gapBytes));
    // Mappings alone may be more: then each has one.
    if (runs.length <= 2 * MOST_RUNS || runs.length <= 2 * byMapping.length) return runs;
  }
}

export class StreamSink implements StateSink {
  readonly isSequential = true;
  readonly freeBytes = Number.POSITIVE_INFINITY;
  readonly place: string;
  readonly #arch: CoreArchitecture;
  readonly #send: (source: Readable) => Promise<number>;
  readonly #stream = new PassThrough({ highWaterMark: CHUNK_BYTES });
  #layout = new Layout(0);
  /** Bytes that were sent. */
  #sent = 0;
  /** Rejects when the receiver fails. Some writes would never end then, while the process stands still. */
  #broken: Promise<never> = new Promise(() => undefined);

  /** @param send sends what it is given, and says how many bytes came out */
  constructor(arch: CoreArchitecture, send: (source: Readable) => Promise<number>, place: string) {
    this.#arch = arch;
    this.#send = send;
    this.place = place;
  }

  reserve(): void {
    // All is known in the end.
  }

  expect(): void {
    // Likewise.
  }

  discard(): void {
    // It was given nothing.
  }

  write(bytes: Uint8Array<ArrayBuffer>, ranges: readonly number[]): Promise<void> {
    const sending: Promise<void>[] = [];
    let from = 0;
    for (let index = 0; index < ranges.length; index += 2) {
      this.#layout.parts(ranges[index]!, ranges[index + 1]!, (start, end, offset) => {
        sending.push(this.#sendAt(offset, bytes.subarray(from, from + (end - start))));
        from += end - start;
      });
    }
    return Promise.race([this.#broken, Promise.all(sending).then(() => undefined)]);
  }

  /** Sends zeros up to `offset`, then the bytes. Calls are served in their order. */
  async #sendAt(offset: number, bytes: Uint8Array): Promise<void> {
    const gap = offset - this.#sent;
    if (gap < 0) throw new Error(`Cannot send byte ${offset}: ${this.#sent} were sent before`);
    this.#sent = offset + bytes.length;
    const sending = [this.#sendZeros(gap)];
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES)
      sending.push(this.#push(bytes.slice(at, at + CHUNK_BYTES)));
    await Promise.all(sending);
  }

  async #sendZeros(bytes: number): Promise<void> {
    const zeros = new Uint8Array(Math.min(bytes, CHUNK_BYTES));
    const sending: Promise<void>[] = [];
    // Of one and the same memory: it takes none however many they are.
    for (let done = 0; done < bytes; done += zeros.length)
      sending.push(this.#push(zeros.subarray(0, Math.min(zeros.length, bytes - done))));
    await Promise.all(sending);
  }

  #push(chunk: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.write(chunk, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  }

  async finish(state: ProcessState, pages: PageCopier): Promise<Stored> {
    const byMapping = state.mappings.map((mapping) => {
      const pieces: Piece[] = [];
      state.visitPages(mapping, (start, end, source) => pieces.push({ start, end, source }));
      return pieces;
    });
    const { head, zeroBytes } = this.#layOut(state, byMapping);
    const sending = this.#send(this.#stream);
    this.#broken = sending.then(() => new Promise<never>(() => undefined));
    this.#broken.catch(() => undefined);
    // Told by `sending`, too.
    this.#stream.on('error', () => undefined);
    try {
      await Promise.race([this.#broken, this.#sendAt(0, head)]);
      await this.#sendMemory(state, byMapping, pages);
      await Promise.race([this.#broken, this.#sendZeros(this.#layout.end - this.#sent + zeroBytes)]);
    } catch (error) {
      this.#stream.destroy(error as Error);
      // What went wrong where it was sent to comes first.
      throw await sending.then(
        () => error,
        (reason) => reason,
      );
    }
    this.#stream.end();
    return { bytes: this.#layout.end + zeroBytes, storedBytes: await sending };
  }

  /** Gives everything its place. Returns all that comes before memory. */
  #layOut(
    state: ProcessState,
    byMapping: readonly (readonly Piece[])[],
  ): { head: Uint8Array; zeroBytes: number } {
    const notes = encodeNotes(this.#arch, state);
    const notesBytes = notes.reduce((sum, { length }) => sum + length, 0);
    const runs = chooseRuns(byMapping);
    // How many headers there are does not depend on where memory begins.
    const count = this.#place(state, runs, 0).headers.length + 1;
    const isMany = count > MOST_PLAIN_HEADERS;
    const notesStart = EHDR_BYTES + count * PHDR_BYTES + (isMany ? SHDR_BYTES : 0);
    const first = pageAligned(notesStart + notesBytes);
    const { headers, zeroBytes } = this.#place(state, runs, first);
    const sectionOffset = isMany ? EHDR_BYTES + count * PHDR_BYTES : 0;
    const parts = [
      encodeHeader(this.#arch.elfMachine, count, EHDR_BYTES, sectionOffset),
      encodeProgramHeaders([noteHeader(notesStart, notesBytes), ...headers]),
      ...(isMany ? [encodeSectionHeader(count)] : []),
      ...notes,
    ];
    return { head: Buffer.concat(parts), zeroBytes };
  }

  #place(
    state: ProcessState,
    runs: readonly number[],
    first: number,
  ): { headers: ProgramHeader[]; zeroBytes: number } {
    const layout = new Layout(first);
    this.#layout = layout;
    let index = 0;
    for (const { mapping, image } of state.mappings) {
      for (; index < runs.length && runs[index]! < mapping.end; index += 2)
        layout.place(runs[index]!, runs[index + 1]!);
      if (image !== undefined) layout.place(mapping.start, mapping.start + image.length);
    }
    const put = (start: number): number => {
      let place = -1;
      layout.parts(start, start + 1, (_, __, offset) => {
        place = offset;
      });
      return place;
    };
    const { headers, zeros } = makeSegments(layout, first, state, put);
    const zeroBytes = addZeros(headers, zeros, layout.end, LEAST_ZERO_BYTES, MOST_ZERO_SEGMENTS);
    return { headers, zeroBytes };
  }

  async #sendMemory(
    state: ProcessState,
    byMapping: readonly (readonly Piece[])[],
    pages: PageCopier,
  ): Promise<void> {
    let ranges: number[] = [];
    const flush = async () => {
      const before = ranges;
      ranges = [];
      if (before.length > 0) await pages.copy(before);
    };
    for (const [index, { mapping, image }] of state.mappings.entries()) {
      if (image !== undefined) {
        await flush();
        await this.write(new Uint8Array(image), [mapping.start, mapping.start + image.length]);
      }
      for (const { start, end, source } of byMapping[index]!) {
        if (source.in === 'process') {
          ranges.push(start, end);
          continue;
        }
        await flush();
        if (source.in === 'file') await pages.copyFile(source.fd, start, end, source.offset);
        if (source.in === 'memory')
          await this.write(source.bytes.subarray(source.at, source.at + (end - start)), [start, end]);
      }
    }
    await flush();
    await pages.drain();
  }
}
