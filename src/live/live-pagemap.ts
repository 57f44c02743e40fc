/** The pages of a running process, whoever answers. */
import type { Pagemap } from '../abi/index.js';
import type { Mapping } from '../proc/index.js';
import type { ProcessHandle } from './process.js';

/** Who answers scans: the PAGEMAP_SCAN ioctl, or this library from what /proc/PID tells. */
export type Provider = 'ioctl' | 'fallback';

/**
 * A process's address space, whoever answers.
 *
 * Of one that is gone, because the process has ended or has replaced it by exec, `scan` throws ProcessError 'ended' where the
 * kernel says so (Linux 7.3), and finds nothing, without an error, on kernels before. {@link checkAlive} after the last scan
 * throws the same error on all of them: what was found before it is then of a process that was there to the end.
 */
export interface LivePagemap extends Pagemap, Disposable {
  readonly provider: Provider;
  readonly process: ProcessHandle;
  /** The process's number. */
  readonly pid: number;
  /**
   * The categories that can be told of its pages, as a bit set. The ioctl refuses others with EINVAL; the fallback with
   * EPERM or EOPNOTSUPP, and says in `hint` what stands in the way.
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
  /** True when the address space is gone: the process has ended, or has replaced it by exec. */
  readonly ended: boolean;
  /** @throws ProcessError 'ended' when the address space is gone */
  checkAlive(): void;
}
