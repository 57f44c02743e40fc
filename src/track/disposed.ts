import { errnoNumber, PagemapError } from '../abi/index.js';

/** The error of a tracker that is used after its end. */
export function disposedError(action: string, syscall = 'ioctl(PAGEMAP_SCAN)'): PagemapError {
  return new PagemapError(action, { errno: errnoNumber('EBADF')!, syscall, hint: 'it is disposed' });
}
