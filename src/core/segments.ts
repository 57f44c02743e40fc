/** The end of the work on a core file: headers and notes. */

import { PAGE_SIZE } from '../abi/index.js';
import {
  EHDR_BYTES,
  encodeHeader,
  encodeProgramHeaders,
  encodeSectionHeader,
  MOST_PLAIN_HEADERS,
  PF_R,
  PF_W,
  PF_X,
  PHDR_BYTES,
  type ProgramHeader,
  PT_LOAD,
  PT_NOTE,
} from '../elf/index.js';
import type { CoreArchitecture } from './architecture.js';
import type { CoreFile } from './file.js';
import type { Layout } from './layout.js';
import { encodeNotes } from './notes.js';
import { RunningOffset } from './order.js';
import type { ProcessState } from './state.js';

/** Room at the file's beginning for headers of some 18,000 segments: a hole, as far as it is not used. */
export const FIRST_DATA_OFFSET = 1 << 20;

/** Parts of huge mappings that hold nothing all show one and the same hole of the file, of this size or more, bytes. */
const LEAST_ZERO_BYTES = 2 ** 30;
/** So that there are not more segments than this because of it. */
const MOST_ZERO_SEGMENTS = 4096;

function flagsOf(perms: string): number {
  return (perms[0] === 'r' ? PF_R : 0) | (perms[1] === 'w' ? PF_W : 0) | (perms[2] === 'x' ? PF_X : 0);
}

export const pageAligned = (bytes: number) => Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;

/** A part of memory without content; `at` counts the segments before it. */
export interface ZeroPart {
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly at: number;
}

/** Writes behind what is there, in whole pages. */
class Tail {
  readonly #file: CoreFile;
  /** Bytes. */
  end: number;

  constructor(file: CoreFile, end: number) {
    this.#file = file;
    this.end = end;
  }

  append(bytes: Uint8Array): number {
    const offset = this.end;
    this.#file.writeSync(bytes, 0, bytes.length, offset);
    this.end = pageAligned(offset + bytes.length);
    return offset;
  }
}

/**
 * Segments of all mappings, and what of them has no content.
 *
 * @param firstOffset where memory begins in the file, bytes
 * @param put says where an image is
 */
export function makeSegments(
  layout: Layout,
  firstOffset: number,
  state: ProcessState,
  put: (start: number, image: Uint8Array) => number,
): { headers: ProgramHeader[]; zeros: ZeroPart[] } {
  const headers: ProgramHeader[] = [];
  const zeros: ZeroPart[] = [];
  // Debuggers take a segment at offset 0 for the file's own beginning, even an empty one.
  const running = new RunningOffset(firstOffset, layout.end);
  const load = (flags: number, start: number, memoryBytes: number, offset: number, fileBytes: number) => {
    headers.push({ type: PT_LOAD, flags, offset, address: start, fileBytes, memoryBytes, align: PAGE_SIZE });
    running.pass(offset, fileBytes);
  };

  for (const described of state.mappings) {
    const { mapping, holds, image } = described;
    const { start, end } = mapping;
    const flags = flagsOf(mapping.perms);
    if (holds === 'pages') {
      // One mapping of several of the same memory shows what the file has of another one.
      const delta = (described.sameAs ?? start) - start;
      layout.parts(start + delta, end + delta, (from, to, offset) => {
        if (offset >= 0) load(flags, from - delta, to - from, offset, to - from);
        else zeros.push({ start: from - delta, end: to - delta, flags, at: headers.length });
      });
    } else if (holds === 'zeros') {
      zeros.push({ start, end, flags, at: headers.length });
    } else if (holds === 'parts') {
      let at = start;
      state.visitPages(described, (from, to) => {
        if (from > at) load(flags, at, from - at, running.at, 0);
        layout.parts(from, to, (first, last, offset) =>
          load(flags, first, last - first, offset, last - first),
        );
        at = to;
      });
      if (at < end) load(flags, at, end - at, running.at, 0);
    } else if (image === undefined) {
      load(flags, start, end - start, running.at, 0);
    } else {
      load(flags, start, end - start, put(start, image), image.length);
    }
  }
  return { headers, zeros };
}

/**
 * Adds the segments of what has no content, all of which show one hole of the file. Gives its length, bytes.
 *
 * @param leastBytes of the hole, and `mostSegments` that it may make for: the more it is cut, the shorter it is
 */
export function addZeros(
  headers: ProgramHeader[],
  zeros: readonly ZeroPart[],
  holeOffset: number,
  leastBytes = LEAST_ZERO_BYTES,
  mostSegments = MOST_ZERO_SEGMENTS,
): number {
  const all = zeros.reduce((sum, { start, end }) => sum + (end - start), 0);
  const size = pageAligned(Math.max(leastBytes, all / mostSegments));
  let used = 0;
  // One list anew: there may be tens of thousands, and to put each between the others moves those behind it.
  const others = headers.splice(0);
  let next = 0;
  for (const { start, end, flags, at } of zeros) {
    while (next < at) headers.push(others[next++]!);
    for (let address = start; address < end; address += size) {
      const bytes = Math.min(size, end - address);
      used = Math.max(used, bytes);
      const lengths = { fileBytes: bytes, memoryBytes: bytes };
      headers.push({ type: PT_LOAD, flags, offset: holeOffset, address, ...lengths, align: PAGE_SIZE });
    }
  }
  while (next < others.length) headers.push(others[next++]!);
  return used;
}

export function noteHeader(offset: number, fileBytes: number): ProgramHeader {
  return { type: PT_NOTE, flags: 0, offset, address: 0, fileBytes, memoryBytes: 0, align: 4 };
}

/** Writes all that is not memory. Returns the file's length, bytes. */
export function writeCore(
  file: CoreFile,
  layout: Layout,
  arch: CoreArchitecture,
  state: ProcessState,
): number {
  const tail = new Tail(file, layout.end);
  /** In its place, or behind all if it has none. */
  const put = (start: number, bytes: Uint8Array): number => {
    let place = -1;
    layout.parts(start, start + bytes.length, (from, to, offset) => {
      if (from === start && to === start + bytes.length) place = offset;
    });
    if (place < 0) return tail.append(bytes);
    file.writeSync(bytes, 0, bytes.length, place);
    return place;
  };
  const { headers, zeros } = makeSegments(layout, FIRST_DATA_OFFSET, state, put);
  tail.end += addZeros(headers, zeros, tail.end);

  const notesStart = tail.end;
  let notesBytes = 0;
  for (const note of encodeNotes(arch, state)) {
    file.writeSync(note, 0, note.length, notesStart + notesBytes);
    notesBytes += note.length;
  }
  tail.end = pageAligned(notesStart + notesBytes);
  const table = encodeProgramHeaders([noteHeader(notesStart, notesBytes), ...headers]);
  const count = table.length / PHDR_BYTES;
  let tableOffset = EHDR_BYTES;
  if (EHDR_BYTES + table.length <= FIRST_DATA_OFFSET) file.writeSync(table, 0, table.length, tableOffset);
  else tableOffset = tail.append(table);
  const sectionOffset = count > MOST_PLAIN_HEADERS ? tail.append(encodeSectionHeader(count)) : 0;
  const header = encodeHeader(arch.elfMachine, count, tableOffset, sectionOffset);
  file.writeSync(header, 0, header.length, 0);
  file.setLength(tail.end);
  return tail.end;
}
