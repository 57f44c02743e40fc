/**
 * The masks to look at all pages with: first those with all categories, then with fewer, where some cannot be
 * told here.
 */
import {
  NotSupportedError,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  UnknownCategoryError,
} from '../abi/index.js';
import { PAGE_KINDS } from './kinds.js';
import { SUMMARY_ANYOF, SUMMARY_RETURN } from './summary.js';

export interface LookMasks {
  readonly categoryAnyofMask: number;
  readonly returnMask: number;
  /** The categories that these masks cannot count, as a bit set. */
  readonly unknown: number;
}

/** Who answers, as far as it matters here: a `LivePagemap` does. */
export interface Answerer {
  readonly provider: 'ioctl' | 'fallback';
  readonly categories: number;
}

/**
 * The masks to try, in this order. The fallback cannot always tell which pages are huge, least of all for
 * pages that do not exist.
 */
export function lookMasks({ provider, categories }: Answerer): LookMasks[] {
  const known = SUMMARY_RETURN & categories;
  const attempts = [
    [SUMMARY_ANYOF, known],
    [SUMMARY_ANYOF & ~PAGE_IS_HUGE, known],
    [SUMMARY_ANYOF & ~PAGE_IS_HUGE, known & ~PAGE_IS_HUGE],
  ] as const;
  // The ioctl of a kernel that does not know guard pages is taken to have none.
  const none = provider === 'ioctl' ? PAGE_IS_GUARD : 0;
  return attempts.map(([categoryAnyofMask, returnMask]) => ({
    categoryAnyofMask,
    returnMask,
    unknown: SUMMARY_RETURN & ~returnMask & ~none,
  }));
}

/** Whether something was asked for that cannot be told: by a kernel, or of a snapshot. */
const isUnknown = (error: unknown) =>
  error instanceof UnknownCategoryError || error instanceof NotSupportedError;

/** Tries one after the other, until one asks only for what can be told. */
export async function lookWith<Masks extends LookMasks | undefined, Result>(
  attempts: readonly Masks[],
  look: (masks: Masks) => Promise<Result>,
): Promise<Result> {
  for (const [index, masks] of attempts.entries()) {
    try {
      return await look(masks);
    } catch (error) {
      if (!isUnknown(error) || index === attempts.length - 1) throw error;
    }
  }
  throw new RangeError('Cannot look without masks');
}

const KIND_CATEGORIES: Readonly<Record<string, number>> = {
  huge: PAGE_IS_HUGE,
  zero: PAGE_IS_PFNZERO,
  guard: PAGE_IS_GUARD,
};

/**
 * Counts by `PAGE_KINDS`, null for kinds that cannot be told, because 0 would be an answer. Such pages count
 * under another kind.
 */
export function withUnknown(pages: readonly number[], unknown: number): readonly (number | null)[] {
  if (unknown === 0) return pages;
  return pages.map((count, kind) => ((KIND_CATEGORIES[PAGE_KINDS[kind]!] ?? 0) & unknown ? null : count));
}
