/**
 * Page categories: the bits that PAGEMAP_SCAN reports and filters by (uapi/linux/fs.h, `PAGE_IS_*`).
 * A set of categories is a number, one bit each.
 */
export const PAGE_IS_WPALLOWED = 1 << 0;
/** Written since it was write-protected, or never write-protected. */
export const PAGE_IS_WRITTEN = 1 << 1;
/** Page cache: a file or shared memory. */
export const PAGE_IS_FILE = 1 << 2;
export const PAGE_IS_PRESENT = 1 << 3;
/** A non-empty entry that is not present: swap, migration, or a marker. */
export const PAGE_IS_SWAPPED = 1 << 4;
/** Maps the shared zero page. */
export const PAGE_IS_PFNZERO = 1 << 5;
/** Mapped by a PMD-size or hugetlb entry. */
export const PAGE_IS_HUGE = 1 << 6;
/** Accepted since some release between Linux 6.7 and 6.12; reported only by kernels built with CONFIG_MEM_SOFT_DIRTY. */
export const PAGE_IS_SOFT_DIRTY = 1 << 7;
/** Lightweight guard page (MADV_GUARD_INSTALL), Linux 6.15. */
export const PAGE_IS_GUARD = 1 << 8;
/**
 * A present page of a mapping registered for read-write protection: it was accessed (read, written or
 * executed) since it was protected, or it was never protected. Linux 7.3.
 */
export const PAGE_IS_ACCESSED = 1 << 9;

/** A category by its lower-case name, as in JSON output and `--where` expressions. */
export type CategoryName =
  | 'wpallowed'
  | 'written'
  | 'file'
  | 'present'
  | 'swapped'
  | 'pfnzero'
  | 'huge'
  | 'softdirty'
  | 'guard'
  | 'accessed';

/** Names and bits, in bit order. */
export const CATEGORIES: readonly { readonly name: CategoryName; readonly bit: number }[] = [
  { name: 'wpallowed', bit: PAGE_IS_WPALLOWED },
  { name: 'written', bit: PAGE_IS_WRITTEN },
  { name: 'file', bit: PAGE_IS_FILE },
  { name: 'present', bit: PAGE_IS_PRESENT },
  { name: 'swapped', bit: PAGE_IS_SWAPPED },
  { name: 'pfnzero', bit: PAGE_IS_PFNZERO },
  { name: 'huge', bit: PAGE_IS_HUGE },
  { name: 'softdirty', bit: PAGE_IS_SOFT_DIRTY },
  { name: 'guard', bit: PAGE_IS_GUARD },
  { name: 'accessed', bit: PAGE_IS_ACCESSED },
];

/** All categories known to this library. A given kernel may refuse the newer ones with EINVAL. */
export const ALL_CATEGORIES = 0x3ff;

/** The categories of Linux 6.7, the first kernel with PAGEMAP_SCAN: no kernel refuses them. */
export const BASE_CATEGORIES = 0x7f;

/**
 * The names of the categories in a set, in bit order. Unknown bits are ignored.
 *
 * @example
 * ```ts
 * import { categoryNames } from 'pagemap-scan';
 * console.assert(categoryNames(0b1010).join() === 'written,present');
 * ```
 */
export function categoryNames(categories: number): CategoryName[] {
  const names: CategoryName[] = [];
  for (const { name, bit } of CATEGORIES) if (categories & bit) names.push(name);
  return names;
}

/** The spellings accepted for each name beside its own: the kernel's, and ones people type. */
const ALIASES: Readonly<Record<string, CategoryName>> = {
  soft_dirty: 'softdirty',
  'soft-dirty': 'softdirty',
  zero: 'pfnzero',
  swap: 'swapped',
};

/**
 * The bit of a category by name, in upper or lower case, with or without the kernel's prefix `PAGE_IS_`.
 * Undefined when there is no such category.
 *
 * @example
 * ```ts
 * import { categoryBit, PAGE_IS_SOFT_DIRTY } from 'pagemap-scan';
 * console.assert(categoryBit('PAGE_IS_SOFT_DIRTY') === PAGE_IS_SOFT_DIRTY);
 * console.assert(categoryBit('soft-dirty') === PAGE_IS_SOFT_DIRTY && categoryBit('dirty') === undefined);
 * ```
 */
export function categoryBit(name: string): number | undefined {
  const lower = name.toLowerCase().replace(/^page_is_/, '');
  const canonical = ALIASES[lower] ?? lower;
  return CATEGORIES.find((category) => category.name === canonical)?.bit;
}
