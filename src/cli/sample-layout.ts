/** The memory of the demo's sample process: one mapping of each kind, and three that are written as it runs. */
import { HUGE_PAGE_SIZE, mman, PAGE_SIZE } from '../abi/index.js';

const MIB = 2 ** 20;

/** A mapping of the sample, with what it shows. */
export interface SamplePart {
  readonly start: number;
  readonly end: number;
  readonly perms: string;
  readonly name: string;
}

/** Memory to build it in: a process's own, or simulated. Addresses and lengths in bytes. */
export interface SampleMemory {
  map(options: { lengthBytes: number; kind: 'private' | 'shared' | 'file'; alignBytes?: number }): number;
  write(address: number): void;
  read(address: number): void;
  /** @throws where the advice is not known */
  advise(address: number, lengthBytes: number, advice: number): void;
  /** Whether pages can be swapped out. */
  readonly swap: boolean;
}

export interface Sample {
  readonly parts: readonly SamplePart[];
  /** What could not be shown here, and why. */
  readonly missing: readonly string[];
  /** The parts that `SampleWriters` writes: a counter, a log, a table. */
  readonly written: readonly SamplePart[];
}

export function buildSample(memory: SampleMemory): Sample {
  const parts: SamplePart[] = [];
  const missing: string[] = [];

  const map = (
    name: string,
    lengthBytes: number,
    kind: 'private' | 'shared' | 'file' = 'private',
    alignBytes = PAGE_SIZE,
  ): SamplePart => {
    const start = memory.map({ lengthBytes, kind, alignBytes });
    const perms = kind === 'file' ? 'r--p' : kind === 'shared' ? 'rw-s' : 'rw-p';
    const part = { start, end: start + lengthBytes, perms, name };
    parts.push(part);
    return part;
  };
  const each = (part: SamplePart, fromBytes: number, toBytes: number, access: (address: number) => void) => {
    for (let at = part.start + fromBytes; at < part.start + toBytes; at += PAGE_SIZE) access(at);
  };
  const write = (part: SamplePart, fromBytes: number, toBytes: number) =>
    each(part, fromBytes, toBytes, (at) => memory.write(at));

  const counter = map('a counter', 64 * 1024);
  const log = map('a log, front to back', 16 * MIB);
  const table = map('a table, at random', 16 * MIB);
  for (const part of [counter, log, table]) write(part, 0, part.end - part.start);

  each(map('only read', 4 * MIB), 0, 4 * MIB, (at) => memory.read(at));
  each(map("a file (node's program)", 4 * MIB, 'file'), 0, 3 * MIB, (at) => memory.read(at));
  write(map('shared, half written', 4 * MIB, 'shared'), 0, 2 * MIB);

  const huge = map('huge pages', 8 * MIB, 'private', HUGE_PAGE_SIZE);
  try {
    memory.advise(huge.start, 8 * MIB, mman.MADV_HUGEPAGE);
    write(huge, 0, 6 * MIB);
  } catch {
    missing.push('transparent huge pages: this kernel is built without them');
  }

  const guarded = map('a stack with guards', MIB);
  write(guarded, MIB / 2, MIB);
  try {
    memory.advise(guarded.start, 16 * PAGE_SIZE, mman.MADV_GUARD_INSTALL);
  } catch {
    missing.push('guard pages: they need Linux 6.13');
  }

  if (memory.swap) {
    const cold = map('swapped out', 4 * MIB);
    write(cold, 0, 4 * MIB);
    memory.advise(cold.start, 3 * MIB, mman.MADV_PAGEOUT);
  } else {
    missing.push('swapped pages: this machine has no swap space');
  }
  map('reserved, never touched', 64 * MIB);
  return { parts: parts.sort((a, b) => a.start - b.start), missing, written: [counter, log, table] };
}

/** What the sample does all day. */
export class SampleWriters {
  readonly #parts: readonly SamplePart[];
  readonly #write: (address: number) => void;
  #tick = 0;
  #seed = 1;

  constructor(parts: readonly SamplePart[], write: (address: number) => void) {
    this.#parts = parts;
    this.#write = write;
  }

  /** Some writes: one to the counter, 24 pages of the log, 12 of the table, those at its beginning most often. */
  step(): void {
    const [counter, log, table] = this.#parts as [SamplePart, SamplePart, SamplePart];
    this.#tick++;
    this.#write(counter.start);
    const logPages = (log.end - log.start) / PAGE_SIZE;
    for (let page = 0; page < 24; page++) {
      this.#write(log.start + ((this.#tick * 24 + page) % logPages) * PAGE_SIZE);
    }
    const tablePages = (table.end - table.start) / PAGE_SIZE;
    for (let write = 0; write < 12; write++) {
      this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
      const share = (this.#seed / 2 ** 32) ** 4;
      this.#write(table.start + Math.floor(share * tablePages) * PAGE_SIZE);
    }
  }
}
