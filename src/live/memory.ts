/// <reference lib="esnext.disposable" preserve="true" />
/** Memory of this process's own, outside V8's heap: for probes, samples and tests. */
import { closeSync, ftruncateSync } from 'node:fs';
import { errnoNumber, mman, PagemapError } from '../abi/index.js';
import { hugePageSize, lastError, libc, pageSize } from './libc.js';

/**
 * Creates a memory file (memfd) of `lengthBytes` with no page populated, of hugetlb pages if `huge`; the caller
 * closes the descriptor.
 *
 * @throws PagemapError with the errno of memfd_create
 */
export function createMemoryFile(
  name: string,
  lengthBytes: number,
  options: { huge?: boolean } = {},
): number {
  const { syscall, numbers, address } = libc();
  const text = new TextEncoder().encode(`${name}\0`);
  const flags = mman.MFD_CLOEXEC | (options.huge ? mman.MFD_HUGETLB : 0);
  const where = address(text.buffer) + text.byteOffset;
  const fd = syscall(numbers.memfd_create, where, flags, 0, 0, 0, 0);
  // Used after the call, so that the collector cannot take it before.
  text.fill(0);
  if (fd < 0) throw lastError('create a memory file', 'memfd_create');
  try {
    ftruncateSync(fd, lengthBytes);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}

function disposed(action: string): PagemapError {
  return new PagemapError(action, {
    errno: errnoNumber('EBADF')!,
    syscall: 'check',
    hint: 'it was disposed',
  });
}

/**
 * Accesses bytes at any address without the risk of a signal. The kernel makes the access, on the same fault path as
 * the CPU, and answers EFAULT instead of SIGSEGV or SIGBUS.
 *
 * @example
 * ```ts
 * import { SafeAccess } from 'pagemap-scan/live';
 * using access = new SafeAccess();
 * console.assert(access.read(0) === undefined); // page 0 is never mapped
 * ```
 */
export class SafeAccess implements Disposable {
  readonly #fd: number;
  readonly #scratch = new Uint8Array(new ArrayBuffer(8));
  readonly #scratchAddress: number;
  #open = true;

  constructor() {
    this.#scratchAddress = libc().address(this.#scratch.buffer);
    this.#fd = createMemoryFile('pagemap-scan access', pageSize());
  }

  /** Writes one byte; false where that faults. */
  write(address: number, value = 0): boolean {
    this.#check();
    this.#scratch[0] = value;
    libc().pwrite(this.#fd, this.#scratchAddress, 1, 0);
    return libc().pread(this.#fd, address, 1, 0) === 1;
  }

  /** Reads one byte; undefined where that faults. */
  read(address: number): number | undefined {
    this.#check();
    if (libc().pwrite(this.#fd, address, 1, 0) !== 1) return undefined;
    libc().pread(this.#fd, this.#scratchAddress, 1, 0);
    return this.#scratch[0];
  }

  // The number of a closed descriptor may be that of somebody's file by now.
  #check(): void {
    if (!this.#open) throw disposed('access memory');
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#fd);
  }
}

const isPages = (bytes: number) => bytes > 0 && bytes % pageSize() === 0;

/** What to map; private anonymous memory, readable and writable, unless said otherwise. */
export interface MapOptions {
  /** Bytes, page-aligned (huge-page-aligned for hugetlb). */
  readonly lengthBytes: number;
  /** `PROT_*` of `mman`. */
  readonly prot?: number | undefined;
  readonly shared?: boolean | undefined;
  /** A file to map instead of anonymous memory. The descriptor may be closed afterwards. */
  readonly fd?: number | undefined;
  /** Offset in that file, bytes. */
  readonly offset?: number | undefined;
  /** hugetlb pages of `hugePageSize()`, from the system's pool. */
  readonly hugetlb?: boolean | undefined;
  /** The exact address; it replaces what is mapped there. */
  readonly address?: number | undefined;
  /** The address is a multiple of this, bytes: `hugePageSize()` for transparent huge pages. */
  readonly alignBytes?: number | undefined;
}

/**
 * A mapping of this process's own; disposing it unmaps it, after which touching it kills the process.
 *
 * @example
 * ```ts
 * import { mman } from 'pagemap-scan/abi';
 * import { type MappedMemory, mapMemory, pageSize } from 'pagemap-scan/live';
 * using memory: MappedMemory = mapMemory({ lengthBytes: 16 * pageSize() });
 * const bytes = new Uint8Array(memory.view());
 * bytes.fill(1);
 * memory.advise(mman.MADV_DONTNEED, 0, pageSize());
 * console.assert(bytes[0] === 0 && bytes[pageSize()] === 1);
 * ```
 */
export class MappedMemory implements Disposable {
  readonly address: number;
  readonly lengthBytes: number;
  #mapped = true;

  /** Use {@link mapMemory}. */
  constructor(address: number, lengthBytes: number) {
    this.address = address;
    this.lengthBytes = lengthBytes;
  }

  get end(): number {
    return this.address + this.lengthBytes;
  }

  /** mprotect(2) on a part of it, bytes from its start; on all of it by default. */
  protect(prot: number, offset = 0, lengthBytes = this.lengthBytes - offset): void {
    this.#check();
    if (libc().mprotect(this.address + offset, lengthBytes, prot) < 0) {
      throw lastError('change the protection of memory', 'mprotect');
    }
  }

  /** madvise(2) on a part of it, bytes from its start; on all of it by default. */
  advise(advice: number, offset = 0, lengthBytes = this.lengthBytes - offset): void {
    this.#check();
    if (libc().madvise(this.address + offset, lengthBytes, advice) < 0) {
      throw lastError(`give advice ${advice} on memory`, 'madvise');
    }
  }

  /**
   * The memory as an ArrayBuffer, without a copy. Valid until this is disposed, or the range is unmapped or made
   * inaccessible: touching it after that kills the process.
   */
  view(): ArrayBuffer {
    this.#check();
    return libc().view(this.address, this.lengthBytes);
  }

  // What lies at the address after an unmapping is somebody else's.
  #check(): void {
    if (!this.#mapped) throw disposed('use this mapping');
  }

  [Symbol.dispose](): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    libc().munmap(this.address, this.lengthBytes);
  }
}

/**
 * Maps memory.
 *
 * @throws PagemapError EINVAL for a length or alignment that is none, else the errno of mmap: ENOMEM when there is no room or no free huge page
 * @example
 * ```ts
 * import { mapMemory, pageSize } from 'pagemap-scan/live';
 * using memory = mapMemory({ lengthBytes: 1 << 20 });
 * console.assert(memory.address % pageSize() === 0);
 * ```
 */
export function mapMemory(options: MapOptions): MappedMemory {
  const { lengthBytes, fd = -1, offset = 0, alignBytes = pageSize() } = options;
  if (!isPages(lengthBytes) || !isPages(alignBytes) || Math.log2(alignBytes) % 1 !== 0) {
    throw new PagemapError(`map ${lengthBytes} bytes`, {
      errno: errnoNumber('EINVAL')!,
      syscall: 'check',
      hint: `the length must be a multiple of ${pageSize()} bytes, the alignment a power of two from there`,
    });
  }
  const { mmap, munmap } = libc();
  const prot = options.prot ?? mman.PROT_READ | mman.PROT_WRITE;
  let flags = options.shared ? mman.MAP_SHARED : mman.MAP_PRIVATE;
  if (fd < 0) flags |= mman.MAP_ANONYMOUS;
  if (options.hugetlb) flags |= mman.MAP_HUGETLB | (Math.log2(hugePageSize()) << mman.MAP_HUGE_SHIFT);

  let address = options.address ?? 0;
  if (address !== 0) {
    flags |= mman.MAP_FIXED;
  } else if (alignBytes > pageSize()) {
    // Find room for the worst case, keep the aligned part, and map over it.
    const room = lengthBytes + alignBytes;
    const reserved = mmap(0, room, mman.PROT_NONE, mman.MAP_PRIVATE | mman.MAP_ANONYMOUS, -1, 0);
    if (reserved < 0) throw lastError(`reserve ${room} bytes`, 'mmap');
    address = Math.ceil(reserved / alignBytes) * alignBytes;
    if (address > reserved) munmap(reserved, address - reserved);
    const tail = reserved + room - (address + lengthBytes);
    if (tail > 0) munmap(address + lengthBytes, tail);
    flags |= mman.MAP_FIXED;
  }

  const mapped = mmap(address, lengthBytes, prot, flags, fd, offset);
  if (mapped < 0) {
    const noMemory = libc().errno() === errnoNumber('ENOMEM');
    const error = lastError(`map ${lengthBytes} bytes`, 'mmap', {
      hint: noMemory && options.hugetlb ? 'no free huge pages; raise /proc/sys/vm/nr_hugepages' : undefined,
    });
    if (address !== 0 && options.address === undefined) munmap(address, lengthBytes);
    throw error;
  }
  return new MappedMemory(mapped, lengthBytes);
}

/**
 * Address of a buffer's memory, bytes. It is valid until the buffer is detached: backing stores do not move.
 *
 * @throws PagemapError ENOSYS where this is no Linux or koffi is missing
 * @example
 * ```ts
 * import { bufferAddress, SafeAccess } from 'pagemap-scan/live';
 * const bytes = new Uint8Array(8192);
 * bytes[5000] = 7;
 * using access = new SafeAccess();
 * console.assert(access.read(bufferAddress(bytes.buffer) + 5000) === 7);
 * ```
 */
export function bufferAddress(buffer: ArrayBuffer | SharedArrayBuffer): number {
  return libc().address(buffer);
}
