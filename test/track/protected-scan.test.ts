/** A scan that fails midway has protected pages already: none of them may go unreported. */
import { describe, expect } from 'vitest';
import { mman, RegionBuffer } from '../../src/abi/index.js';
import { mapMemory, openPagemap, pageSize, SafeAccess, Userfaultfd } from '../../src/live/index.js';
import { ALL_WRITTEN, collectRange, existingWritten, Unregistered } from '../../src/track/protected-scan.js';
import { testWhere } from '../support/needs.js';

const PAGES = 3000;

describe.each([1, 7, 512, 513, 1024, 8192])('an output of %i regions', (capacity) => {
  testWhere('pagemap-scan', 'wp-async')('all that lies before unregistered memory is reported', () => {
    using memory = mapMemory({ lengthBytes: (PAGES + 10) * pageSize() });
    memory.advise(mman.MADV_NOHUGEPAGE);
    using access = new SafeAccess();
    using faults = Userfaultfd.open();
    using pagemap = openPagemap('self');
    faults.register(memory.address, PAGES * pageSize());
    const output = new RegionBuffer(capacity);
    for (const masks of [ALL_WRITTEN, existingWritten(false, 0)]) {
      faults.writeProtect(memory.address, PAGES * pageSize());
      for (const writes of [0, 1, 511, 512, 513, 1000, 1024, 1499]) {
        for (let index = 0; index < writes; index++)
          access.write(memory.address + (3 + index * 2) * pageSize(), 1);
        const pages: number[] = [];
        const collect = () =>
          collectRange(pagemap, memory.address, memory.end, masks, output, (start, end) => {
            for (let at = start; at < end; at += pageSize()) pages.push((at - memory.address) / pageSize());
          });
        expect(collect).toThrow(Unregistered);
        expect(pages).toEqual(Array.from({ length: writes }, (_, index) => 3 + index * 2));
        pages.length = 0;
        expect(collect).toThrow(Unregistered);
        expect(pages).toEqual([]);
      }
    }
  });
});
