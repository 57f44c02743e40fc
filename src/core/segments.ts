/** The end of the work: headers and notes. */

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
import type { ProcessHandle } from '../live/index.js';
import type { CoreArchitecture } from './architecture.js';
import type { CoreFile } from './file.js';
import type { Layout } from './layout.js';
import { encodeNotes, type ProcessFacts, type ThreadState } from './notes.js';
import { RunningOffset } from './order.js';
import type { Planned } from './plan.js';

/** Room at the file's beginning for headers of some 18,000 segments: a hole, as far as it is not used. */
export const FIRST_DATA_OFFSET = 1 << 20;

/** Parts of huge mappings that hold nothing all show one and the same hole of the file, of this size or more, bytes. */
const LEAST_ZERO_BYTES = 2 ** 30;
/** So that there are not more segments than this because of it. */
const MOST_ZERO_SEGMENTS = 4096;

export interface CoreParts {
  readonly file: CoreFile;
  readonly layout: Layout;
  readonly arch: CoreArchitecture;
  readonly handle: ProcessHandle;
  readonly facts: ProcessFacts;
  readonly threads: readonly ThreadState[];
  readonly plan: readonly Planned[];
  readonly special: ReadonlyMap<number, Uint8Array>;
  readonly headers: ReadonlyMap<number, Uint8Array | undefined>;
  /** Whether the process has pages of its own in a mapping. */
  written(planned: Planned): boolean;
}

function flagsOf(perms: string): number {
  return (perms[0] === 'r' ? PF_R : 0) | (perms[1] === 'w' ? PF_W : 0) | (perms[2] === 'x' ? PF_X : 0);
}

const pageAligned = (bytes: number) => Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;

/** Writes all that is not memory. Returns the file's length, bytes. */
export function writeCore(parts: CoreParts): number {
  const { file, layout, plan } = parts;
  let end = layout.end;
  const append = (bytes: Uint8Array): number => {
    const offset = end;
    file.writeSync(bytes, 0, bytes.length, offset);
    end = pageAligned(end + bytes.length);
    return offset;
  };

  const headers: ProgramHeader[] = [];
  // Debuggers take a segment at offset 0 for the file's own beginning, even an empty one.
  const running = new RunningOffset(FIRST_DATA_OFFSET, layout.end);
  const load = (flags: number, start: number, memoryBytes: number, offset: number, fileBytes: number) => {
    headers.push({ type: PT_LOAD, flags, offset, address: start, fileBytes, memoryBytes, align: PAGE_SIZE });
    running.pass(offset, fileBytes);
  };
  /** In its place, or behind all if it has none. */
  const put = (start: number, bytes: Uint8Array): number => {
    let place = -1;
    layout.parts(start, start + bytes.length, (from, to, offset) => {
      if (from === start && to === start + bytes.length) place = offset;
    });
    if (place < 0) return append(bytes);
    file.writeSync(bytes, 0, bytes.length, place);
    return place;
  };

  let zeroBytes = 0;
  const zeros: { start: number; end: number; flags: number; at: number }[] = [];
  for (const planned of plan) {
    const { mapping, share } = planned;
    const { start, end: stop } = mapping;
    const flags = flagsOf(mapping.perms);
    const special = parts.special.get(start);
    if (special !== undefined) {
      load(flags, start, stop - start, put(start, special), special.length);
      continue;
    }
    const written = share !== 'none' && share !== 'header' && parts.written(planned);
    if (written || (share === 'all' && mapping.inode !== 0)) {
      layout.parts(start, stop, (from, to, offset) => {
        if (offset >= 0) {
          load(flags, from, to - from, offset, to - from);
          return;
        }
        zeros.push({ start: from, end: to, flags, at: headers.length });
        zeroBytes += to - from;
      });
      continue;
    }
    const header =
      share === 'header' || share === 'written-else-header' ? parts.headers.get(start) : undefined;
    if (header === undefined) load(flags, start, stop - start, running.at, 0);
    else load(flags, start, stop - start, put(start, header), header.length);
  }

  // One hole for all.
  const zeroStart = end;
  const size = pageAligned(Math.max(LEAST_ZERO_BYTES, zeroBytes / MOST_ZERO_SEGMENTS));
  let used = 0;
  for (const zero of zeros.reverse()) {
    const pieces: ProgramHeader[] = [];
    for (let at = zero.start; at < zero.end; at += size) {
      const bytes = Math.min(size, zero.end - at);
      used = Math.max(used, bytes);
      pieces.push({
        type: PT_LOAD,
        flags: zero.flags,
        offset: zeroStart,
        address: at,
        fileBytes: bytes,
        memoryBytes: bytes,
        align: PAGE_SIZE,
      });
    }
    headers.splice(zero.at, 0, ...pieces);
  }
  end += used;

  const notesStart = end;
  let notesBytes = 0;
  const mappings = plan.map(({ mapping }) => mapping);
  for (const note of encodeNotes(parts.handle, parts.arch, parts.facts, mappings, parts.threads)) {
    file.writeSync(note, 0, note.length, notesStart + notesBytes);
    notesBytes += note.length;
  }
  end = pageAligned(notesStart + notesBytes);
  const note = { type: PT_NOTE, flags: 0, offset: notesStart, address: 0, memoryBytes: 0, align: 4 };
  const table = encodeProgramHeaders([{ ...note, fileBytes: notesBytes }, ...headers]);
  const count = table.length / PHDR_BYTES;
  let tableOffset = EHDR_BYTES;
  if (EHDR_BYTES + table.length <= FIRST_DATA_OFFSET) file.writeSync(table, 0, table.length, tableOffset);
  else tableOffset = append(table);
  let sectionOffset = 0;
  if (count > MOST_PLAIN_HEADERS) sectionOffset = append(encodeSectionHeader(count));
  const header = encodeHeader(parts.arch.elfMachine, count, tableOffset, sectionOffset);
  file.writeSync(header, 0, header.length, 0);
  file.setLength(end);
  return end;
}
