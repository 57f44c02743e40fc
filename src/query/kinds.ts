/** Kinds of pages that exclude each other, so that they add up: what bars and maps show. */
import {
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
} from '../abi/index.js';

/** In the order of a bar. `untouched` pages are neither present nor swapped; no scan reports them. */
export const PAGE_KINDS = ['huge', 'anonymous', 'file', 'zero', 'swapped', 'guard', 'untouched'] as const;
export type PageKind = (typeof PAGE_KINDS)[number];

/**
 * Index into `PAGE_KINDS` of a page that is present or swapped: the most specific of its categories decides.
 */
export function pageKindIndex(categories: number): number {
  if (categories & PAGE_IS_GUARD) return 5;
  if (categories & PAGE_IS_PFNZERO) return 3;
  if (categories & PAGE_IS_HUGE) return 0;
  if (categories & PAGE_IS_SWAPPED) return 4;
  return categories & PAGE_IS_FILE ? 2 : 1;
}

/**
 * The categories that a page counts under: the reported ones, without a SWAPPED that is not swap. Write
 * tracking of shared or hugetlb memory (ours, too) leaves markers where there is no page, and the kernel
 * reports them as SWAPPED. Pages of shared memory that are really swapped out are so in the file, and no scan
 * reports them; huge pages are never swapped out whole.
 *
 * @returns 0 when nothing is there
 */
export function countedCategories(categories: number, shared: boolean): number {
  if (!(categories & PAGE_IS_SWAPPED) || categories & (PAGE_IS_PRESENT | PAGE_IS_GUARD)) return categories;
  if (categories & PAGE_IS_HUGE) return categories & ~PAGE_IS_SWAPPED;
  return shared ? 0 : categories;
}
