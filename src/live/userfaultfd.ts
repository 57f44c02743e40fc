/// <reference lib="esnext.disposable" preserve="true" />
import { closeSync, constants, openSync } from 'node:fs';
import { errnoNumber, loadU64, PagemapError, storeU64, type U64StructLayout, uffd } from '../abi/index.js';
import { lastError, libc } from './libc.js';
import { FILTER_ADVICE, isFiltered } from './permission.js';

/**
 * The features that write tracking needs: the kernel resolves faults by itself (WP_ASYNC), on pages of every kind,
 * populated or not. Linux 6.7.
 */
export const ASYNC_WP_FEATURES =
  uffd.UFFD_FEATURE_WP_ASYNC | uffd.UFFD_FEATURE_WP_UNPOPULATED | uffd.UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

/** The features that access tracking needs: the kernel resolves faults by itself. Linux 7.3. */
export const ASYNC_RWP_FEATURES = uffd.UFFD_FEATURE_RWP | uffd.UFFD_FEATURE_RWP_ASYNC;

const NO_RWP = 'this kernel has no read-write protection; Linux 7.3 brought it';

/** How a userfaultfd was opened: which of the three ways this user may use. */
export type UserfaultfdSource =
  | 'syscall'
  | 'syscall (user mode only)'
  | '/dev/userfaultfd'
  | 'another process';

function call(fd: number, request: number, buffer: ArrayBuffer): number {
  return libc().ioctl(fd, request, libc().address(buffer));
}

function struct(layout: U64StructLayout<string>, values: readonly number[]): [ArrayBuffer, Uint32Array] {
  const buffer = new ArrayBuffer(layout.sizeBytes);
  const words = new Uint32Array(buffer);
  values.forEach((value, index) => {
    storeU64(words, index * 2, value);
  });
  return [buffer, words];
}

function range(start: number, lengthBytes: number): string {
  return `0x${start.toString(16)}-0x${(start + lengthBytes).toString(16)}`;
}

function notPermitted(): string {
  const open = 'give access to /dev/userfaultfd';
  return isFiltered()
    ? `${FILTER_ADVICE('userfaultfd')}, or ${open}`
    : `run as root, give node CAP_SYS_PTRACE, set vm.unprivileged_userfaultfd to 1, or ${open}`;
}

function create(userModeOnly: boolean | undefined): { fd: number; source: UserfaultfdSource } {
  const { syscall, numbers, errno } = libc();
  // O_NONBLOCK, as everyone does: a blocking userfaultfd cannot be polled.
  const flags = constants.O_NONBLOCK | 0o2000000; /* O_CLOEXEC */
  let fd = -1;
  if (userModeOnly !== true) {
    fd = syscall(numbers.userfaultfd, flags, 0, 0, 0, 0, 0);
    if (fd >= 0) return { fd, source: 'syscall' };
    const refused = lastError('create a userfaultfd', 'userfaultfd', {
      hint: errno() === errnoNumber('ENOSYS') ? 'this kernel is built without it' : notPermitted,
    });
    if (refused.code !== 'EPERM') throw refused;
    try {
      const device = openSync('/dev/userfaultfd', constants.O_RDWR);
      fd = libc().ioctl(device, uffd.USERFAULTFD_IOC_NEW, flags);
      closeSync(device);
      if (fd >= 0) return { fd, source: '/dev/userfaultfd' };
    } catch {
      // No such device, or not for us: the restricted kind is left.
    }
    if (userModeOnly === false) throw refused;
  }
  fd = syscall(numbers.userfaultfd, flags | uffd.UFFD_USER_MODE_ONLY, 0, 0, 0, 0, 0);
  if (fd >= 0) return { fd, source: 'syscall (user mode only)' };
  throw lastError('create a userfaultfd', 'userfaultfd', { hint: notPermitted });
}

/**
 * A userfaultfd: ranges of this process's memory that are registered with it can be write-protected. Closing it ends
 * every registration and protection made with it.
 *
 * @example
 * ```ts
 * import { mapMemory, pageSize, Userfaultfd } from 'pagemap-scan/live';
 * using memory = mapMemory({ lengthBytes: pageSize() });
 * using faults = Userfaultfd.open();
 * faults.register(memory.address, memory.lengthBytes);
 * faults.writeProtect(memory.address, memory.lengthBytes);
 * ```
 */
export class Userfaultfd implements Disposable {
  readonly fd: number;
  readonly source: UserfaultfdSource;
  /** The features that the kernel offers, as a bit set (`UFFD_FEATURE_*`). */
  readonly availableFeatures: number;
  #open = true;

  private constructor(fd: number, source: UserfaultfdSource, availableFeatures: number) {
    this.fd = fd;
    this.source = source;
    this.availableFeatures = availableFeatures;
  }

  /**
   * Creates a userfaultfd and negotiates its features.
   *
   * @param options.features what is asked for; by default {@link ASYNC_WP_FEATURES}
   * @param options.userModeOnly true or false insists on one kind; by default the unrestricted kind is tried first.
   * With WP_ASYNC both track all writes, also the kernel's own
   * @throws PagemapError EPERM (with the ways to get permission), EINVAL when the kernel lacks a feature, ENOSYS
   */
  static open(
    options: { features?: number | undefined; userModeOnly?: boolean | undefined } = {},
  ): Userfaultfd {
    const { fd, source } = create(options.userModeOnly);
    return Userfaultfd.#shakeHands(fd, source, options.features ?? ASYNC_WP_FEATURES);
  }

  /**
   * Takes over a userfaultfd that another process made; it works on that process's memory. It must be unused.
   *
   * @param fd this process's descriptor of it; closed with this object, or at once when this fails
   * @param features what is asked for; by default {@link ASYNC_WP_FEATURES}
   * @throws PagemapError EINVAL when the kernel lacks a feature
   */
  static adopt(fd: number, features: number = ASYNC_WP_FEATURES): Userfaultfd {
    return Userfaultfd.#shakeHands(fd, 'another process', features);
  }

  static #shakeHands(fd: number, source: UserfaultfdSource, features: number): Userfaultfd {
    const [buffer, words] = struct(uffd.UFFDIO_API_STRUCT, [uffd.UFFD_API, features, 0]);
    if (call(fd, uffd.UFFDIO_API, buffer) < 0) {
      const error = lastError(`get userfaultfd features 0x${features.toString(16)}`, 'ioctl(UFFDIO_API)', {
        hint:
          (features & ASYNC_RWP_FEATURES) !== 0
            ? NO_RWP
            : 'this kernel lacks one of them; asynchronous write protection came with Linux 6.7',
      });
      closeSync(fd);
      throw error;
    }
    return new Userfaultfd(fd, source, loadU64(words, uffd.UFFDIO_API_STRUCT.offset.features / 4));
  }

  #call(
    action: string,
    name: string,
    request: number,
    buffer: ArrayBuffer,
    start: number,
    length: number,
    hint?: string,
  ): void {
    // EAGAIN: the address space was changing (a fork or mremap was in flight); the call did nothing yet.
    for (let attempt = 0; ; attempt++) {
      if (!this.#open) {
        throw new PagemapError(action, { errno: errnoNumber('EBADF')!, syscall: name, hint: 'it is closed' });
      }
      if (call(this.fd, request, buffer) >= 0) return;
      if (libc().errno() === errnoNumber('EAGAIN') && attempt < 100) continue;
      throw lastError(action, name, { start, end: start + length, hint });
    }
  }

  /**
   * Registers a range for write protection, or for read-write protection. That alone protects nothing: until a page is
   * protected, it counts as written, or, if present, as accessed.
   *
   * @param start first address, bytes, page-aligned (huge-page-aligned for hugetlb); inside mappings
   * @param lengthBytes page-aligned
   * @param mode `UFFDIO_REGISTER_MODE_WP` or `UFFDIO_REGISTER_MODE_RWP` (Linux 7.3), not both
   * @throws PagemapError EINVAL for a range that cannot be registered so, EBUSY when another userfaultfd has it, EPERM
   *   for write protection of a mapping that this process could not write
   */
  register(start: number, lengthBytes: number, mode: number = uffd.UFFDIO_REGISTER_MODE_WP): void {
    const [buffer] = struct(uffd.UFFDIO_REGISTER_STRUCT, [start, lengthBytes, mode, 0]);
    const readWrite = (mode & uffd.UFFDIO_REGISTER_MODE_RWP) !== 0;
    const action = `register ${range(start, lengthBytes)} for ${readWrite ? 'read-write' : 'write'} protection`;
    const hint = readWrite ? this.#readWriteHint() : undefined;
    this.#call(action, 'ioctl(UFFDIO_REGISTER)', uffd.UFFDIO_REGISTER, buffer, start, lengthBytes, hint);
  }

  /** Why the kernel refuses read-write protection; undefined for other reasons. */
  #readWriteHint(): string | undefined {
    return (this.availableFeatures & uffd.UFFD_FEATURE_RWP) === 0 ? NO_RWP : undefined;
  }

  /** Ends a range's registration and removes all of its protection. Bytes, page-aligned. */
  unregister(start: number, lengthBytes: number): void {
    const [buffer] = struct(uffd.UFFDIO_RANGE_STRUCT, [start, lengthBytes]);
    const action = `unregister ${range(start, lengthBytes)}`;
    this.#call(action, 'ioctl(UFFDIO_UNREGISTER)', uffd.UFFDIO_UNREGISTER, buffer, start, lengthBytes);
  }

  /**
   * Protects a range (its pages count as not written until the next write), or takes the protection away.
   *
   * @throws PagemapError ENOENT when a part of the range is not registered with this userfaultfd
   */
  writeProtect(start: number, lengthBytes: number, protect = true): void {
    const mode = protect ? uffd.UFFDIO_WRITEPROTECT_MODE_WP : 0;
    const [buffer] = struct(uffd.UFFDIO_WRITEPROTECT_STRUCT, [start, lengthBytes, mode]);
    const action = `${protect ? 'protect' : 'unprotect'} ${range(start, lengthBytes)}`;
    this.#call(action, 'ioctl(UFFDIO_WRITEPROTECT)', uffd.UFFDIO_WRITEPROTECT, buffer, start, lengthBytes);
  }

  /**
   * Protects a range against reads and writes (its pages count as not accessed until the next access), or takes the
   * protection away. Only for a userfaultfd opened with {@link ASYNC_RWP_FEATURES}: with RWP alone, every access waits
   * for a handler. Linux 7.3.
   *
   * @param start first address, bytes, page-aligned (huge-page-aligned for hugetlb)
   * @param lengthBytes page-aligned
   * @throws PagemapError ENOENT when a part of the range is not registered in mode RWP with this userfaultfd, EINVAL when the
   *   kernel has no read-write protection
   * @example
   * ```ts
   * import { PAGE_IS_ACCESSED, uffd } from 'pagemap-scan/abi';
   * import { ASYNC_RWP_FEATURES, kernelCategories, mapMemory, pageSize, Userfaultfd } from 'pagemap-scan/live';
   * if (kernelCategories() & PAGE_IS_ACCESSED) {
   *   using memory = mapMemory({ lengthBytes: pageSize() });
   *   using faults = Userfaultfd.open({ features: ASYNC_RWP_FEATURES });
   *   faults.register(memory.address, memory.lengthBytes, uffd.UFFDIO_REGISTER_MODE_RWP);
   *   faults.rwProtect(memory.address, memory.lengthBytes);
   * }
   * ```
   */
  rwProtect(start: number, lengthBytes: number, protect = true): void {
    const mode = protect ? uffd.UFFDIO_RWPROTECT_MODE_RWP : 0;
    const [buffer] = struct(uffd.UFFDIO_RWPROTECT_STRUCT, [start, lengthBytes, mode]);
    const action = `${protect ? 'protect' : 'unprotect'} ${range(start, lengthBytes)} from reading and writing`;
    const hint = this.#readWriteHint();
    this.#call(action, 'ioctl(UFFDIO_RWPROTECT)', uffd.UFFDIO_RWPROTECT, buffer, start, lengthBytes, hint);
  }

  /**
   * Turns features on and off at runtime; the only one that allows it is UFFD_FEATURE_RWP_ASYNC. Linux 7.3.
   *
   * @param enable features to turn on, a bit set
   * @param disable features to turn off, a bit set
   * @throws PagemapError EINVAL for other features, and when the kernel cannot do it
   */
  setMode(enable: number, disable = 0): void {
    const [buffer] = struct(uffd.UFFDIO_SET_MODE_STRUCT, [enable, disable]);
    const action = `turn userfaultfd features 0x${enable.toString(16)} on and 0x${disable.toString(16)} off`;
    this.#call(action, 'ioctl(UFFDIO_SET_MODE)', uffd.UFFDIO_SET_MODE, buffer, 0, 0, this.#readWriteHint());
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.fd);
  }
}
