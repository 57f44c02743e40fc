/**
 * How Linux composes an ioctl number (asm-generic layout: x86, arm64, riscv, loongarch):
 *
 *      31 30 29            16 15         8 7          0
 *     +-----+----------------+------------+------------+
 *     | dir |  size (bytes)  | type (char)|   number   |
 *     +-----+----------------+------------+------------+
 *
 * dir: bit 0 = userspace writes (the kernel reads), bit 1 = userspace reads.
 */
const WRITE = 1;
const READ = 2;

function compose(dir: number, type: string, number: number, sizeBytes: number): number {
  return ((dir << 30) | (sizeBytes << 16) | (type.charCodeAt(0) << 8) | number) >>> 0;
}

/** `_IO`-family numbers. `type` is one character; `sizeBytes` is the argument struct's size. `_IOW`: the struct is read by the kernel. */
export function ioctlWrite(type: string, number: number, sizeBytes: number): number {
  return compose(WRITE, type, number, sizeBytes);
}

/** `_IOR`, which by the name would be written by the kernel; userfaultfd reads it all the same. */
export function ioctlRead(type: string, number: number, sizeBytes: number): number {
  return compose(READ, type, number, sizeBytes);
}

/** `_IOWR`: the struct is read by the kernel and written back. */
export function ioctlReadWrite(type: string, number: number, sizeBytes: number): number {
  return compose(READ | WRITE, type, number, sizeBytes);
}
