/**
 * What machine this is: its architecture, and what follows from it. All that the layers above ask of it is asked here, once; what an
 * architecture does in its own way is in `arch-x64.ts` and `arch-arm64.ts`.
 */
import { closeSync, constants, openSync } from 'node:fs';
import {
  type ArchitectureName,
  errnoNumber,
  hugePageSizeOf,
  mman,
  NotSupportedError,
  PAGE_IS_PRESENT,
  PAGE_SIZE,
  PAGEMAP_SCAN,
  PM_SCAN_ARG,
  SYSCALLS,
  storeU64,
  USER_SPACE_END,
} from '../abi/internal.js';

/** The architecture of this process; undefined where nothing live is supported. */
export function architecture(): ArchitectureName | undefined {
  return process.platform === 'linux' && process.arch in SYSCALLS
    ? (process.arch as ArchitectureName)
    : undefined;
}

/**
 * Where user space may end, bytes, the largest first. One candidate is not asked for. On arm64 it depends on how the kernel was built:
 * pages of 4 KiB with 52, 48 or 39 bits of address, of 16 KiB with 52, 48, 47 or 36, of 64 KiB with 52, 48 or 42.
 */
const USER_SPACE_ENDS: Readonly<Record<ArchitectureName, readonly number[]>> = {
  x64: [USER_SPACE_END],
  arm64: [52, 48, 47, 42, 39, 36].map((bits) => 2 ** bits),
};

/** The sizes of pages that an architecture's kernels may have, bytes. One candidate is not asked for. */
const PAGE_SIZES: Readonly<Record<ArchitectureName, readonly number[]>> = {
  x64: [PAGE_SIZE],
  arm64: [4, 16, 64].map((kilobytes) => kilobytes * 1024),
};

/** The functions of the C library that asking takes, as `Libc` has them. */
export interface Asking {
  sysconf(name: number): number;
  ioctl(fd: number, request: number, arg: number): number;
  mmap(address: number, lengthBytes: number, prot: number, flags: number, fd: number, offset: number): number;
  munmap(address: number, lengthBytes: number): number;
  errno(): number;
  address(buffer: ArrayBuffer): number;
}

/** Whether the ioctl takes a range that ends at `address`; undefined where there is no ioctl. */
function scansUpTo({ ioctl, address: addressOf, errno }: Asking, address: number): boolean | undefined {
  const words = new Uint32Array(PM_SCAN_ARG.sizeBytes / 4);
  const store = (field: (typeof PM_SCAN_ARG.fields)[number], value: number) =>
    storeU64(words, PM_SCAN_ARG.offset[field] / 4, value);
  store('size', PM_SCAN_ARG.sizeBytes);
  // Empty: the arguments are checked, and nothing is walked.
  store('start', address);
  store('end', address);
  store('return_mask', PAGE_IS_PRESENT);
  const fd = openSync('/proc/self/pagemap', constants.O_RDONLY);
  try {
    if (ioctl(fd, PAGEMAP_SCAN, addressOf(words.buffer)) >= 0) return true;
    return errno() === errnoNumber('ENOTTY') ? undefined : false;
  } finally {
    closeSync(fd);
  }
}

/** Whether memory can be mapped right below `address`. Leaves nothing behind. Kernels before 4.17 take the address for a wish. */
function mapsUpTo({ mmap, munmap, errno }: Asking, address: number, pageSize: number): boolean {
  const flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_FIXED_NOREPLACE;
  const mapped = mmap(address - pageSize, pageSize, mman.PROT_NONE, flags, -1, 0);
  if (mapped < 0) return errno() === errnoNumber('EEXIST');
  munmap(mapped, pageSize);
  return mapped === address - pageSize;
}

/**
 * Where user space ends here, asked of the kernel.
 *
 * @param candidates addresses, the largest first; the last one is taken where no other is
 * @param pageSize bytes
 */
export function askUserSpaceEnd(libc: Asking, candidates: readonly number[], pageSize: number): number {
  const isWithin = (address: number) => scansUpTo(libc, address) ?? mapsUpTo(libc, address, pageSize);
  return candidates.find((address, index) => index === candidates.length - 1 || isWithin(address))!;
}

const SC_PAGESIZE = 30;

/**
 * How large pages are here, bytes, asked of the C library.
 *
 * @param candidates the sizes that are supported
 * @throws NotSupportedError ENOSYS for another size
 */
export function askPageSize(libc: Pick<Asking, 'sysconf'>, candidates: readonly number[]): number {
  const bytes = libc.sysconf(SC_PAGESIZE);
  if (candidates.includes(bytes)) return bytes;
  throw new NotSupportedError('use live processes', {
    errno: errnoNumber('ENOSYS')!,
    syscall: 'sysconf',
    needs: `a kernel with pages of ${candidates.join(' or ')} bytes`,
    hint: `this kernel has pages of ${bytes} bytes; pages of ${candidates.join(' or ')} bytes are supported`,
  });
}

/** What the layers above know of the machine, each thing asked when it is wanted first. */
export class Machine {
  readonly #name: ArchitectureName;
  readonly #libc: () => Asking;
  #pageSize: number | undefined;
  #userSpaceEnd: number | undefined;

  /** @param libc is called only where the kernel is to be asked */
  constructor(libc: () => Asking, name: ArchitectureName) {
    this.#libc = libc;
    this.#name = name;
  }

  /** Bytes. */
  get pageSize(): number {
    const sizes = PAGE_SIZES[this.#name];
    this.#pageSize ??= sizes.length === 1 ? sizes[0]! : askPageSize(this.#libc(), sizes);
    return this.#pageSize;
  }

  /** Of transparent huge pages, and of hugetlb pages unless another size is asked for; bytes. */
  get hugePageSize(): number {
    return hugePageSizeOf(this.pageSize);
  }

  /** An address. */
  get userSpaceEnd(): number {
    const ends = USER_SPACE_ENDS[this.#name];
    this.#userSpaceEnd ??= ends.length === 1 ? ends[0]! : askUserSpaceEnd(this.#libc(), ends, this.pageSize);
    return this.#userSpaceEnd;
  }
}

let known: Machine | undefined;

/** This machine. Where nothing live is supported it is the simulator's, an x86-64. */
export function machine(libc: () => Asking): Machine {
  known ??= new Machine(libc, architecture() ?? 'x64');
  return known;
}
