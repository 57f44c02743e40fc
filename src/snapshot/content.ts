/** What is known of memory that has no page in a snapshot. */
import { firstIndex } from '../abi/internal.js';
import type { StoredMapping } from './manifest.js';
import { pageOf } from './page-table.js';
import { type PageSpan, uniteSpans } from './touches.js';

export function mappingAt(mappings: readonly StoredMapping[], address: number): StoredMapping | undefined {
  const index = firstIndex(mappings.length, (at) => mappings[at]!.mapping.end > address);
  const found = mappings[index];
  return found !== undefined && found.mapping.start <= address ? found : undefined;
}

/** The pages, ascending, that read as zeros where they are not kept. */
export function zeroSpans(mappings: readonly StoredMapping[]): PageSpan[] {
  return uniteSpans(
    mappings
      .filter(readsAsZeros)
      .map(({ mapping: { start, end } }): PageSpan => [pageOf(start), pageOf(end - 1) + 1]),
  );
}

/** Whether pages of it that are not kept are zero, and not left out. */
export function readsAsZeros({ holds, share, mapping }: StoredMapping): boolean {
  if (holds === 'pages') return true;
  // Memory that nobody has touched.
  return holds === 'nothing' && (share === 'written' || share === 'all') && mapping.inode === 0;
}
