/** The live provider: its answers beside /proc/PID/pagemap's, its errors, and what it leaves behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import {
  HUGE_PAGE_SIZE,
  mman,
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  type PagemapError,
  PM_SCAN_ARG,
  RegionBuffer,
  uffd,
} from '../../src/abi/index.js';
import {
  createMemoryFile,
  findProcesses,
  kernelCategories,
  type LivePagemap,
  mapMemory,
  namedProcesses,
  openPagemap,
  ProcessError,
  ProcessHandle,
  probeCapabilities,
  SafeAccess,
  Userfaultfd,
  userSpaceEnd,
} from '../../src/live/internal.js';
import { libc } from '../../src/live/libc.js';
import {
  isPagemapFile,
  isPagemapGuard,
  isPagemapPresent,
  isPagemapSwapped,
  isPagemapUffdWp,
} from '../../src/proc/index.js';
import { regions } from '../../src/query/index.js';
import { openDescriptors } from '../support/descriptors.js';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { startTarget } from '../support/target.js';
import { undisturbed } from '../support/undisturbed.js';
import { startZombie } from '../support/zombie.js';

const live = testWhere('pagemap-scan');

/** Every page's categories by the ioctl. */
function byScan(pagemap: LivePagemap, start: number, end: number): number[] {
  const list = Array.from({ length: (end - start) / PAGE_SIZE }, () => 0);
  const query = { start, end, returnMask: kernelCategories() };
  for (const region of regions(pagemap, query)) {
    const from = (region.start - start) / PAGE_SIZE;
    list.fill(region.categories, from, from + (region.end - region.start) / PAGE_SIZE);
  }
  return list;
}

describe('agrees with the words of /proc/self/pagemap', () => {
  /** What the words tell, too, as categories. */
  function byWords(pagemap: LivePagemap, start: number, end: number): number[] {
    const words = new Uint32Array(((end - start) / PAGE_SIZE) * 2);
    expect(pagemap.readWords(start, words)).toBe(words.length / 2);
    return Array.from({ length: words.length / 2 }, (_, page) => {
      const high = words[page * 2 + 1]!;
      return (
        (isPagemapPresent(high) ? PAGE_IS_PRESENT : 0) |
        (isPagemapSwapped(high) ? PAGE_IS_SWAPPED : 0) |
        (isPagemapFile(high) ? PAGE_IS_FILE : 0) |
        (isPagemapGuard(high) ? PAGE_IS_GUARD : 0) |
        (isPagemapUffdWp(high) ? 0 : PAGE_IS_WRITTEN)
      );
    });
  }

  function check(address: number, pages: number, mask: number): number[] {
    using pagemap = openPagemap('self');
    const end = address + pages * PAGE_SIZE;
    const scanned = byScan(pagemap, address, end).map((categories) => categories & mask);
    expect(scanned).toEqual(byWords(pagemap, address, end).map((categories) => categories & mask));
    return scanned;
  }

  const BASIC = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_FILE;

  live('anonymous memory, written and read here and there', () => {
    using memory = mapMemory({ lengthBytes: 2000 * PAGE_SIZE });
    memory.advise(mman.MADV_NOHUGEPAGE);
    using access = new SafeAccess();
    for (let page = 0; page < 2000; page += 3) access.write(memory.address + page * PAGE_SIZE);
    for (let page = 0; page < 2000; page += 5) access.read(memory.address + page * PAGE_SIZE);
    const present = check(memory.address, 2000, BASIC).filter((categories) => categories & PAGE_IS_PRESENT);
    expect(present).toHaveLength(667 + 400 - 134);
  });

  live('a memory file, mapped shared', () => {
    const fd = createMemoryFile('words', 500 * PAGE_SIZE);
    using memory = mapMemory({ lengthBytes: 500 * PAGE_SIZE, fd, shared: true });
    closeSync(fd);
    using access = new SafeAccess();
    for (let page = 0; page < 500; page += 2) access.write(memory.address + page * PAGE_SIZE);
    expect(
      check(memory.address, 500, BASIC).filter((found) => found === (PAGE_IS_FILE | PAGE_IS_PRESENT)),
    ).toHaveLength(250);
  });

  testWhere('pagemap-scan', 'category-huge')('transparent huge pages', () => {
    using memory = mapMemory({ lengthBytes: 2 * HUGE_PAGE_SIZE, alignBytes: HUGE_PAGE_SIZE });
    memory.advise(mman.MADV_HUGEPAGE);
    using access = new SafeAccess();
    access.write(memory.address + 5 * PAGE_SIZE);
    expect(check(memory.address, 1024, BASIC).filter(Boolean)).toHaveLength(512);
    using pagemap = openPagemap('self');
    expect(byScan(pagemap, memory.address, memory.end).filter((found) => found & PAGE_IS_HUGE)).toHaveLength(
      512,
    );
  });

  testWhere('pagemap-scan', 'category-guard')('guard pages', () => {
    using memory = mapMemory({ lengthBytes: 16 * PAGE_SIZE });
    memory.advise(mman.MADV_GUARD_INSTALL, 4 * PAGE_SIZE, 4 * PAGE_SIZE);
    const found = check(memory.address, 16, PAGE_IS_GUARD | PAGE_IS_SWAPPED);
    expect(found.slice(4, 8)).toEqual(Array(4).fill(PAGE_IS_GUARD | PAGE_IS_SWAPPED));
  });

  testWhere('pagemap-scan', 'wp-async')('write-protected pages, populated and not', () => {
    using memory = mapMemory({ lengthBytes: 1000 * PAGE_SIZE });
    memory.advise(mman.MADV_NOHUGEPAGE);
    using access = new SafeAccess();
    for (let page = 0; page < 1000; page += 2) access.write(memory.address + page * PAGE_SIZE);
    using faults = Userfaultfd.open();
    faults.register(memory.address, memory.lengthBytes);
    faults.writeProtect(memory.address, memory.lengthBytes);
    for (let page = 0; page < 1000; page += 7) access.write(memory.address + page * PAGE_SIZE);
    const found = check(memory.address, 1000, BASIC | PAGE_IS_WRITTEN);
    expect(found.filter((categories) => categories & PAGE_IS_WRITTEN)).toHaveLength(143);
  });

  testWhere('pagemap-scan', 'root')('all of this process, as far as mappings stand still', async () => {
    using pagemap = openPagemap('self');
    let pages = 0;
    for (const mapping of pagemap.mappings()) {
      // The heap and the stack of the test itself change under it; files and their code do not.
      if (!mapping.perms.startsWith('r-x') || mapping.inode === 0) continue;
      const by = (look: typeof byWords) => () =>
        look(pagemap, mapping.start, mapping.end).map((found) => found & BASIC);
      const { answer, expected } = await undisturbed(`The code of ${mapping.name}`, by(byWords), by(byScan));
      expect(answer).toEqual(expected);
      pages += expected.length;
    }
    expect(pages).toBeGreaterThan(1000);
  });
});

describe('iteration while mappings come and go', () => {
  testWhere('pagemap-scan', 'compiler')('what stays is reported once and whole, every time', async () => {
    await using target = await startTarget('churn', [], { flags: ['-pthread'] });
    using pagemap = openPagemap(target.pid);
    const buffer = new RegionBuffer(3);
    for (let round = 0; round < 300; round++) {
      let last = 0;
      let inside = 0;
      const query = {
        start: 0,
        end: userSpaceEnd(),
        // The kernel may move a page to another place in memory: while it does, the page is not present.
        categoryAnyofMask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
      };
      for (const { start, end } of regions(pagemap, query, { buffer })) {
        expect(start).toBeGreaterThanOrEqual(last);
        expect(end).toBeGreaterThan(start);
        last = end;
        inside += Math.max(0, Math.min(end, target.end) - Math.max(start, target.start));
      }
      expect(inside).toBe(target.end - target.start);
      if (round % 50 === 0) expect(pagemap.mappings().some(({ start }) => start <= target.start)).toBe(true);
    }
  });
});

describe('errors', () => {
  function problem(work: () => unknown): ProcessError {
    try {
      work();
    } catch (error) {
      if (error instanceof ProcessError) return error;
      throw error;
    }
    throw new Error('nothing was thrown');
  }

  /** What comes of it, or the reason why it cannot be. */
  function outcome<T>(work: () => T): T | string {
    try {
      return work();
    } catch (error) {
      if (error instanceof ProcessError) return error.reason;
      throw error;
    }
  }

  live.each([0, -1, 1.5, Number.NaN, 2 ** 31])('process %s is not found', (pid) => {
    expect(problem(() => openPagemap(pid))).toMatchObject({ reason: 'not-found', code: 'ESRCH' });
  });

  testWhere('pagemap-scan', 'kernel-threads')('a kernel thread has no memory', () => {
    expect(problem(() => openPagemap(2))).toMatchObject({ reason: 'kernel-thread', pid: 2 });
  });

  live('a zombie has none any more', async () => {
    await using zombie = await startZombie();
    expect(problem(() => openPagemap(zombie.pid))).toMatchObject({ reason: 'zombie', pid: zombie.pid });
  });

  testWhere('pagemap-scan', 'compiler')(
    'a process that exits is found out, whether the ioctl says so or finds nothing',
    async () => {
      const target = await startTarget('target', [10]);
      using pagemap = openPagemap(target.pid);
      expect(pagemap.ended).toBe(false);
      await target[Symbol.asyncDispose]();
      const { start, end } = target;
      expect(
        outcome(() => pagemap.scan({ start, end, returnMask: 8 }, new RegionBuffer(10)).regions),
      ).toBeOneOf([0, 'ended']);
      expect(pagemap.ended).toBe(true);
      expect(problem(() => pagemap.checkAlive())).toMatchObject({
        reason: 'ended',
        hint: 'the process has ended',
      });
      expect(problem(() => pagemap.mappings())).toMatchObject({ reason: 'ended' });
    },
  );

  testWhere('pagemap-scan', 'compiler')('a process that replaces its program is found out', async () => {
    await using target = await startTarget('target', [10]);
    using pagemap = openPagemap(target.pid);
    target.child.stdin.write('x');
    while (!pagemap.ended) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(problem(() => pagemap.checkAlive()).hint).toMatch(/replaced its program/);
  });

  live('a closed pagemap says so', () => {
    const pagemap = openPagemap('self');
    pagemap[Symbol.dispose]();
    pagemap[Symbol.dispose]();
    expect(() => pagemap.scan({ start: 0, end: 0 }, null)).toThrow('EBADF');
  });

  live('an output whose memory was given away is refused, not written to', () => {
    using pagemap = openPagemap('self');
    const output = new RegionBuffer(4);
    pagemap.scan({ start: 0, end: userSpaceEnd(), returnMask: 8 }, output);
    structuredClone(output.buffer, { transfer: [output.buffer as ArrayBuffer] });
    expect(() => pagemap.scan({ start: 0, end: userSpaceEnd(), returnMask: 8 }, output)).toThrow(TypeError);
  });

  live('what was disposed is not used again: its descriptor may be another file by now', () => {
    using memory = mapMemory({ lengthBytes: PAGE_SIZE });
    const access = new SafeAccess();
    const handle = new ProcessHandle(process.pid);
    const pagemap = openPagemap('self');
    const mapped = mapMemory({ lengthBytes: PAGE_SIZE });
    for (const thing of [access, handle, pagemap, mapped]) thing[Symbol.dispose]();
    const uses = [
      () => access.write(memory.address),
      () => access.read(memory.address),
      () => handle.read('stat'),
      () => handle.mappings(),
      () => pagemap.readWords(0, new Uint32Array(2)),
      () => pagemap.ended,
      () => mapped.advise(mman.MADV_DONTNEED),
      () => mapped.protect(mman.PROT_NONE),
      () => mapped.view(),
    ];
    for (const use of uses) expect(use).toThrow('EBADF');
  });

  live('numbers that are none, and room that is not there, are refused', () => {
    using pagemap = openPagemap('self');
    const output = new RegionBuffer(1);
    for (const start of [Number.NaN, 1.5, Number.POSITIVE_INFINITY, undefined as unknown as number]) {
      expect(() => pagemap.scan({ start, end: PAGE_SIZE }, output)).toThrow('EINVAL');
    }
    const everything = { start: 0, end: userSpaceEnd(), returnMask: 8 };
    expect(() => pagemap.scan({ ...everything, override: { vecLen: 2 } }, output)).toThrow(RangeError);
    expect(() => pagemap.scan({ ...everything, override: { vecLen: 2n } }, output)).toThrow(RangeError);
    for (const lengthBytes of [0, 100, 1.5, -PAGE_SIZE])
      expect(() => mapMemory({ lengthBytes })).toThrow('EINVAL');
    expect(() => mapMemory({ lengthBytes: PAGE_SIZE, alignBytes: 3 * PAGE_SIZE })).toThrow('EINVAL');
  });

  live('walkEnd is data when the walk had begun, and absent when it had not', () => {
    using pagemap = openPagemap('self');
    using memory = mapMemory({ lengthBytes: PAGE_SIZE });
    const failed = (request: Parameters<LivePagemap['scan']>[0]) => {
      try {
        pagemap.scan(request, new RegionBuffer(1));
      } catch (error) {
        return error as PagemapError;
      }
      throw new Error('nothing was thrown');
    };
    const range = { start: memory.address, end: memory.end };
    expect(failed({ ...range, flags: 2 })).toMatchObject({
      code: 'EPERM',
      walkEnd: memory.end,
      pid: process.pid,
    });
    expect(failed({ ...range, flags: 4 })).toMatchObject({ code: 'EINVAL', walkEnd: undefined });
  });

  live('an argument block that cannot be read is EFAULT', () => {
    using pagemap = openPagemap('self');
    const fd = pagemap.process.open('pagemap');
    expect(PM_SCAN_ARG.sizeBytes).toBe(96);
    for (const address of [0, PAGE_SIZE, userSpaceEnd()]) {
      expect([libc().ioctl(fd, 0xc0606610, address), libc().errno()]).toEqual([-1, 14]);
    }
    closeSync(fd);
  });

  live('the switch makes this kernel one without the ioctl', () => {
    process.env['PMSCAN_DISABLE_IOCTL'] = '1';
    try {
      expect(kernelCategories()).toBe(0);
      using pagemap = openPagemap('self');
      expect(pagemap.provider).toBe('fallback');
      process.env['PMSCAN_PROVIDER'] = 'ioctl';
      using unable = openPagemap('self');
      expect(() => unable.scan({ start: 0, end: 0 }, null)).toThrow(
        /ENOTTY \(this kernel has no PAGEMAP_SCAN/,
      );
    } finally {
      delete process.env['PMSCAN_PROVIDER'];
      delete process.env['PMSCAN_DISABLE_IOCTL'];
    }
  });
});

describe('userfaultfd', () => {
  const faulting = testWhere('wp-async');

  faulting('says what the kernel offers', () => {
    using faults = Userfaultfd.open({ features: 0 });
    expect(faults.availableFeatures & uffd.UFFD_FEATURE_WP_ASYNC).toBeTruthy();
  });

  faulting('its errors tell why', () => {
    using memory = mapMemory({ lengthBytes: 4 * PAGE_SIZE });
    using one = Userfaultfd.open();
    using other = Userfaultfd.open();
    one.register(memory.address, 2 * PAGE_SIZE);
    expect(() => other.register(memory.address, PAGE_SIZE)).toThrow('EBUSY');
    expect(() => one.writeProtect(memory.address, 4 * PAGE_SIZE)).toThrow('ENOENT');
    expect(() => one.register(memory.address + 1, PAGE_SIZE)).toThrow('EINVAL');
    expect(() => Userfaultfd.open({ features: 2 ** 40 })).toThrow('EINVAL');
    const closed = Userfaultfd.open();
    closed[Symbol.dispose]();
    expect(() => closed.register(memory.address, PAGE_SIZE)).toThrow('EBADF');
  });

  faulting('closing it ends registration and protection', () => {
    using memory = mapMemory({ lengthBytes: PAGE_SIZE });
    using pagemap = openPagemap('self');
    const categories = () => byScan(pagemap, memory.address, memory.end)[0]! & (PAGE_IS_WRITTEN | 1);
    {
      using faults = Userfaultfd.open();
      faults.register(memory.address, PAGE_SIZE);
      expect(categories()).toBe(PAGE_IS_WRITTEN | 1);
      faults.writeProtect(memory.address, PAGE_SIZE);
      expect(categories()).toBe(1);
      faults.writeProtect(memory.address, PAGE_SIZE, false);
      expect(categories()).toBe(PAGE_IS_WRITTEN | 1);
      faults.writeProtect(memory.address, PAGE_SIZE);
      faults.unregister(memory.address, PAGE_SIZE);
      faults.register(memory.address, PAGE_SIZE);
      faults.writeProtect(memory.address, PAGE_SIZE);
    }
    expect(categories()).toBe(PAGE_IS_WRITTEN);
  });
});

describe('nothing is left behind', () => {
  testWhere(
    'pagemap-scan',
    'wp-async',
    'compiler',
  )('descriptors', async () => {
    await probeCapabilities();
    const before = openDescriptors();
    for (let round = 0; round < 20; round++) {
      await using target = await startTarget('target', [10]);
      using pagemap = openPagemap(target.pid);
      pagemap.mappings();
      using faults = Userfaultfd.open();
      expect(faults.fd).toBeGreaterThan(2);
      using _access = new SafeAccess();
      for (const pid of [2, 999_999_999]) expect(() => openPagemap(pid)).toThrow();
      expect(() => Userfaultfd.open({ features: 2 ** 40 })).toThrow();
      expect(() => new ProcessHandle(999_999_999)).toThrow();
    }
    await probeCapabilities();
    // The streams of the ended children close on their own time.
    for (let wait = 0; wait < 200 && openDescriptors().length > before.length; wait++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(openDescriptors()).toEqual(before);
  });

  live('mappings and children of the probe', async () => {
    const names = () => openPagemap('self');
    await probeCapabilities();
    const count = () => {
      using pagemap = names();
      return pagemap.mappings().filter(({ name }) => name.includes('memfd:pagemap-scan')).length;
    };
    await probeCapabilities();
    expect(count()).toBe(0);
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim();
    expect(children).toBe('');
  });
});

live('processes are found by name, program and first argument', async () => {
  const child = spawn('sleep', ['1000'], { argv0: '/strange/pmscan-test-name' });
  await once(child, 'spawn');
  try {
    const mine = (name: string) => findProcesses(name).some(({ pid }) => pid === child.pid);
    expect([mine('sleep'), mine('pmscan-test-name'), mine('slee'), mine('')]).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect(findProcesses('pmscan-test-name')).toMatchObject([
      { commandLine: '/strange/pmscan-test-name 1000' },
    ]);
    expect(findProcesses('kthreadd')).toEqual([]);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

testWhere('compiler').each(['full', 'cleared'])(
  'processes that have overwritten their arguments are found all the same: %s',
  async (how) => {
    const child = spawn(nativeProgram('title'), [how], { argv0: 'pmscan-test-title' });
    const exited = once(child, 'exit');
    try {
      await firstOutput(child);
      const found = findProcesses('title').filter(({ pid }) => pid === child.pid);
      expect(found).toMatchObject([{ name: 'title' }]);
      expect(found[0]!.commandLine).toMatch(how === 'full' ? /^x{20,}$/ : /^$/);
      expect(findProcesses('pmscan-test-title')).toEqual([]);
      expect(namedProcesses().find(({ pid }) => pid === child.pid)!.names).not.toContain('');
    } finally {
      child.stdin.end();
      await exited;
    }
  },
);

testWhere('compiler')('processes whose main thread has ended are found, and zombies are not', async () => {
  await using target = await startTarget('leaderless', [], { flags: ['-pthread'] });
  expect(findProcesses('leaderless').map(({ pid }) => pid)).toContain(target.pid);
  await using zombie = await startZombie();
  expect(namedProcesses().map(({ pid }) => pid)).not.toContain(zombie.pid);
});
