/** Memory operations of scenarios, done to this very process. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { errnoName, mman, PAGE_SIZE, PagemapError, RegionBuffer } from '../abi/index.js';
import { createMemoryFile, IoctlPagemap, libc, ProcessHandle, Userfaultfd } from '../live/internal.js';
import { programArgument } from '../parts/index.js';
import { ADVICE, featureBits, hex, modeBits, protectionBits, RecordedErrno, scanAnswer } from './backend.js';
import type { AccessOp, Answer, Op, ScanOp, Scenario } from './format.js';

const EBADF = 9;
/** How many pages one call touches: the kernel's limit on vectors. */
const MAX_VECTORS = 1024;
/** No scan of an arena gives more regions, whatever length it claims for its vector. */
const OUTPUT_REGIONS = 65536;

/**
 * Touches memory by system calls, which answer EFAULT where the CPU would have got a signal. One call touches many
 * pages: each is a vector of one byte, and a fault ends the call before its vector.
 */
class PageToucher {
  /** Where written bytes come from. */
  readonly #source: number;
  /** Where read bytes go. */
  readonly #sink: number;
  readonly #vectors = new ArrayBuffer(MAX_VECTORS * 16);
  readonly #words = new Uint32Array(this.#vectors);
  readonly #address: number;

  constructor() {
    this.#sink = createMemoryFile('pagemap-scan read', PAGE_SIZE);
    this.#source = createMemoryFile('pagemap-scan written', PAGE_SIZE);
    // What is written must not be zero: pages of zeros are treated differently when a huge page is split.
    writeSync(this.#source, new Uint8Array(PAGE_SIZE).fill(1));
    this.#address = libc().address(this.#vectors);
  }

  touch(first: number, op: AccessOp): Answer {
    const { preadv, pwritev } = libc().numbers;
    const [number, fd] = op.op === 'write' ? [preadv, this.#source] : [pwritev, this.#sink];
    const touches = Math.ceil(op.pages / op.step);
    let ok = 0;
    let done = 0;
    while (done < touches) {
      const count = Math.min(MAX_VECTORS, touches - done);
      for (let index = 0; index < count; index++) {
        const address = first + (done + index) * op.step * PAGE_SIZE;
        this.#words[index * 4] = address;
        this.#words[index * 4 + 1] = Math.floor(address / 2 ** 32);
        this.#words[index * 4 + 2] = 1;
        this.#words[index * 4 + 3] = 0;
      }
      const touched = Math.max(0, libc().syscall(number, fd, this.#address, count, 0, 0, 0));
      ok += touched;
      done += touched;
      // The one after those that went through is the one that faulted.
      if (touched < count) done++;
    }
    return { ok, fault: touches - ok };
  }

  [Symbol.dispose](): void {
    closeSync(this.#source);
    closeSync(this.#sink);
  }
}

/** Nothing ever changes it: waiting on it lets time pass. */
const CLOCK = new Int32Array(new SharedArrayBuffer(4));

const toucher = new PageToucher();
const output = new RegionBuffer(OUTPUT_REGIONS);
const pagemap = new IoctlPagemap(new ProcessHandle(process.pid));

/** The pagemap of a process that has ended since it was opened. */
function endedPagemap(): IoctlPagemap {
  const child = spawn('/proc/self/exe', [programArgument('live/idle')], { stdio: 'ignore' });
  const gone = new IoctlPagemap(new ProcessHandle(child.pid!));
  child.kill('SIGKILL');
  // Node takes note of the end only when this function has returned: until then the process is a zombie.
  const isZombie = () => /^State:\s+Z/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8'));
  while (!isZombie()) Atomics.wait(CLOCK, 0, 0, 1);
  return gone;
}

function check(result: number, syscall: string): Answer {
  if (result < 0) throw new PagemapError('run an operation', { errno: libc().errno(), syscall });
  return { ret: 0 };
}

function clearRefs(value: number): void {
  const fd = openSync('/proc/self/clear_refs', 'w');
  try {
    writeSync(fd, String(value));
  } catch (error) {
    throw new PagemapError('write to clear_refs', {
      errno: -(error as NodeJS.ErrnoException).errno!,
      syscall: 'write',
    });
  } finally {
    closeSync(fd);
  }
}

/** A scenario's arena in this process's own memory; dispose it to unmap it. */
export class KernelMemory {
  readonly #arena: number;
  readonly #lengthBytes: number;
  readonly #files = new Map<string, number>();
  readonly #uffds = new Map<string, Userfaultfd>();
  readonly #errno = new RecordedErrno();

  constructor(scenario: Scenario) {
    this.#arena = scenario.arena;
    this.#lengthBytes = scenario.arenaPages * PAGE_SIZE;
  }

  /** Does one operation. */
  apply(op: Op): Answer {
    let answer: Answer;
    try {
      answer = this.#apply(op);
    } catch (error) {
      if (!(error instanceof PagemapError)) throw error;
      const walkEnd = error.walkEnd === undefined ? {} : { walk_end: hex(error.walkEnd) };
      answer = { errno: errnoName(error.errno), ...walkEnd };
    }
    return this.#errno.record(op, answer);
  }

  #apply(op: Op): Answer {
    const at = 'at' in op ? this.#arena + op.at * PAGE_SIZE : 0;
    const length = 'pages' in op ? op.pages * PAGE_SIZE : 0;
    const { munmap, mprotect, mremap, madvise } = libc();
    switch (op.op) {
      case 'file': {
        const fd = createMemoryFile(op.file, length);
        writeSync(fd, new Uint8Array(length).fill(1));
        this.#files.set(op.file, fd);
        return { ret: 0 };
      }
      case 'mmap':
        return this.#mmap(op, at, length);
      case 'munmap':
        return check(munmap(at, length), 'munmap');
      case 'mprotect':
        return check(mprotect(at, length, protectionBits(op.prot)), 'mprotect');
      case 'mremap': {
        const to = this.#arena + op.to * PAGE_SIZE;
        const flags = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED;
        return check(mremap(at, length, op.to_pages * PAGE_SIZE, flags, to) < 0 ? -1 : 0, 'mremap');
      }
      case 'madvise':
        return check(madvise(at, length, ADVICE[op.advice]), 'madvise');
      case 'read':
      case 'write':
        return toucher.touch(at, op);
      case 'uffd': {
        this.#uffds.get(op.uffd)?.[Symbol.dispose]();
        this.#uffds.set(op.uffd, Userfaultfd.open({ features: featureBits(op.features) }));
        return { ret: 0 };
      }
      case 'register':
        this.#uffd(op.uffd).register(at, length, modeBits(op.mode));
        return { ret: 0 };
      case 'unregister':
        this.#uffd(op.uffd).unregister(at, length);
        return { ret: 0 };
      case 'writeprotect':
        this.#uffd(op.uffd).writeProtect(at, length, op.wp);
        return { ret: 0 };
      case 'rwprotect':
        this.#uffd(op.uffd).rwProtect(at, length, op.rwp);
        return { ret: 0 };
      case 'close':
        this.#uffd(op.uffd)[Symbol.dispose]();
        return { ret: 0 };
      case 'clear_refs':
        clearRefs(op.value);
        return { ret: 0 };
      case 'scan':
        return this.#scan(op);
    }
  }

  #mmap(op: Extract<Op, { op: 'mmap' }>, at: number, length: number): Answer {
    let flags = mman.MAP_FIXED | (op.sharing === 'shared' ? mman.MAP_SHARED : mman.MAP_PRIVATE);
    if (op.type !== 'file') flags |= mman.MAP_ANONYMOUS;
    if (op.type === 'hugetlb') flags |= mman.MAP_HUGETLB;
    const fd = op.file === undefined ? -1 : (this.#files.get(op.file) ?? -1);
    const offset = (op.offset ?? 0) * PAGE_SIZE;
    return check(libc().mmap(at, length, protectionBits(op.prot), flags, fd, offset), 'mmap');
  }

  #uffd(name: string): Userfaultfd {
    const found = this.#uffds.get(name);
    if (found === undefined) {
      throw new PagemapError(`use userfaultfd ${name}`, { errno: EBADF, syscall: 'ioctl' });
    }
    return found;
  }

  #scan(op: ScanOp): Answer {
    using gone = op.gone === true ? endedPagemap() : undefined;
    return scanAnswer(gone ?? pagemap, op, op.vec ? output : null);
  }

  /** Leaves nothing behind: the arena is unmapped, descriptors are closed. */
  [Symbol.dispose](): void {
    for (const fault of this.#uffds.values()) fault[Symbol.dispose]();
    for (const fd of this.#files.values()) closeSync(fd);
    libc().munmap(this.#arena, this.#lengthBytes);
  }
}
