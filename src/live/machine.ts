/**
 * What machine this is: its architecture, and what follows from it. All that the layers above ask of it is asked here, once; what an
 * architecture does in its own way is in `arch-x64.ts` and `arch-arm64.ts`.
 */
import { closeSync, constants, openSync } from 'node:fs';
import {
  type ArchitectureName,
  errnoNumber,
  mman,
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

/**
 * Why pages of that size are refused; undefined for those that are supported.
 *
 * @param pageSizeBytes as sysconf tells it
 */
export function pageSizeProblem(pageSizeBytes: number): string | undefined {
  return pageSizeBytes === PAGE_SIZE
    ? undefined
    : `this kernel has pages of ${pageSizeBytes} bytes, which are not supported yet; pages of ${PAGE_SIZE} bytes are`;
}

/** The functions of the C library that asking takes, as `Libc` has them. */
export interface Asking {
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
function mapsUpTo({ mmap, munmap, errno }: Asking, address: number): boolean {
  const flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_FIXED_NOREPLACE;
  const mapped = mmap(address - PAGE_SIZE, PAGE_SIZE, mman.PROT_NONE, flags, -1, 0);
  if (mapped < 0) return errno() === errnoNumber('EEXIST');
  munmap(mapped, PAGE_SIZE);
  return mapped === address - PAGE_SIZE;
}

/**
 * Where user space ends here, asked of the kernel.
 *
 * @param candidates addresses, the largest first; the last one is taken where no other is
 */
export function askUserSpaceEnd(libc: Asking, candidates: readonly number[]): number {
  const isWithin = (address: number) => scansUpTo(libc, address) ?? mapsUpTo(libc, address);
  return candidates.find((address, index) => index === candidates.length - 1 || isWithin(address))!;
}

let known: number | undefined;

/** As `userSpaceEnd` says; the C library is loaded only where the kernel is to be asked. */
export function userSpaceEndOf(libc: () => Asking): number {
  if (known !== undefined) return known;
  const name = architecture();
  const candidates = name === undefined ? [USER_SPACE_END] : USER_SPACE_ENDS[name];
  known = candidates.length === 1 ? candidates[0]! : askUserSpaceEnd(libc(), candidates);
  return known;
}
