/// <reference lib="esnext.disposable" preserve="true" />

import {
  CATEGORIES,
  errnoNumber,
  loadU64,
  PAGE_REGION,
  PAGEMAP_SCAN,
  PagemapError,
  PM_SCAN_ARG,
  RegionBuffer,
  requireUsable,
  type ScanRequest,
  type ScanResult,
  scanError,
  storeU64,
} from '../abi/internal.js';
import { FallbackPagemap } from './fallback/pagemap.js';
import { type Libc, libc, pageSize, userSpaceEnd } from './libc.js';
import type { LivePagemap, Provider } from './live-pagemap.js';
import { endedError, ProcessHandle } from './process.js';
import { ProcessPagemap } from './process-pagemap.js';

const AT = Object.fromEntries(
  PM_SCAN_ARG.fields.map((field) => [field, PM_SCAN_ARG.offset[field] / 4]),
) as Record<(typeof PM_SCAN_ARG.fields)[number], number>;

/** No address that a walk can end at: page-aligned, and outside user space. */
const NOT_WRITTEN = 0xfffffffffffff000;

/** Set in the environment, makes the live kernel be taken for one without the ioctl. */
export const DISABLE_VARIABLE = 'PMSCAN_DISABLE_IOCTL';

export function ioctlDisabled(): boolean {
  const value = process.env[DISABLE_VARIABLE];
  return value !== undefined && value !== '' && value !== '0';
}

/** Set in the environment to `ioctl` or `fallback`, decides how pages are asked for. */
export const PROVIDER_VARIABLE = 'PMSCAN_PROVIDER';

const ESRCH = errnoNumber('ESRCH')!;

/** Addresses of outputs that were used before; a backing store never moves. */
const addresses = new WeakMap<ArrayBuffer | SharedArrayBuffer, number>();

/**
 * The real ioctl on a process's /proc/PID/pagemap.
 *
 * Holds two descriptors, both for reading only: the target is neither stopped nor changed, unless a scan
 * asks for write protection. Dispose it to close them.
 *
 * @example
 * ```ts
 * import { BASE_CATEGORIES, openPagemap } from 'pagemap-scan';
 * import { IoctlPagemap } from 'pagemap-scan/live';
 * using pagemap = openPagemap('self');
 * if (pagemap instanceof IoctlPagemap)
 *   console.assert((pagemap.categories & BASE_CATEGORIES) === BASE_CATEGORIES);
 * ```
 */
export class IoctlPagemap extends ProcessPagemap implements LivePagemap {
  readonly provider = 'ioctl';
  readonly pageSize: number = pageSize();
  readonly #libc: Libc;
  // The argument block is made once: encoding and the call allocate nothing but the result.
  readonly #arg = new ArrayBuffer(PM_SCAN_ARG.sizeBytes);
  readonly #words = new Uint32Array(this.#arg);
  readonly #argAddress: number;
  readonly #disabled: boolean;
  #lastOutput: ArrayBuffer | SharedArrayBuffer | undefined;
  #lastAddress = 0;

  /** Use {@link openPagemap}. Takes over `process`: disposing this disposes it. */
  constructor(process: ProcessHandle) {
    // First, so that nothing is open when there is none.
    const functions = libc();
    super(process);
    this.#libc = functions;
    this.#argAddress = functions.address(this.#arg);
    this.#disabled = ioctlDisabled();
  }

  get categories(): number {
    return kernelCategories();
  }

  scan(request: ScanRequest, output: RegionBuffer | null): ScanResult {
    requireUsable(request, output, this.pid);
    this.checkOpen(request);
    if (this.#disabled) throw scanError(errnoNumber('ENOTTY')!, request, undefined, this.pid);
    const words = this.#words;
    storeU64(words, AT.size, PM_SCAN_ARG.sizeBytes);
    storeU64(words, AT.flags, request.flags ?? 0);
    storeU64(words, AT.start, request.start);
    storeU64(words, AT.end, request.end);
    storeU64(words, AT.walk_end, NOT_WRITTEN);
    storeU64(words, AT.max_pages, request.maxPages ?? 0);
    storeU64(words, AT.category_inverted, request.categoryInverted ?? 0);
    storeU64(words, AT.category_mask, request.categoryMask ?? 0);
    storeU64(words, AT.category_anyof_mask, request.categoryAnyofMask ?? 0);
    storeU64(words, AT.return_mask, request.returnMask ?? 0);
    if (output === null) {
      storeU64(words, AT.vec, 0);
      storeU64(words, AT.vec_len, 0);
    } else {
      storeU64(words, AT.vec, this.#outputAddress(output));
      storeU64(words, AT.vec_len, output.capacity);
      output.length = 0;
      output.pageSize = this.pageSize;
    }
    if (request.override !== undefined) {
      if (request.override.size !== undefined) storeU64(words, AT.size, request.override.size);
      if (request.override.vec !== undefined) storeU64(words, AT.vec, request.override.vec);
      if (request.override.vecLen !== undefined) {
        this.#checkRoom(request.override.vecLen, request.override.vec, output);
        storeU64(words, AT.vec_len, request.override.vecLen);
      }
    }

    const regions = this.#libc.ioctl(this.fd, PAGEMAP_SCAN, this.#argAddress);
    if (regions < 0) {
      const errno = this.#libc.errno();
      // The kernel writes walk_end back only once its checks of the arguments are over.
      const walkEnd = loadU64(words, AT.walk_end);
      const error = scanError(errno, request, walkEnd === NOT_WRITTEN ? undefined : walkEnd, this.pid);
      throw errno === ESRCH ? endedError(this.process, error) : error;
    }
    if (output !== null) output.length = regions;
    return { regions, walkEnd: loadU64(words, AT.walk_end) };
  }

  /** More room than there is may be claimed only where the kernel refuses it: it would write over our memory. */
  #checkRoom(vecLen: number | bigint, vec: number | bigint | undefined, output: RegionBuffer | null): void {
    const refused = vecLen < 0 || vecLen > userSpaceEnd() / PAGE_REGION.sizeBytes;
    if (vec !== undefined || output === null || vecLen <= output.capacity || refused) return;
    throw new RangeError(`Cannot claim room for ${vecLen} regions in a buffer of ${output.capacity}`);
  }

  #outputAddress(output: RegionBuffer): number {
    const { buffer } = output;
    if (buffer !== this.#lastOutput) {
      let address = addresses.get(buffer);
      if (address === undefined) {
        address = this.#libc.address(buffer);
        addresses.set(buffer, address);
      }
      this.#lastOutput = buffer;
      this.#lastAddress = address;
    }
    return this.#lastAddress;
  }
}

let knownCategories: number | undefined;

/**
 * The categories that this kernel's ioctl accepts in its masks, as a bit set; it answers EINVAL for others. 0 when the
 * kernel has no PAGEMAP_SCAN.
 *
 * @throws PagemapError when the kernel cannot be asked, for any other reason
 * @example
 * ```ts
 * import { kernelCategories, PAGE_IS_WRITTEN } from 'pagemap-scan';
 * console.assert(kernelCategories() === 0 || kernelCategories() & PAGE_IS_WRITTEN);
 * ```
 */
export function kernelCategories(): number {
  if (ioctlDisabled()) return 0;
  if (knownCategories !== undefined) return knownCategories;
  using pagemap = new IoctlPagemap(new ProcessHandle(process.pid));
  const output = new RegionBuffer(1);
  let accepted = 0;
  for (const { bit } of CATEGORIES) {
    try {
      // An empty range: the arguments are checked, and nothing is walked.
      pagemap.scan({ start: 0, end: 0, returnMask: bit }, output);
      accepted |= bit;
    } catch (error) {
      if (!(error instanceof PagemapError)) throw error;
      if (error.code === 'ENOTTY') break;
      if (error.code !== 'EINVAL') throw error;
    }
  }
  knownCategories = accepted;
  return accepted;
}

/**
 * What answers scans here: the ioctl where the kernel has it, unless the environment says otherwise.
 *
 * @throws PagemapError EINVAL when the environment names neither provider
 * @example
 * ```ts
 * import { chooseProvider, openPagemap } from 'pagemap-scan/live';
 * using pagemap = openPagemap('self');
 * console.assert(pagemap.provider === chooseProvider());
 * process.env['PMSCAN_PROVIDER'] = 'fallback';
 * console.assert(chooseProvider() === 'fallback');
 * ```
 */
export function chooseProvider(): Provider {
  const wanted = process.env[PROVIDER_VARIABLE] ?? '';
  if (wanted === 'ioctl' || wanted === 'fallback') return wanted;
  if (wanted !== '') {
    throw new PagemapError(`use the provider "${wanted}"`, {
      errno: errnoNumber('EINVAL')!,
      syscall: 'check',
      hint: `${PROVIDER_VARIABLE} must be ioctl or fallback`,
    });
  }
  return kernelCategories() === 0 ? 'fallback' : 'ioctl';
}

/**
 * Opens a process's address space for scans: with the ioctl where the kernel has it (Linux 6.7), else with the
 * fallback, which cannot tell all categories. `provider` and `categories` of the result say which it is, and what it
 * can tell.
 *
 * It needs to be the process's user (and the process dumpable), or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.
 *
 * @param pid a process number, or 'self'
 * @param options `provider` insists on 'ioctl' or 'fallback'
 * @throws ProcessError 'not-found', 'zombie', 'ended', 'kernel-thread', 'not-permitted'
 * @throws PagemapError ENOSYS where this is no Linux or koffi is missing
 * @example
 * ```ts
 * import { openPagemap } from 'pagemap-scan';
 * using pagemap = openPagemap('self');
 * console.assert(pagemap.mappings().some((mapping) => mapping.name === '[stack]'));
 * ```
 */
export function openPagemap(
  pid: number | 'self',
  { provider = chooseProvider() }: { readonly provider?: Provider | undefined } = {},
): LivePagemap {
  const handle = new ProcessHandle(pid);
  try {
    return provider === 'ioctl' ? new IoctlPagemap(handle) : new FallbackPagemap(handle);
  } catch (error) {
    handle[Symbol.dispose]();
    throw error;
  }
}
