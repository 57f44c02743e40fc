/** Kinds of pages that exclude each other, so that they add up: what bars and maps show. */
import {
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
} from '../abi/index.js';

/** In the order in which a bar shows them. `untouched` is what no scan reports: neither present nor swapped. */
export const PAGE_KINDS = ['huge', 'anonymous', 'file', 'zero', 'swapped', 'guard', 'untouched'] as const;
export type PageKind = (typeof PAGE_KINDS)[number];

/** Index into `PAGE_KINDS` of a page that is present or swapped, by its categories: the most telling one wins. */
export function pageKindIndex(categories: number): number {
  if (categories & PAGE_IS_GUARD) return 5;
  if (categories & PAGE_IS_PFNZERO) return 3;
  if (categories & PAGE_IS_HUGE) return 0;
  if (categories & PAGE_IS_SWAPPED) return 4;
  return categories & PAGE_IS_FILE ? 2 : 1;
}

/**
 * The categories that a page counts under: those that were reported, without a SWAPPED that is not swap. Whoever tracks the
 * writes of shared or hugetlb memory, we ourselves for one, leaves markers where there is no page, which the kernel reports
 * as SWAPPED. What is really swapped out of shared memory is so in its file, and not reported at all; huge pages are not
 * swapped out as such.
 *
 * @returns 0 when nothing is there
 */
export function countedCategories(categories: number, shared: boolean): number {
  if (!(categories & PAGE_IS_SWAPPED) || categories & (PAGE_IS_PRESENT | PAGE_IS_GUARD)) return categories;
  if (categories & PAGE_IS_HUGE) return categories & ~PAGE_IS_SWAPPED;
  return shared ? 0 : categories;
}
