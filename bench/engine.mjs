// The engine beside the kernel's ioctl: the same layout in both, in turns, in one run. node bench/engine.mjs
import {
  mman,
  PAGE_IS_ACCESSED,
  PAGE_IS_PRESENT,
  PAGE_IS_WRITTEN,
  PM_SCAN_WP_MATCHING,
  RegionBuffer,
  uffd as uffdAbi,
} from 'pagemap-scan';
import { mapMemory, openPagemap, Userfaultfd } from 'pagemap-scan/live';
import { AddressSpace } from 'pagemap-scan/sim';
import { finish, header, median, milliseconds, record, time } from './harness.mjs';

const PAGE = 4096;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const TIB = 2 ** 40;
const PAGES = GIB / PAGE;
const TURNS = 25;
const REPEATS = 5;

header();

/** 1 GiB of present small pages in this process. */
const memory = mapMemory({ lengthBytes: GIB, alignBytes: 2 * MIB });
memory.advise(mman.MADV_NOHUGEPAGE);
memory.advise(mman.MADV_POPULATE_WRITE);
const faults = Userfaultfd.open();
faults.register(memory.address, GIB);
const live = {
  pagemap: openPagemap('self'),
  start: memory.address,
  end: memory.end,
  protect: (wp) => faults.writeProtect(memory.address, GIB, wp),
};

/** Pages in a simulated address space of `lengthBytes`: all of 1 GiB in pieces of 2 MiB, evenly spread. */
function simulate(lengthBytes) {
  const space = new AddressSpace();
  const start = space.mmap({ lengthBytes, address: 0x100000000000 });
  const stride = lengthBytes / (GIB / (2 * MIB));
  for (let at = 0; at < lengthBytes; at += stride) space.write(start + at, 2 * MIB);
  const uffd = space.userfaultfd();
  uffd.register(start, lengthBytes);
  return {
    space,
    pagemap: space.pagemap,
    start,
    end: start + lengthBytes,
    protect: (wp) => uffd.writeProtect(start, lengthBytes, wp),
  };
}

const dense = simulate(GIB);
const output = new RegionBuffer(1024);

function scan({ pagemap, start, end }, request, buffer) {
  return time(() => pagemap.scan({ start, end, ...request }, buffer));
}

/** Best times of two ways in turns; the ratio is the median over the turns. */
function compare(prepare, request, buffer, one, other) {
  const turns = [];
  for (let turn = 0; turn < TURNS; turn++) {
    const times = [one, other].map((target) => {
      let best = Number.POSITIVE_INFINITY;
      for (let repeat = 0; repeat < REPEATS; repeat++) {
        prepare?.(target);
        best = Math.min(best, scan(target, request, buffer));
      }
      return best;
    });
    turns.push({ one: times[0], other: times[1], ratio: times[0] / times[1] });
  }
  const of = (key) => median(turns.map((turn) => turn[key]));
  return { one: of('one'), other: of('other'), ratio: of('ratio') };
}

function detail({ one, other }, names = ['kernel', 'engine']) {
  const rate = (nanoseconds) => `${milliseconds(nanoseconds)}, ${(PAGES / nanoseconds).toFixed(2)} pages/ns`;
  return `${names[0]} ${rate(one)}; ${names[1]} ${rate(other)}`;
}

const written = { categoryMask: PAGE_IS_WRITTEN, returnMask: PAGE_IS_WRITTEN };
const everything = { returnMask: 0x7f };

for (const target of [live, dense]) target.protect(true);
let result = compare(undefined, written, output, live, dense);
record({
  name: 'WRITTEN-only scan of 1 GiB, protected: kernel time / engine time',
  value: result.ratio,
  limit: 1,
  better: 'higher',
  detail: detail(result),
});

result = compare(undefined, everything, output, live, dense);
record({
  name: 'Scan of all categories, 1 GiB: kernel time / engine time',
  value: result.ratio,
  limit: 10,
  better: 'higher',
  detail: detail(result),
});

result = compare((target) => target.protect(false), { flags: PM_SCAN_WP_MATCHING }, null, live, dense);
record({
  name: 'Protecting 1 GiB: kernel time / engine time',
  value: result.ratio,
  limit: 1,
  better: 'higher',
  detail: detail(result),
});

const sparse = simulate(TIB);
for (const [name, request] of [
  ['WRITTEN-only', written],
  ['all categories', everything],
]) {
  for (const target of [dense, sparse]) target.protect(false);
  // Each page is reported: the output must hold what 512 pieces give.
  const buffer = new RegionBuffer(4096);
  result = compare(undefined, request, buffer, sparse, dense);
  record({
    name: `1 TiB mapped, 1 GiB of it populated, ${name}: time / time of the dense GiB`,
    value: result.ratio,
    limit: 1.2,
    detail: detail(result, ['sparse', 'dense']),
  });
}

/** The same, as Linux 7.3 would have it: under read-write protection, every second 2 MiB accessed since. */
function simulateAccesses() {
  const space = new AddressSpace({ profile: '7.3' });
  const start = space.mmap({ lengthBytes: GIB, address: 0x100000000000 });
  space.write(start, GIB);
  const accesses = space.userfaultfd(uffdAbi.UFFD_FEATURE_RWP | uffdAbi.UFFD_FEATURE_RWP_ASYNC);
  accesses.register(start, GIB, uffdAbi.UFFDIO_REGISTER_MODE_RWP);
  accesses.rwProtect(start, GIB, true);
  for (let at = 0; at < GIB; at += 4 * MIB) space.read(start + at, 2 * MIB);
  return { pagemap: space.pagemap, start, end: start + GIB };
}

/** As `compare`, where each side is asked its own. */
function compareRequests(one, oneRequest, other, otherRequest) {
  const ask = (target, request) => ({
    start: target.start,
    end: target.end,
    pagemap: { scan: (range, buffer) => target.pagemap.scan({ ...range, ...request }, buffer) },
  });
  return compare(undefined, {}, output, ask(one, oneRequest), ask(other, otherRequest));
}

const accessed = simulateAccesses();
for (const [name, request] of [
  ['ACCESSED', { categoryMask: PAGE_IS_ACCESSED, returnMask: PAGE_IS_ACCESSED }],
  [
    'present & !accessed',
    {
      categoryInverted: PAGE_IS_ACCESSED,
      categoryMask: PAGE_IS_ACCESSED | PAGE_IS_PRESENT,
      returnMask: PAGE_IS_PRESENT,
    },
  ],
]) {
  result = compareRequests(live, everything, accessed, request);
  record({
    name: `Scan for ${name}, 1 GiB: time of the kernel's scan of all categories / engine time`,
    value: result.ratio,
    limit: 10,
    better: 'higher',
    detail: detail(result),
  });
}

record({
  name: 'Memory of the simulator without contents',
  value: dense.space.overheadBytes / PAGES,
  unit: 'bytes a populated page',
  limit: 20,
  detail: `${(dense.space.overheadBytes / MIB).toFixed(1)} MiB for ${PAGES} pages, room for growth included`,
});

live.pagemap[Symbol.dispose]();
faults[Symbol.dispose]();
memory[Symbol.dispose]();
finish();
