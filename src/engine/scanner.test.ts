import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import {
  HUGE_PAGE_SIZE,
  mman,
  PAGE_IS_HUGE,
  PAGE_IS_PRESENT,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  type PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  RegionBuffer,
} from '../abi/index.js';
import { AddressSpace } from '../sim/index.js';

const START = 0x200000000000;

/** Private anonymous memory at START, registered with a userfaultfd. */
function registered(pages: number, options: ConstructorParameters<typeof AddressSpace>[0] = {}) {
  const space = new AddressSpace(options);
  const length = pages * PAGE_SIZE;
  space.mmap({ address: START, lengthBytes: length });
  const uffd = space.userfaultfd();
  uffd.register(START, length);
  return { space, uffd, end: START + length };
}

const page = (index: number): number => START + index * PAGE_SIZE;
const WRITTEN = { categoryMask: PAGE_IS_WRITTEN, returnMask: PAGE_IS_WRITTEN };

function failure(run: () => unknown): PagemapError {
  try {
    run();
  } catch (error) {
    return error as PagemapError;
  }
  throw new Error('nothing was thrown');
}

describe('legs of 512 regions', () => {
  /** Every second page present: one region each. */
  function striped(pages: number) {
    const made = registered(pages);
    made.space.write(START, pages * PAGE_SIZE, 2);
    return made;
  }

  const present = { categoryMask: PAGE_IS_PRESENT, returnMask: PAGE_IS_PRESENT };

  test('walk_end stays where the last flush was when the leg after it is not stopped', () => {
    const { space, end } = striped(2000);
    const output = new RegionBuffer(5000);
    const { regions, walkEnd } = space.pagemap.scan({ start: START, end, ...present }, output);
    expect(regions).toBe(1000);
    expect(walkEnd).toBe(page(1024));
  });

  test('a full output ends the walk at the next match', () => {
    const { space, end } = striped(2000);
    const output = new RegionBuffer(600);
    const { regions, walkEnd } = space.pagemap.scan({ start: START, end, ...present }, output);
    expect(regions).toBe(600);
    expect(walkEnd).toBe(page(1200));
  });

  test('regions do not grow across a flush', () => {
    const { space } = striped(1024);
    // From page 1024 on all is present, so that the last region of the first leg is page 1022 and so on.
    space.write(page(1022), 2 * PAGE_SIZE);
    const output = new RegionBuffer(2000);
    const { regions } = space.pagemap.scan({ start: START, end: page(1024), ...present }, output);
    expect(regions).toBe(512);
    expect(output.pages(511)).toBe(2);
  });

  test('an aborted signal ends the scan between legs, with EINTR', () => {
    const abort = new AbortController();
    const { space, end } = registered(16, { signal: abort.signal });
    const output = new RegionBuffer(4);
    expect(space.pagemap.scan({ start: START, end, ...WRITTEN }, output).regions).toBe(1);
    abort.abort();
    const error = failure(() => space.pagemap.scan({ start: START, end, ...WRITTEN }, output));
    expect(error.code).toBe('EINTR');
    expect(error.walkEnd).toBe(end);
  });
});

describe('errors', () => {
  test('EPERM: what came before is output and protected', () => {
    const { space, end } = registered(4);
    space.mmap({ address: end, lengthBytes: PAGE_SIZE });
    space.write(START, 4 * PAGE_SIZE);
    const output = new RegionBuffer(8);
    const flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
    const error = failure(() =>
      space.pagemap.scan({ start: START, end: end + PAGE_SIZE, flags, ...WRITTEN }, output),
    );
    expect(error.code).toBe('EPERM');
    expect(error.walkEnd).toBe(end + PAGE_SIZE);
    expect(output.length).toBe(1);
    expect(space.pagemap.scan({ start: START, end, ...WRITTEN }, output).regions).toBe(0);
  });

  test('EFAULT on the output overrides EPERM', () => {
    const { space, end } = registered(4);
    space.mmap({ address: end, lengthBytes: PAGE_SIZE });
    space.write(START, PAGE_SIZE);
    const request = { start: START, end: end + PAGE_SIZE, flags: PM_SCAN_CHECK_WPASYNC, ...WRITTEN };
    const bad = { override: { vec: PAGE_SIZE, vecLen: 8 } };
    expect(failure(() => space.pagemap.scan({ ...request, ...bad }, null)).code).toBe('EFAULT');
  });

  test('an output smaller than it claims to be is EFAULT, not an overrun', () => {
    const { space, end } = registered(64);
    space.write(START, 64 * PAGE_SIZE, 2);
    const request = { start: START, end, categoryMask: PAGE_IS_PRESENT, override: { vecLen: 100 } };
    expect(failure(() => space.pagemap.scan(request, new RegionBuffer(4))).code).toBe('EFAULT');
  });
});

describe('huge pages', () => {
  test('a part that is to be protected splits a transparent huge page, after its output was taken back', () => {
    const { space } = registered(512 * 2);
    space.madvise(START, 2 * HUGE_PAGE_SIZE, mman.MADV_HUGEPAGE);
    space.write(START, 2 * HUGE_PAGE_SIZE);
    const output = new RegionBuffer(8);
    const all = { returnMask: 0x7f };
    const { walkEnd } = space.pagemap.scan(
      { start: START, end: page(1024), flags: PM_SCAN_WP_MATCHING, maxPages: 700, ...all },
      output,
    );
    expect(walkEnd).toBe(page(700));
    expect([...output].map(({ start, end, categories }) => [start, end, categories & PAGE_IS_HUGE])).toEqual([
      [START, page(512), PAGE_IS_HUGE],
      [page(512), page(700), 0],
    ]);
    space.pagemap.scan({ start: START, end: page(1024), ...WRITTEN }, output);
    expect([...output]).toEqual([{ start: page(700), end: page(1024), categories: PAGE_IS_WRITTEN }]);
  });

  test('a part of a hugetlb page is passed over without an error, and walk_end says where', () => {
    const space = new AddressSpace();
    space.mmap({ address: START, lengthBytes: 2 * HUGE_PAGE_SIZE, hugetlb: true });
    space.write(START, 2 * HUGE_PAGE_SIZE);
    space.userfaultfd().register(START, 2 * HUGE_PAGE_SIZE);
    const output = new RegionBuffer(8);
    const request = { start: START, end: page(600), flags: PM_SCAN_WP_MATCHING, ...WRITTEN };
    const { regions, walkEnd } = space.pagemap.scan(request, output);
    expect(regions).toBe(1);
    expect(output.end(0)).toBe(page(512));
    expect(walkEnd).toBe(page(512));
  });
});

describe('cost', () => {
  test('a scan allocates nothing per page', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const pages = 65536;
    const { space, uffd, end } = registered(pages);
    space.write(START, pages * PAGE_SIZE, 3);
    uffd.writeProtect(START, (pages / 2) * PAGE_SIZE, true);
    const output = new RegionBuffer(pages);
    const requests = [
      { start: START, end, ...WRITTEN },
      { start: START, end, returnMask: 0x7f },
      { start: START, end, flags: PM_SCAN_WP_MATCHING, categoryMask: PAGE_IS_PRESENT },
    ];
    const scanAll = (): void => {
      for (const request of requests) space.pagemap.scan(request, output);
    };
    for (let warm = 0; warm < 20; warm++) scanAll();
    // Few enough that objects of 16 bytes a page would not yet make the collector run and hide themselves.
    // The least of some attempts: what the compiler allocates while it is still at work is not the engine's.
    let least = Number.POSITIVE_INFINITY;
    // Less than half a byte a page, of nine scans: an object for each page would be 36 times that, what the test runner itself allocates
    // meanwhile is less.
    const most = 4 * pages;
    for (let attempt = 0; attempt < 30 && least >= most; attempt++) {
      collect();
      const before = process.memoryUsage().heapUsed;
      for (let round = 0; round < 3; round++) scanAll();
      least = Math.min(least, process.memoryUsage().heapUsed - before);
    }
    expect(least).toBeLessThan(most);
  });

  test('a populated page costs at most 20 bytes without contents', () => {
    const pages = 262_144;
    const space = new AddressSpace();
    space.mmap({ address: START, lengthBytes: pages * PAGE_SIZE });
    space.write(START, pages * PAGE_SIZE);
    expect(space.residentPages).toBe(pages);
    expect(space.overheadBytes / pages).toBeLessThanOrEqual(20);
  });
});
