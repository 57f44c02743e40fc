/**
 * A process with one mapping of each kind, for `pmscan demo`. Run by fork(); reports its parts to its parent, then lives
 * until the parent lets go of the channel, however that comes about.
 */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { HUGE_PAGE_SIZE, mman, PAGE_SIZE } from '../abi/index.js';
import { type MapOptions, type MappedMemory, mapMemory, SafeAccess } from '../live/index.js';

const MIB = 2 ** 20;

/** A mapping of the sample process, with what it shows. */
export interface SamplePart {
  readonly start: number;
  readonly end: number;
  readonly perms: string;
  readonly name: string;
}

/** What the sample process tells its parent. */
export interface SampleMessage {
  readonly parts: readonly SamplePart[];
  /** What could not be shown here, and why. */
  readonly missing: readonly string[];
}

function build(access: SafeAccess): SampleMessage {
  const parts: SamplePart[] = [];
  const missing: string[] = [];

  const map = (name: string, options: MapOptions, perms = 'rw-p'): MappedMemory => {
    const memory = mapMemory(options);
    parts.push({ start: memory.address, end: memory.end, perms, name });
    return memory;
  };
  const write = (memory: MappedMemory, offset = 0, lengthBytes = memory.lengthBytes - offset) => {
    for (let at = offset; at < offset + lengthBytes; at += PAGE_SIZE) access.write(memory.address + at, 1);
  };

  write(map('anonymous memory, written', { lengthBytes: 8 * MIB }), 0, 6 * MIB);

  const zero = map('anonymous memory, only read', { lengthBytes: 4 * MIB });
  for (let at = 0; at < zero.lengthBytes; at += PAGE_SIZE) access.read(zero.address + at);

  const program = openSync(process.execPath, 'r');
  const file = map(
    "a file (node's program), read",
    { lengthBytes: 4 * MIB, fd: program, prot: mman.PROT_READ },
    'r--p',
  );
  closeSync(program);
  for (let at = 0; at < 3 * MIB; at += PAGE_SIZE) access.read(file.address + at);

  write(map('shared memory, half written', { lengthBytes: 4 * MIB, shared: true }, 'rw-s'), 0, 2 * MIB);

  const huge = map('transparent huge pages', { lengthBytes: 8 * MIB, alignBytes: HUGE_PAGE_SIZE });
  try {
    huge.advise(mman.MADV_HUGEPAGE);
    write(huge, 0, 6 * MIB);
  } catch {
    missing.push('transparent huge pages: this kernel is built without them');
  }

  const guarded = map('a stack with guard pages', { lengthBytes: MIB });
  write(guarded, MIB / 2);
  try {
    guarded.advise(mman.MADV_GUARD_INSTALL, 0, 16 * PAGE_SIZE);
  } catch {
    missing.push('guard pages: they need Linux 6.13');
  }

  // The first line of /proc/swaps is its heading.
  if (readFileSync('/proc/swaps', 'utf8').trim().split('\n').length > 1) {
    const cold = map('memory that was swapped out', { lengthBytes: 4 * MIB });
    write(cold);
    cold.advise(mman.MADV_PAGEOUT, 0, 3 * MIB);
  } else {
    missing.push('swapped pages: this machine has no swap space');
  }

  map('reserved, never touched', { lengthBytes: 64 * MIB });
  return { parts: parts.sort((a, b) => a.start - b.start), missing };
}

const access = new SafeAccess();
process.on('disconnect', () => process.exit(0));
// Ctrl-C goes to the whole group; the parent decides what it means.
process.on('SIGINT', () => {});
process.send?.(build(access));
