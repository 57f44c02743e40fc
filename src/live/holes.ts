/** What differs between kernels in what scans of tracked memory say. */
import { PAGE_IS_WRITTEN, PM_SCAN_CHECK_WPASYNC, RegionBuffer } from '../abi/index.js';
import { hugePageSize, pageSize } from './libc.js';
import { mapMemory } from './memory.js';
import { openPagemap } from './pagemap.js';
import { Userfaultfd } from './userfaultfd.js';

let answer: boolean | undefined;

/**
 * Whether a hole in the page tables of tracked memory shows as written, so that memory that was discarded as a whole does,
 * and so that scans protect what does not exist yet. Not so on Linux 6.7, and on 6.12 up to one of its stable updates; found
 * out on memory of our own. False where that is not possible.
 */
export function holesAreWritten(): boolean {
  if (answer !== undefined) return answer;
  try {
    // A whole table of entries, so that there is a hole in the tables above it, too.
    const tableBytes = hugePageSize();
    using memory = mapMemory({ lengthBytes: 2 * tableBytes, alignBytes: tableBytes });
    using faults = Userfaultfd.open();
    faults.register(memory.address, memory.lengthBytes);
    using pagemap = openPagemap('self');
    const buffer = new RegionBuffer(4);
    const range = { start: memory.address, end: memory.end };
    const masks = { categoryMask: PAGE_IS_WRITTEN, returnMask: PAGE_IS_WRITTEN };
    pagemap.scan({ ...range, ...masks, flags: PM_SCAN_CHECK_WPASYNC }, buffer);
    answer = buffer.totalPages() * pageSize() === memory.lengthBytes;
  } catch {
    answer = false;
  }
  return answer;
}
