/** What is known of memory that has no page in a snapshot. */
import { firstIndex } from '../abi/internal.js';
import type { StoredMapping } from './manifest.js';

export function mappingAt(mappings: readonly StoredMapping[], address: number): StoredMapping | undefined {
  const index = firstIndex(mappings.length, (at) => mappings[at]!.mapping.end > address);
  const found = mappings[index];
  return found !== undefined && found.mapping.start <= address ? found : undefined;
}

/** Whether pages of it that are not kept are zero, and not left out. */
export function readsAsZeros({ holds, share, mapping }: StoredMapping): boolean {
  if (holds === 'pages') return true;
  // Memory that nobody has touched.
  return holds === 'nothing' && (share === 'written' || share === 'all') && mapping.inode === 0;
}
