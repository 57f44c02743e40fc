/**
 * What hangs kernels, for a machine that is thrown away: `node dangers.js WHAT plain` does it by the bare interface,
 * `node dangers.js WHAT library` does the same job with this library. Prints "begins", and "returned" when it comes back.
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import {
  HUGE_PAGE_SIZE,
  mman,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  RegionBuffer,
} from '../../src/abi/index.js';
import {
  createMemoryFile,
  mapMemory,
  openPagemap,
  probeCapabilities,
  SafeAccess,
  Userfaultfd,
} from '../../src/live/internal.js';
import { trackProcess } from '../../src/track/index.js';

const PAGES = 4;
/** Far from all other mappings: none shares a page table with it, so that it has none. */
const FAR = 0x600000000000;

/** hugetlb memory that nobody has touched; only the kind that can be shared is of those that are locked twice. */
function holes() {
  const fd = createMemoryFile('dangers', PAGES * HUGE_PAGE_SIZE, { huge: true });
  const memory = mapMemory({ lengthBytes: PAGES * HUGE_PAGE_SIZE, fd, shared: true, address: FAR });
  closeSync(fd);
  return memory;
}

/** A scan that protects, over such memory, by masks that holes match. */
function protectHoles(masks: { categoryMask: number; returnMask: number }): void {
  using memory = holes();
  using faults = Userfaultfd.open();
  using pagemap = openPagemap('self');
  faults.register(memory.address, memory.lengthBytes);
  const flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
  const { regions } = pagemap.scan(
    { start: memory.address, end: memory.end, flags, ...masks },
    new RegionBuffer(16),
  );
  console.log(`${regions} regions`);
}

/** A process with such memory: it tells where, waits for an order, writes a page of it, tells so. */
function holdHoles(): void {
  const memory = holes();
  const access = new SafeAccess();
  process.on('message', () => {
    access.write(memory.address + HUGE_PAGE_SIZE, 1);
    process.send!('written');
  });
  process.on('disconnect', () => process.exit());
  process.send!({ start: memory.address, end: memory.end });
}

async function trackHoles(): Promise<void> {
  const child = fork(import.meta.filename, ['hold-holes'], { execArgv: [] });
  const [{ start, end }] = (await once(child, 'message')) as [{ start: number; end: number }];
  {
    using tracker = await trackProcess(child.pid!);
    const writtenPages = () => {
      let pages = 0;
      tracker.collect((from, to) => {
        pages += Math.max(0, Math.min(to, end) - Math.max(from, start)) / PAGE_SIZE;
      });
      return pages;
    };
    const before = writtenPages();
    child.send('write');
    await once(child, 'message');
    console.log(`written: ${before}, then ${writtenPages()}, then ${writtenPages()}`);
  }
  child.disconnect();
  await once(child, 'exit');
}

/** Guard pages over protected pages of a file that were never populated. */
function guardMarkers(): void {
  const fd = createMemoryFile('dangers', PAGES * PAGE_SIZE);
  using memory = mapMemory({ lengthBytes: PAGES * PAGE_SIZE, fd, shared: true });
  closeSync(fd);
  using faults = Userfaultfd.open();
  faults.register(memory.address, memory.lengthBytes);
  faults.writeProtect(memory.address, memory.lengthBytes);
  try {
    memory.advise(mman.MADV_GUARD_INSTALL);
  } catch (error) {
    if (!(error instanceof PagemapError)) throw error;
    console.log(`no such advice: ${error.code}`);
  }
}

const works: Record<string, () => void | Promise<void>> = {
  // The masks that have a way of their own in the kernel, all masks empty, and what registered memory matches.
  'hole-written': () => protectHoles({ categoryMask: PAGE_IS_WRITTEN, returnMask: PAGE_IS_WRITTEN }),
  'hole-any': () => protectHoles({ categoryMask: 0, returnMask: 0 }),
  'hole-allowed': () => protectHoles({ categoryMask: PAGE_IS_WPALLOWED, returnMask: PAGE_IS_WRITTEN }),
  'hole-library': trackHoles,
  'hold-holes': holdHoles,
  guard: guardMarkers,
  'guard-library': async () => void (await probeCapabilities()),
};

if (process.argv[2] !== 'hold-holes') console.log('begins');
await works[process.argv[2]!]!();
if (process.argv[2] !== 'hold-holes') console.log('returned');
