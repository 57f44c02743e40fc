/** How what tracks a process gets hold of its memory. */
import { closeSync } from 'node:fs';
import { errnoNumber, NotSupportedError, PAGE_IS_ACCESSED, PagemapError } from '../abi/index.js';
import {
  type AttachOptions,
  attachUserfaultfd,
  DescriptorSearch,
  IoctlPagemap,
  kernelCategories,
  type LivePagemap,
  ProcessError,
  ProcessHandle,
  type Provider,
  pause,
  Userfaultfd,
} from '../live/internal.js';
import type { PageSample } from './sample.js';

/**
 * The most descriptors that are looked at in one interval; of more, the next ones follow in the next
 * interval.
 */
export const MOST_LOOKS = 512;

const OWN_USERFAULTFD = 'anon_inode:[userfaultfd]';

export interface TrackOptions extends AttachOptions {
  /**
   * 'ioctl' tracks by write protection, 'fallback' by soft-dirty bits. The default is what the kernel has.
   */
  readonly provider?: Provider | undefined;
  /**
   * Track a process even if it uses userfaultfd itself, or begins to: its own registrations fail meanwhile
   * (EBUSY). Without this option, such a process is refused, and tracking lets go of one that begins to use
   * it.
   */
  readonly anyway?: boolean | undefined;
  /**
   * Track a random sample of the pages instead of all, to cost the process less (see {@link PageSample}). Not
   * possible with soft-dirty bits.
   */
  readonly sample?: PageSample | undefined;
}

/** A userfaultfd that is gone after so long belongs to another program that is just attaching. */
const MOMENT_MS = 5;

export function hasOwn(own: DescriptorSearch, most: number): boolean {
  if (!own.look(most)) return false;
  pause(MOMENT_MS);
  return own.look(most);
}

function usesUserfaultfd(pid: number): ProcessError {
  const hint =
    'it uses userfaultfd itself, as some garbage collectors and virtual machines do: while it is tracked, its own registrations would fail (in programs, the option `anyway` of trackProcess tracks it nevertheless)';
  return new ProcessError('userfaultfd', pid, hint, `track process ${pid}`);
}

/** The pages of a process, by one provider. */
export function openBy<P extends LivePagemap>(
  pid: number | 'self',
  Provider: new (handle: ProcessHandle) => P,
): P {
  const handle = new ProcessHandle(pid);
  try {
    return new Provider(handle);
  } catch (error) {
    handle[Symbol.dispose]();
    throw error;
  }
}

/** A process whose memory can be registered and protected. */
export interface Attached {
  readonly pagemap: IoctlPagemap;
  /** Of the process, with the features that were asked for. */
  readonly faults: Userfaultfd;
  readonly stopMs: number;
  /** Looks whether the process has a userfaultfd of its own now; undefined when that does not matter. */
  readonly own: DescriptorSearch | undefined;
}

/**
 * Makes a userfaultfd in a process, and hands it with the process's pages to `use`. When that fails, both are closed.
 *
 * @param features by default those of asynchronous write protection
 * @throws ProcessError for a process that cannot, or had better not, be attached to
 * @throws PagemapError EINVAL when the kernel lacks a feature
 */
export async function attachTo<T>(
  pid: number | 'self',
  options: TrackOptions,
  features: number | undefined,
  use: (attached: Attached) => T,
): Promise<T> {
  const pagemap = openBy(pid, IoctlPagemap);
  try {
    const own = options.anyway ? undefined : new DescriptorSearch(pagemap.process, OWN_USERFAULTFD);
    if (own !== undefined && hasOwn(own, Number.POSITIVE_INFINITY)) throw usesUserfaultfd(pagemap.pid);
    const { fd, stopMs } = await attachUserfaultfd(pagemap.process, options);
    let faults: Userfaultfd;
    try {
      faults = Userfaultfd.adopt(fd, features);
    } catch (error) {
      if (!(error instanceof PagemapError)) closeSync(fd);
      throw error;
    }
    try {
      return use({ pagemap, faults, stopMs, own });
    } catch (error) {
      faults[Symbol.dispose]();
      throw error;
    }
  } catch (error) {
    pagemap[Symbol.dispose]();
    throw error;
  }
}

/** Throws where the kernel cannot tell accesses, before anything is touched. */
export function requireAccesses(action: string): void {
  if ((kernelCategories() & PAGE_IS_ACCESSED) !== 0) return;
  throw new NotSupportedError(action, {
    errno: errnoNumber('EOPNOTSUPP')!,
    syscall: 'ioctl(PAGEMAP_SCAN)',
    needs: 'Linux 7.3',
    hint: 'which pages are accessed is told by read-write protection, which came with Linux 7.3',
  });
}

/**
 * Throws where a sample would cost as much as all pages: soft-dirty bits are cleared for all pages at once.
 */
export function requireSamples(provider: Provider, pid: number | 'self'): void {
  if (provider === 'ioctl') return;
  throw new NotSupportedError(`track a sample of the pages of process ${pid}`, {
    errno: errnoNumber('EOPNOTSUPP')!,
    syscall: 'ioctl(PAGEMAP_SCAN)',
    needs: 'Linux 6.7',
    hint: 'a sample needs write protection, and soft-dirty bits can only track all pages: leave out the sample',
  });
}
