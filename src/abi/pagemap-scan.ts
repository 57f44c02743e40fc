/** PAGEMAP_SCAN's argument structs, flags and number (uapi/linux/fs.h, Linux 6.7). */
import { ioctlReadWrite } from './ioctl.js';
import { u64Struct } from './layout.js';

/** `struct pm_scan_arg`. `walk_end` is written by the kernel, the rest is read. */
export const PM_SCAN_ARG = u64Struct('pm_scan_arg', [
  'size',
  'flags',
  'start',
  'end',
  'walk_end',
  'vec',
  'vec_len',
  'max_pages',
  'category_inverted',
  'category_mask',
  'category_anyof_mask',
  'return_mask',
]);

/** `struct page_region`: one run of pages with the same categories; `end` is exclusive. */
export const PAGE_REGION = u64Struct('page_region', ['start', 'end', 'categories']);

/** `_IOWR('f', 16, struct pm_scan_arg)`: 0xC0606610. */
export const PAGEMAP_SCAN = ioctlReadWrite('f', 16, PM_SCAN_ARG.sizeBytes);

/** Write-protect the pages that match, in the same step in which they are reported. */
export const PM_SCAN_WP_MATCHING = 1 << 0;
/** Fail with EPERM on a mapping that is not registered for asynchronous write protection. */
export const PM_SCAN_CHECK_WPASYNC = 1 << 1;

/**
 * The page size of x86-64, bytes. The simulator, recordings and snapshots use it, too. Kernels for arm64 may
 * have other page sizes: a `Pagemap` counts in its `pageSize`, and `pageSize()` of `pagemap-scan/live` gives
 * this machine's.
 */
export const PAGE_SIZE = 4096;
/** The size of a PMD-mapped (transparent huge or default hugetlb) page on x86-64, bytes; `hugePageSize()` is this machine's. */
export const HUGE_PAGE_SIZE = 2 * 1024 * 1024;
/**
 * The end of x86-64's user address space with four-level page tables, bytes. Addresses from here up
 * (`[vsyscall]`) cannot be scanned: the kernel answers EFAULT. The simulator's memory ends here. For live
 * processes, ask `userSpaceEnd`: on arm64, most of their memory lies above this address.
 */
export const USER_SPACE_END = 0x7ffffffff000;
