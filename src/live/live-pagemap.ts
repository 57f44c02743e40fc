/** The pages of a running process, with either provider. */
import type { Pagemap } from '../abi/index.js';
import type { Mapping } from '../proc/index.js';
import type { ProcessHandle } from './process.js';

/** What answers scans: the PAGEMAP_SCAN ioctl, or this library from the files of /proc/PID. */
export type Provider = 'ioctl' | 'fallback';

/**
 * A process's address space, with either provider.
 *
 * The address space is gone when the process has ended or called exec. `scan` then throws ProcessError 'ended' on Linux
 * 7.3, and finds nothing, without an error, on older kernels. {@link checkAlive} throws that error on all kernels: call
 * it after the last scan, to know that the process lived through all of them.
 */
export interface LivePagemap extends Pagemap, Disposable {
  readonly provider: Provider;
  readonly process: ProcessHandle;
  /** The process's number. */
  readonly pid: number;
  /**
   * The categories that can be told here, as a bit set. The ioctl refuses others with EINVAL. The fallback refuses them
   * with EPERM or EOPNOTSUPP, and `hint` says why.
   */
  readonly categories: number;
  /**
   * Reads words of /proc/PID/pagemap, one u64 a page, into `words` (two 32-bit words a page, low first).
   *
   * @param start address of the first page, bytes
   * @returns how many pages were read: fewer at the end of the address space, 0 when the process has ended
   */
  readWords(start: number, words: Uint32Array): number;
  /**
   * The process's mappings, in address order. A snapshot: the process may change them at any moment.
   *
   * @throws ProcessError 'ended' when the process has ended; after exec these are the new program's
   */
  mappings(): Mapping[];
  /** True when the address space is gone: the process has ended or called exec. */
  readonly ended: boolean;
  /** @throws ProcessError 'ended' when the address space is gone */
  checkAlive(): void;
}
