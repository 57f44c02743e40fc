/**
 * Which memory of a process was referenced, by mapping, for kernels that cannot tell accesses by page (before Linux
 * 7.3). The processor notes in each page table entry whether it was used, and /proc/PID/smaps counts those entries.
 */
import { writeFileSync } from 'node:fs';
import { type ProcessHandle, pageSize } from '../live/index.js';
import { parseSmaps } from '../proc/index.js';
import type { MappingIdleness } from './access-statistics.js';

/** What clear_refs takes for: clear the referenced bits of all pages (man proc_pid_clear_refs). */
const CLEAR_REFERENCED = '1';

/** Resident and referenced pages of a process, in pages of `pageSize()`. */
export interface ReferencedPages {
  readonly residentPages: number;
  readonly referencedPages: number;
  readonly mappings: readonly MappingIdleness[];
}

/**
 * Clears the referenced bits of a process's pages. The kernel's reclaim uses the same bits: it loses what it knew about
 * this process's memory, and may reclaim pages that are in use before others, until they are used again.
 *
 * @throws ProcessError 'not-permitted', 'ended'
 * @example
 * ```ts
 * import { mapMemory, pageSize, ProcessHandle } from 'pagemap-scan/live';
 * import { findMapping } from 'pagemap-scan/proc';
 * import { clearReferenced, readReferenced } from 'pagemap-scan/track';
 * using memory = mapMemory({ lengthBytes: 256 * pageSize() });
 * new Uint8Array(memory.view()).fill(1);
 * using handle = new ProcessHandle('self');
 * clearReferenced(handle);
 * console.assert(findMapping(readReferenced(handle).mappings, memory.address)!.idlePages >= 256);
 * ```
 */
export function clearReferenced(handle: ProcessHandle): void {
  try {
    writeFileSync(handle.path('clear_refs'), CLEAR_REFERENCED);
  } catch (error) {
    throw handle.problem(error, `clear the referenced bits of process ${handle.pid}`);
  }
}

/**
 * Counts the pages that were referenced since the bits were cleared. It is coarse: by mapping, without addresses. Pages
 * that only the kernel or another process referenced do not count.
 *
 * @throws ProcessError 'ended', 'not-permitted'
 * @example
 * ```ts
 * import { mapMemory, pageSize, ProcessHandle } from 'pagemap-scan/live';
 * import { findMapping } from 'pagemap-scan/proc';
 * import { readReferenced } from 'pagemap-scan/track';
 * using memory = mapMemory({ lengthBytes: 256 * pageSize() });
 * new Uint8Array(memory.view()).fill(1);
 * using handle = new ProcessHandle('self');
 * const { mappings, referencedPages } = readReferenced(handle);
 * console.assert(findMapping(mappings, memory.address)!.accessedPages >= 256 && referencedPages >= 256);
 * ```
 */
export function readReferenced(handle: ProcessHandle): ReferencedPages {
  const pageBytes = pageSize();
  let residentPages = 0;
  let referencedPages = 0;
  const mappings: MappingIdleness[] = [];
  for (const { start, end, name, sizes } of parseSmaps(handle.read('smaps'))) {
    const resident = (sizes.Rss ?? 0) / pageBytes;
    const referenced = Math.min(resident, (sizes.Referenced ?? 0) / pageBytes);
    if (resident === 0) continue;
    residentPages += resident;
    referencedPages += referenced;
    mappings.push({
      start,
      end,
      name,
      residentPages: resident,
      accessedPages: referenced,
      idlePages: resident - referenced,
    });
  }
  return { residentPages, referencedPages, mappings };
}
