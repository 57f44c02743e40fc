import { categoryNames } from './categories.js';
import { errnoName, errnoNumber } from './errno.js';

/** Context of a failed system call. */
export interface PagemapErrorDetails {
  /** The errno, as a positive number. */
  readonly errno: number;
  /** The call that failed: `ioctl(PAGEMAP_SCAN)`, `userfaultfd`, `open`. */
  readonly syscall: string;
  readonly pid?: number | undefined;
  /** The range the call was about, bytes. */
  readonly start?: number | bigint | undefined;
  readonly end?: number | bigint | undefined;
  /** How far a scan had come when it failed; undefined when it failed before the walk. */
  readonly walkEnd?: number | undefined;
  /** What the reader can do about it, as a sentence. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

function hex(address: number | bigint): string {
  // Called for requests that are wrong, too: whatever the number is, the message must come about.
  if (typeof address !== 'bigint' && !Number.isInteger(address)) return String(address);
  return `0x${BigInt.asUintN(64, BigInt(address)).toString(16)}`;
}

/**
 * A failed system call, of the kernel or of the TypeScript engine.
 *
 * `code` is stable ('EPERM'); the message reads "Cannot <action>: <code> (<why>)" and is for people.
 *
 * @example
 * ```ts
 * import { openPagemap, PagemapError, RegionBuffer } from 'pagemap-scan';
 * using pagemap = openPagemap('self');
 * try {
 *   pagemap.scan({ start: 1, end: 4096 }, new RegionBuffer(1));
 * } catch (error) {
 *   console.assert(error instanceof PagemapError && error.code === 'EINVAL');
 * }
 * ```
 */
export class PagemapError extends Error {
  override readonly name: string = 'PagemapError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly pid: number | undefined;
  readonly start: number | bigint | undefined;
  readonly end: number | bigint | undefined;
  readonly walkEnd: number | undefined;
  readonly hint: string | undefined;

  /** @param action what could not be done, as it follows "Cannot": `scan 0x1000-0x2000 of process 12` */
  constructor(action: string, details: PagemapErrorDetails) {
    const code = errnoName(details.errno);
    super(`Cannot ${action}: ${code}${details.hint ? ` (${details.hint})` : ''}`, { cause: details.cause });
    this.code = code;
    this.errno = details.errno;
    this.syscall = details.syscall;
    this.pid = details.pid;
    this.start = details.start;
    this.end = details.end;
    this.walkEnd = details.walkEnd;
    this.hint = details.hint;
  }
}

/**
 * This kernel, this build of it, or this Node lacks a feature; `needs` says what has it. `code` is 'ENOSYS',
 * 'ENOTTY' or 'EOPNOTSUPP', the error of the missing system call.
 *
 * @example
 * ```ts
 * import { NotSupportedError, openPagemap } from 'pagemap-scan';
 * try {
 *   using pagemap = openPagemap('self');
 * } catch (error) {
 *   if (error instanceof NotSupportedError) console.log(`it takes ${error.needs}`);
 * }
 * ```
 */
export class NotSupportedError extends PagemapError {
  override readonly name = 'NotSupportedError';
  /** What has the feature: 'Linux 6.7', for instance. */
  readonly needs: string;

  constructor(action: string, details: PagemapErrorDetails & { readonly needs: string }) {
    super(action, details);
    this.needs = details.needs;
  }
}

/** What the errno of a PAGEMAP_SCAN means, in one phrase; the same for every provider. */
const SCAN_HINTS: Readonly<Record<string, string>> = {
  EPERM: 'a mapping in the range is not registered for asynchronous write protection',
  EINVAL:
    'start must be page-aligned, flags and categories known to this kernel, and a null vec without a length',
  EFAULT: 'the range or the output lies outside user space, or the output cannot be written',
  ENOTTY: 'this kernel has no PAGEMAP_SCAN; Linux 6.7 brought it',
  EINTR: 'interrupted by a fatal signal',
  ENOMEM: 'the kernel could not allocate its page tables or buffer',
};

/** The error for a failed scan. */
export function scanError(
  errno: number,
  range: { start: number | bigint; end: number | bigint },
  walkEnd: number | undefined,
  pid?: number,
  hint: string | undefined = SCAN_HINTS[errnoName(errno)],
): PagemapError {
  const whose = pid === undefined ? '' : ` of process ${pid}`;
  return new PagemapError(`scan ${hex(range.start)}-${hex(range.end)}${whose}`, {
    errno,
    syscall: 'ioctl(PAGEMAP_SCAN)',
    pid,
    start: range.start,
    end: range.end,
    walkEnd,
    hint,
  });
}

/** Why a provider cannot tell a category. */
export interface CategoryRefusal {
  /** EPERM when more permission would help, EOPNOTSUPP otherwise. */
  readonly code: 'EPERM' | 'EOPNOTSUPP';
  readonly hint: string;
}

/**
 * A scan asked for a category that its provider cannot tell, or cannot tell here. The ioctl tells every
 * category that it knows.
 *
 * @example
 * ```ts
 * import { openPagemap, PAGE_IS_WRITTEN, RegionBuffer, UnknownCategoryError } from 'pagemap-scan';
 * using pagemap = openPagemap('self', { provider: 'fallback' });
 * try {
 *   pagemap.scan({ start: 0, end: 4096, categoryMask: PAGE_IS_WRITTEN }, new RegionBuffer(1));
 * } catch (error) {
 *   console.assert(error instanceof UnknownCategoryError && error.categories === PAGE_IS_WRITTEN);
 * }
 * ```
 */
export class UnknownCategoryError extends PagemapError {
  override readonly name = 'UnknownCategoryError';
  /** The categories that cannot be told, as a bit set. */
  readonly categories: number;

  constructor(
    pid: number,
    categories: number,
    { code, hint }: CategoryRefusal,
    range: { start: number | bigint; end: number | bigint },
  ) {
    super(`tell ${categoryNames(categories).join(' and ')} pages of process ${pid}`, {
      errno: errnoNumber(code)!,
      syscall: 'read(pagemap)',
      pid,
      ...range,
      hint,
    });
    this.categories = categories;
  }
}
