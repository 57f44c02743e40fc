/**
 * What this kernel and this user can do, found out by doing it: version numbers say little, since features are
 * backported, compiled out, and forbidden by containers.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import {
  CATEGORIES,
  type CategoryName,
  categoryNames,
  errnoName,
  mman,
  NotSupportedError,
  PAGE_IS_ACCESSED,
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SOFT_DIRTY,
  PAGE_IS_SWAPPED,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  PTRACE_SEIZE,
  RegionBuffer,
  uffd,
} from '../abi/internal.js';
import { programArgument } from '../parts/index.js';
import { fallbackKnowledge } from './fallback/knowledge.js';
import { hugePageSize, libc, pageSize } from './libc.js';
import { createMemoryFile, type MappedMemory, mapMemory, SafeAccess } from './memory.js';
import { IoctlPagemap, kernelCategories, openPagemap } from './pagemap.js';
import { inUserNamespace, mayReadAll, mayTraceAll, ptraceScope } from './permission.js';
import { ProcessHandle } from './process.js';
import { ASYNC_RWP_FEATURES, Userfaultfd } from './userfaultfd.js';

/** `unknown` means that it could not be found out here; `how` says why. */
export type Answer = 'yes' | 'no' | 'unknown';

/** One thing that this kernel and this user can or cannot do. */
export interface Capability {
  /** Stable: `pagemap-scan`, `category-huge`, `userfaultfd`, … */
  readonly id: string;
  /** A title for people. */
  readonly title: string;
  readonly answer: Answer;
  /** How the answer was found. */
  readonly how: string;
  /** What to do when the answer is not yes, where something can be done. */
  readonly advice?: string | undefined;
}

type Finding = Omit<Capability, 'id' | 'title'>;

const yes = (how: string): Finding => ({ answer: 'yes', how });
const no = (how: string, advice?: string): Finding => ({ answer: 'no', how, advice });
const unknown = (how: string, advice?: string): Finding => ({ answer: 'unknown', how, advice });

const OLD_KERNEL = 'needs Linux 6.7 or later';

function describe(error: unknown): string {
  return error instanceof PagemapError ? `${error.syscall} gave ${error.code}` : String(error);
}

/** Memory of each kind is made, one page of it is looked at. */
class Probe implements Disposable {
  readonly pagemap = new IoctlPagemap(new ProcessHandle(process.pid));
  readonly access = new SafeAccess();
  readonly accepted = kernelCategories();
  readonly #output = new RegionBuffer(16);

  /** Categories of the page at `address`, of those that the kernel accepts. */
  categories(address: number): number {
    const request = { start: address, end: address + pageSize(), returnMask: this.accepted };
    const { regions } = this.pagemap.scan(request, this.#output);
    return regions === 0 ? 0 : this.#output.categories(0);
  }

  [Symbol.dispose](): void {
    this.access[Symbol.dispose]();
    this.pagemap[Symbol.dispose]();
  }
}

function expectCategory(probe: Probe, memory: MappedMemory, bit: number, what: string): Finding {
  const seen = probe.categories(memory.address) & bit;
  return seen ? yes(`${what} was reported so`) : no(`${what} was not reported so`);
}

function probeSwapped(probe: Probe): Finding {
  using memory = mapMemory({ lengthBytes: pageSize() });
  probe.access.write(memory.address, 1);
  try {
    memory.advise(mman.MADV_PAGEOUT);
    if (probe.categories(memory.address) & PAGE_IS_SWAPPED)
      return yes('a page was swapped out and reported so');
  } catch {
    // MADV_PAGEOUT is not there (before Linux 5.4); a marker will do.
  }
  try {
    using faults = Userfaultfd.open();
    using marked = mapMemory({ lengthBytes: pageSize() });
    faults.register(marked.address, pageSize());
    faults.writeProtect(marked.address, pageSize());
    if (probe.categories(marked.address) & PAGE_IS_SWAPPED) {
      return yes('a write-protect marker was reported so; no page could be swapped out');
    }
  } catch {
    // Not permitted: nothing is left that could be swapped or marked.
  }
  return unknown(
    'no page could be swapped out',
    'add swap space (swapon), if you want swapped pages to be tried',
  );
}

/** Larger pages are not tried: nobody expects a look at what the kernel can to take that much. Bytes. */
const LARGEST_TRIED = 64 << 20;

function probeHuge(probe: Probe): Finding {
  if (hugePageSize() > LARGEST_TRIED)
    return unknown(`huge pages of ${hugePageSize() >> 20} MiB are too large to be tried`);
  using memory = mapMemory({ lengthBytes: hugePageSize(), alignBytes: hugePageSize() });
  try {
    memory.advise(mman.MADV_HUGEPAGE);
    probe.access.write(memory.address, 1);
    if (probe.categories(memory.address) & PAGE_IS_HUGE)
      return yes('a transparent huge page was reported so');
  } catch {
    // Built without transparent huge pages.
  }
  try {
    using hugetlb = mapMemory({ lengthBytes: hugePageSize(), hugetlb: true });
    if (probe.categories(hugetlb.address) & PAGE_IS_HUGE) return yes('a hugetlb page was reported so');
  } catch {
    // None free.
  }
  return unknown(
    'no huge page was available',
    'set /sys/kernel/mm/transparent_hugepage/enabled to madvise, or reserve pages in /proc/sys/vm/nr_hugepages',
  );
}

function probeGuard(probe: Probe): Finding {
  using memory = mapMemory({ lengthBytes: pageSize() });
  try {
    memory.advise(mman.MADV_GUARD_INSTALL);
  } catch (error) {
    return no(`the bit is accepted, but ${describe(error)}`, 'guard pages need Linux 6.13 or later');
  }
  return expectCategory(probe, memory, PAGE_IS_GUARD, 'a guard page');
}

function probeWpAllowed(probe: Probe): Finding {
  try {
    using faults = Userfaultfd.open();
    using memory = mapMemory({ lengthBytes: pageSize() });
    faults.register(memory.address, pageSize());
    return expectCategory(probe, memory, PAGE_IS_WPALLOWED, 'a registered page');
  } catch (error) {
    return unknown(`no page could be registered: ${describe(error)}`);
  }
}

/** Since Linux 7.3, WRITTEN is reported in mappings that are registered for write protection, and nowhere else. */
function probeWritten(probe: Probe): Finding {
  using memory = mapMemory({ lengthBytes: pageSize() });
  probe.access.write(memory.address, 1);
  try {
    using faults = Userfaultfd.open();
    faults.register(memory.address, pageSize());
    return expectCategory(probe, memory, PAGE_IS_WRITTEN, 'a registered page that was written');
  } catch (error) {
    const { answer, how } = expectCategory(probe, memory, PAGE_IS_WRITTEN, 'a page that was written');
    return answer === 'yes' ? yes(how) : unknown(`${how}, and none could be registered: ${describe(error)}`);
  }
}

function probeAccessed(probe: Probe): Finding {
  try {
    using faults = Userfaultfd.open({ features: ASYNC_RWP_FEATURES });
    using memory = mapMemory({ lengthBytes: pageSize() });
    faults.register(memory.address, pageSize(), uffd.UFFDIO_REGISTER_MODE_RWP);
    probe.access.read(memory.address);
    return expectCategory(probe, memory, PAGE_IS_ACCESSED, 'a page that was read');
  } catch (error) {
    return unknown(`no page could be registered: ${describe(error)}`);
  }
}

const CATEGORY_PROBES: Readonly<Record<CategoryName, (probe: Probe) => Finding>> = {
  wpallowed: probeWpAllowed,
  written: probeWritten,
  file(probe) {
    const fd = createMemoryFile('pagemap-scan probe', pageSize());
    try {
      using memory = mapMemory({ lengthBytes: pageSize(), fd, shared: true });
      probe.access.write(memory.address, 1);
      return expectCategory(probe, memory, PAGE_IS_FILE, "a memory file's page");
    } finally {
      closeSync(fd);
    }
  },
  present(probe) {
    using memory = mapMemory({ lengthBytes: pageSize() });
    probe.access.write(memory.address, 1);
    return expectCategory(probe, memory, PAGE_IS_PRESENT, 'a page that was written');
  },
  swapped: probeSwapped,
  pfnzero(probe) {
    using memory = mapMemory({ lengthBytes: pageSize() });
    probe.access.read(memory.address);
    return expectCategory(probe, memory, PAGE_IS_PFNZERO, 'an anonymous page that was only read');
  },
  huge: probeHuge,
  softdirty(probe) {
    using memory = mapMemory({ lengthBytes: pageSize() });
    probe.access.write(memory.address, 1);
    return probe.categories(memory.address) & PAGE_IS_SOFT_DIRTY
      ? yes('a page that was written was reported so')
      : no(
          'a page that was written was not reported so',
          'only kernels built with CONFIG_MEM_SOFT_DIRTY report it; WRITTEN does not need it',
        );
  },
  guard: probeGuard,
  accessed: probeAccessed,
};

/** Since when a kernel accepts the bits that came after Linux 6.7. */
const CATEGORY_SINCE: Partial<Record<CategoryName, string>> = {
  softdirty: 'it came after Linux 6.7',
  guard: 'it came with Linux 6.15',
  accessed: 'it came with Linux 7.3',
};

function probePagemapScan(): Finding {
  try {
    if (kernelCategories() !== 0) return yes('a scan of an empty range of this process succeeded');
    return no('ioctl(PAGEMAP_SCAN) on /proc/self/pagemap gave ENOTTY', OLD_KERNEL);
  } catch (error) {
    return unknown(describe(error));
  }
}

function probeFallback(): Finding {
  const { categories, refusals, softDirty } = fallbackKnowledge();
  // What no page can be is told, too, but tells nothing: soft-dirty bits have a line of their own, wpallowed has userfaultfd's.
  const tell = categories & ~(softDirty ? 0 : PAGE_IS_SOFT_DIRTY) & ~PAGE_IS_WPALLOWED;
  const told = `told from pagemap, maps and smaps: ${categoryNames(tell).join(', ')}`;
  const advice = [...refusals].map(([bit, { hint }]) => `${categoryNames(bit).join()}: ${hint}`);
  return { ...yes(told), advice: advice.length === 0 ? undefined : advice.join('; ') };
}

function probeSoftDirty(): Finding {
  return fallbackKnowledge().softDirty
    ? yes('a page of a new mapping that was written is soft-dirty')
    : no(
        'a page of a new mapping that was written is not soft-dirty',
        'only kernels built with CONFIG_MEM_SOFT_DIRTY have them; asynchronous write protection does not need them',
      );
}

function probeUserfaultfd(): Finding {
  try {
    using faults = Userfaultfd.open({ features: 0 });
    return yes(`got one by ${faults.source}`);
  } catch (error) {
    return no(describe(error), error instanceof PagemapError ? error.hint : undefined);
  }
}

function probeWpAsync(): Finding {
  let faults: Userfaultfd;
  try {
    faults = Userfaultfd.open();
  } catch (error) {
    const code = error instanceof PagemapError ? error.code : '';
    return code === 'EINVAL'
      ? no('userfaultfd refuses its features with EINVAL', OLD_KERNEL)
      : unknown(`no userfaultfd: ${describe(error)}`);
  }
  using _faults = faults;
  if (kernelCategories() === 0)
    return no('userfaultfd has it, but there is no ioctl to read the result', OLD_KERNEL);
  using probe = new Probe();
  using memory = mapMemory({ lengthBytes: pageSize() });
  const { address } = memory;
  faults.register(address, pageSize());
  const protect = { start: address, end: address + pageSize(), categoryMask: PAGE_IS_WRITTEN };
  probe.pagemap.scan({ ...protect, flags: PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC }, null);
  const before = probe.categories(address) & PAGE_IS_WRITTEN;
  probe.access.write(address, 1);
  const after = probe.categories(address) & PAGE_IS_WRITTEN;
  return before === 0 && after !== 0
    ? yes('a page was protected, reported unwritten, written, and reported written')
    : no(
        `a protected page was reported ${before ? 'written' : 'unwritten'}, then ${after ? 'written' : 'unwritten'}`,
      );
}

function probeHugetlb(): Finding {
  try {
    using _memory = mapMemory({ lengthBytes: hugePageSize(), hugetlb: true });
    return yes(`a hugetlb page of ${hugePageSize() >> 20} MiB was mapped`);
  } catch (error) {
    return no(describe(error), 'reserve some: echo 64 > /proc/sys/vm/nr_hugepages');
  }
}

/** Whether this user may trace processes that it did not start. */
function probeReach(): Finding {
  const scope = ptraceScope();
  if (mayTraceAll() && scope !== '3') {
    if (!mayReadAll()) return yes("without CAP_DAC_READ_SEARCH: this user's own processes");
    return inUserNamespace()
      ? yes('CAP_SYS_PTRACE in a user namespace: the processes inside')
      : yes('CAP_SYS_PTRACE: every process');
  }
  if (scope === undefined || scope === '0') return yes("without CAP_SYS_PTRACE: this user's own processes");
  if (scope === '1') {
    return no(
      'kernel.yama.ptrace_scope is 1: own descendants only',
      'run as root, give node CAP_SYS_PTRACE, or set it to 0 (sysctl kernel.yama.ptrace_scope=0)',
    );
  }
  return no(
    `kernel.yama.ptrace_scope is ${scope}`,
    scope === '3'
      ? 'nothing helps until the next boot: see /etc/sysctl.d'
      : 'run as root, or give node CAP_SYS_PTRACE',
  );
}

const PTRACE_ADVICE =
  'run as root or with CAP_SYS_PTRACE; in a container, allow the system call and add the capability (docker run --cap-add SYS_PTRACE)';

const PIDFD_ADVICE =
  'needs Linux 5.6 and the permission to trace; in a container, allow the system call (a current seccomp profile does with SYS_PTRACE)';

/** Takes a copy of the child's standard input, as tracking takes a process's userfaultfd. */
function probeGetfd(pid: number): Finding {
  const { syscall, numbers, errno } = libc();
  const pidfd = syscall(numbers.pidfd_open, pid, 0, 0, 0, 0, 0);
  if (pidfd < 0) return no(`pidfd_open on a child gave ${errnoName(errno())}`, PIDFD_ADVICE);
  try {
    const fd = syscall(numbers.pidfd_getfd, pidfd, 0, 0, 0, 0, 0);
    if (fd < 0) return no(`pidfd_getfd on a child gave ${errnoName(errno())}`, PIDFD_ADVICE);
    closeSync(fd);
    return yes('a descriptor of a child process was copied');
  } finally {
    closeSync(pidfd);
  }
}

/** The system calls that reach into another process, tried on a child that lives for just that long. */
async function probeChild(): Promise<{ ptrace: Finding; processVmReadv: Finding; pidfdGetfd: Finding }> {
  const child = spawn(process.execPath, [programArgument('live/idle')], { stdio: 'ignore' });
  // An error at spawn rejects both waits; the one that is awaited reports it.
  const exited = once(child, 'exit').catch(() => undefined);
  try {
    await once(child, 'spawn');
    const pid = child.pid!;
    const { syscall, numbers, errno, address } = libc();

    using pagemap = openPagemap(pid);
    const source = pagemap.mappings().find((mapping) => mapping.perms.startsWith('r'))!;
    const data = new ArrayBuffer(8);
    const [local, remote] = [new BigUint64Array(2), new BigUint64Array(2)];
    local.set([BigInt(address(data)), 8n]);
    remote.set([BigInt(source.start), 8n]);
    const read = syscall(
      numbers.process_vm_readv,
      pid,
      address(local.buffer),
      1,
      address(remote.buffer),
      1,
      0,
    );
    const processVmReadv =
      read === 8
        ? yes('8 bytes of a child process were read')
        : no(`process_vm_readv on a child gave ${errnoName(errno())}`, PTRACE_ADVICE);

    const pidfdGetfd = probeGetfd(pid);
    const seized = syscall(numbers.ptrace, PTRACE_SEIZE, pid, 0, 0, 0, 0);
    const ptrace =
      seized === 0
        ? yes('a child process was seized')
        : no(`PTRACE_SEIZE on a child gave ${errnoName(errno())}`, PTRACE_ADVICE);
    return { ptrace, processVmReadv, pidfdGetfd };
  } catch (error) {
    const finding = unknown(`no child process could be tried: ${describe(error)}`);
    return { ptrace: finding, processVmReadv: finding, pidfdGetfd: finding };
  } finally {
    child.kill('SIGKILL');
    if (child.pid !== undefined) await exited;
  }
}

function guarded(probe: () => Finding): Finding {
  try {
    return probe();
  } catch (error) {
    if (error instanceof NotSupportedError) return no(`it takes ${error.needs}`, error.hint);
    return unknown(`the probe failed: ${describe(error)}`);
  }
}

/**
 * Tries every kernel feature that this library needs. For each, it says whether it works here, how that was found out,
 * and what to do if not. It leaves nothing behind, and takes some 50 ms, most of it for a child process.
 *
 * @throws PagemapError ENOSYS where this is no Linux or koffi is missing
 * @example
 * ```ts
 * import { probeCapabilities } from 'pagemap-scan';
 * const capabilities = await probeCapabilities();
 * for (const { title, answer, advice } of capabilities) console.log(answer, title, advice ?? '');
 * ```
 */
export async function probeCapabilities(): Promise<Capability[]> {
  libc();
  const found: Capability[] = [];
  const add = (id: string, title: string, finding: Finding) => found.push({ id, title, ...finding });

  const scan = probePagemapScan();
  add('pagemap-scan', 'the PAGEMAP_SCAN ioctl', scan);

  for (const { name, bit } of CATEGORIES) {
    const title = `category ${name}`;
    if (scan.answer !== 'yes') {
      add(`category-${name}`, title, { answer: scan.answer, how: 'the ioctl is not there to ask' });
    } else if (!(kernelCategories() & bit)) {
      const since = CATEGORY_SINCE[name];
      add(`category-${name}`, title, no('this kernel refuses the bit with EINVAL', since));
    } else {
      const finding = guarded(() => {
        using probe = new Probe();
        return CATEGORY_PROBES[name](probe);
      });
      add(`category-${name}`, title, finding);
    }
  }

  add('fallback', 'answers without PAGEMAP_SCAN', guarded(probeFallback));
  add('soft-dirty', 'soft-dirty bits (write tracking without PAGEMAP_SCAN)', guarded(probeSoftDirty));
  add('userfaultfd', 'userfaultfd for this user', guarded(probeUserfaultfd));
  add('wp-async', 'asynchronous write protection (write tracking)', guarded(probeWpAsync));
  const { ptrace, processVmReadv, pidfdGetfd } = await probeChild();
  add('ptrace', 'ptrace for this user', ptrace);
  add('ptrace-others', 'ptrace of processes that it did not start', guarded(probeReach));
  add('pidfd-getfd', "taking over another process's descriptor", pidfdGetfd);
  add('process-vm-readv', "reading other processes' memory", processVmReadv);
  add('hugetlb', 'hugetlb pages', guarded(probeHugetlb));
  return found;
}
