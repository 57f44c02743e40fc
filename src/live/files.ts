/** What Node's own file functions lack. */
import { codeOf } from '../abi/internal.js';
import { lastError, libc } from './libc.js';

const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

const NO_SYNC: ReadonlySet<string> = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/** Whether an error of fsync says that the file system cannot do that: of folders, some over a network cannot. */
export function cannotSync(error: unknown): boolean {
  return NO_SYNC.has(codeOf(error) ?? '');
}

/** Gives a file that was opened without a name (O_TMPFILE) one; fails where there is such a file already. */
export function linkDescriptor(fd: number, path: string): void {
  const { syscall, numbers, address } = libc();
  const from = new TextEncoder().encode(`/proc/self/fd/${fd}\0`);
  const to = new TextEncoder().encode(`${path}\0`);
  const at = (text: Uint8Array<ArrayBuffer>) => address(text.buffer) + text.byteOffset;
  const result = syscall(numbers.linkat, AT_FDCWD, at(from), AT_FDCWD, at(to), AT_SYMLINK_FOLLOW, 0);
  // Used after the call, so that the collector cannot take them before.
  from.fill(0);
  to.fill(0);
  if (result < 0) throw lastError(`create ${path}`, 'linkat');
}

/** Makes a part of a file a hole; false where its file system cannot. */
export function punchHole(fd: number, offset: number, lengthBytes: number): boolean {
  const { syscall, numbers } = libc();
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return syscall(numbers.fallocate, fd, mode, offset, lengthBytes, 0, 0) >= 0;
}
