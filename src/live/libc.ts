/**
 * The C library, called by koffi. It is the only native code of the project, and only this file uses it.
 *
 * Pointers are passed as numbers: user addresses are far below 2^53, and a number costs less to marshal than a
 * bigint or a view. Memory that is handed to the kernel must therefore be kept reachable by the caller and must
 * not move: ArrayBuffer backing stores are outside V8's heap and stay where they are.
 */
import {
  errnoNumber,
  NotSupportedError,
  PAGE_SIZE,
  PagemapError,
  SYSCALLS,
  type SyscallNumbers,
} from '../abi/internal.js';
import { loadKoffi } from '../parts/index.js';
import { architecture, machine } from './machine.js';

/** System calls and library functions. Those that fail return -1 and leave the reason in `errno()`. */
export interface Libc {
  ioctl(fd: number, request: number, arg: number): number;
  mmap(address: number, lengthBytes: number, prot: number, flags: number, fd: number, offset: number): number;
  munmap(address: number, lengthBytes: number): number;
  mprotect(address: number, lengthBytes: number, prot: number): number;
  madvise(address: number, lengthBytes: number, advice: number): number;
  mremap(address: number, oldBytes: number, newBytes: number, flags: number, newAddress: number): number;
  pread(fd: number, address: number, lengthBytes: number, offset: number): number;
  pwrite(fd: number, address: number, lengthBytes: number, offset: number): number;
  sysconf(name: number): number;
  syscall(number: number, a: number, b: number, c: number, d: number, e: number, f: number): number;
  /** The arguments end with null. Comes back only when it fails. */
  execvp(file: string, args: readonly (string | null)[]): number;
  /** Signals that Node ignores have their default effect again: what a new program inherits. */
  resetSignals(): void;
  /** The calling thread's errno after the last call that failed. */
  errno(): number;
  /** Address of an ArrayBuffer's or SharedArrayBuffer's memory. */
  address(buffer: ArrayBuffer | SharedArrayBuffer): number;
  /** Memory at an address as an ArrayBuffer, without a copy. Touching it after munmap kills the process. */
  view(address: number, lengthBytes: number): ArrayBuffer;
  readonly numbers: SyscallNumbers;
}

const SIG_DFL = 0;
/** SIGPIPE, SIGXFSZ. */
const IGNORED_BY_NODE = [13, 25];

function unsupported(why: string, cause?: unknown): PagemapError {
  return new NotSupportedError('use live processes', {
    errno: errnoNumber('ENOSYS')!,
    syscall: 'load',
    needs: 'Linux on x86-64 or arm64, and koffi',
    hint: why,
    cause,
  });
}

function load(): Libc {
  if (process.platform !== 'linux') {
    throw unsupported(`this is ${process.platform}; the kernel's PAGEMAP_SCAN is there on Linux only`);
  }
  const name = architecture();
  if (name === undefined) throw unsupported(`${process.arch} is not supported; x64 and arm64 are`);

  let koffi: ReturnType<typeof loadKoffi>;
  try {
    // Lazily, so that everything that needs no kernel works where koffi has no binary.
    koffi = loadKoffi();
  } catch (cause) {
    throw unsupported(
      'the native module koffi cannot be loaded; reinstall with optional dependencies',
      cause,
    );
  }

  const lib = koffi.load(null);
  const functions = {
    ioctl: lib.func('int ioctl(int fd, unsigned long request, uintptr_t arg)'),
    mmap: lib.func(
      'intptr_t mmap(uintptr_t addr, size_t length, int prot, int flags, int fd, int64_t offset)',
    ),
    munmap: lib.func('int munmap(uintptr_t addr, size_t length)'),
    mprotect: lib.func('int mprotect(uintptr_t addr, size_t length, int prot)'),
    madvise: lib.func('int madvise(uintptr_t addr, size_t length, int advice)'),
    mremap: lib.func('intptr_t mremap(uintptr_t addr, size_t old, size_t new, int flags, uintptr_t to)'),
    pread: lib.func('intptr_t pread(int fd, uintptr_t buf, size_t count, int64_t offset)'),
    pwrite: lib.func('intptr_t pwrite(int fd, uintptr_t buf, size_t count, int64_t offset)'),
    sysconf: lib.func('long sysconf(int name)'),
    execvp: lib.func('int execvp(const char *file, const char **argv)'),
    syscall: lib.func(
      'long syscall(long number, intptr_t a, intptr_t b, intptr_t c, intptr_t d, intptr_t e, intptr_t f)',
    ),
  };
  const signal = lib.func('intptr_t signal(int number, intptr_t handler)');
  return {
    ...functions,
    resetSignals: () => {
      for (const number of IGNORED_BY_NODE) signal(number, SIG_DFL);
    },
    errno: () => koffi.errno(),
    address: (buffer) => Number(koffi.address(new Uint8Array(buffer))),
    view: (address, lengthBytes) => koffi.view(BigInt(address), lengthBytes),
    numbers: SYSCALLS[name],
  };
}

let loaded: Libc | undefined;

/**
 * The C library, loaded on first use.
 * @throws PagemapError ENOSYS where there is no Linux, no supported architecture or no koffi
 */
export function libc(): Libc {
  loaded ??= load();
  return loaded;
}

/**
 * Gives the end of user space on this machine, bytes, exclusive. A scan of a live process from 0 to here covers all of
 * its memory; one that ends beyond fails with EFAULT. On x86-64 it is USER_SPACE_END. On arm64 the kernel is asked,
 * once. Where live processes are not supported, it is the simulator's.
 *
 * @throws PagemapError ENOSYS on arm64 where koffi is missing
 * @example
 * ```ts
 * import { countPages, openPagemap, PAGE_IS_PRESENT, userSpaceEnd } from 'pagemap-scan';
 * using pagemap = openPagemap('self');
 * console.assert(countPages(pagemap, { start: 0, end: userSpaceEnd(), categoryMask: PAGE_IS_PRESENT }) > 1000);
 * ```
 */
export function userSpaceEnd(): number {
  return machine(libc).userSpaceEnd;
}

/**
 * Gives the size of this machine's pages, bytes; pages of live processes are counted in it. On x86-64 it is 4,096. On
 * arm64 the kernel is asked, once: it is 4,096, 16,384 or 65,536. Where live processes are not supported, it is the
 * simulator's.
 *
 * @throws PagemapError ENOSYS on arm64 where koffi is missing
 * @example
 * ```ts
 * import { openPagemap, pageSize } from 'pagemap-scan';
 * using pagemap = openPagemap('self');
 * console.assert(pagemap.pageSize === pageSize() && pagemap.mappings().every(({ start }) => start % pageSize() === 0));
 * ```
 */
export function pageSize(): number {
  return machine(libc).pageSize;
}

/**
 * Gives the size of this machine's huge pages, bytes: of transparent ones, and of hugetlb pages unless another size is asked for. It follows
 * from the size of pages: 2 MiB where they are of 4 KiB, 32 MiB of 16 KiB, 512 MiB of 64 KiB.
 *
 * @throws PagemapError ENOSYS on arm64 where koffi is missing
 * @example
 * ```ts
 * import { hugePageSize, mapMemory } from 'pagemap-scan';
 * using memory = mapMemory({ lengthBytes: hugePageSize(), alignBytes: hugePageSize() });
 * console.assert(memory.address % hugePageSize() === 0);
 * ```
 */
export function hugePageSize(): number {
  return machine(libc).hugePageSize;
}

/** What pages of any size will do for. */
const ANY_PAGES =
  "with these, scan, maps, watch, wss and doctor work, and tracking of own memory and of other processes' (allocateTracked, trackMemory, trackProcess)";

/**
 * Refuses a function that only works with pages of 4 KiB, where this machine has others. Call it before anything is
 * touched.
 *
 * @param action follows "Cannot"
 * @param otherwise what works nevertheless
 * @throws NotSupportedError EOPNOTSUPP
 */
export function requireSmallPages(action: string, otherwise = ANY_PAGES): void {
  const bytes = pageSize();
  if (bytes === PAGE_SIZE) return;
  throw new NotSupportedError(action, {
    errno: errnoNumber('EOPNOTSUPP')!,
    syscall: 'check',
    needs: 'a kernel with pages of 4 KiB',
    hint: `this kernel has pages of ${bytes / 1024} KiB, and that takes pages of 4 KiB; ${otherwise}`,
  });
}

/**
 * The error for the C library call that just failed. `action` follows "Cannot"; a hint that takes a look at the system is
 * a function, since looking is more calls, and the reason is to be kept first.
 */
export function lastError(
  action: string,
  syscall: string,
  details: {
    hint?: string | (() => string) | undefined;
    pid?: number | undefined;
    start?: number | undefined;
    end?: number | undefined;
  } = {},
): PagemapError {
  const errno = libc().errno();
  const hint = typeof details.hint === 'function' ? details.hint() : details.hint;
  return new PagemapError(action, { ...details, errno, syscall, hint });
}
