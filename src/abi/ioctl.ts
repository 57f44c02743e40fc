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

/** `_IO`-family numbers. `type` is one character; `sizeBytes` is the argument struct's size. */
export function ioctlRead(type: string, number: number, sizeBytes: number): number {
  return compose(READ, type, number, sizeBytes);
}

/** `_IOWR`: the struct is read by the kernel and written back. */
export function ioctlReadWrite(type: string, number: number, sizeBytes: number): number {
  return compose(READ | WRITE, type, number, sizeBytes);
}
