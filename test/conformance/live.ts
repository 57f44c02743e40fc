/** The live kernel as a platform: memory of this process. */
import { closeSync, mkdtempSync, openSync, readFileSync, realpathSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mman, PAGE_IS_WRITTEN, RegionBuffer, uffd } from '../../src/abi/index.js';
import {
  ASYNC_RWP_FEATURES,
  createMemoryFile,
  IoctlPagemap,
  kernelCategories,
  type LivePagemap,
  type MapOptions,
  mapMemory,
  ProcessHandle,
  probeCapabilities,
  SafeAccess,
  Userfaultfd,
} from '../../src/live/internal.js';
import { hugePageSize, libc, pageSize, userSpaceEnd } from '../../src/live/libc.js';
import { parseMaps } from '../../src/proc/index.js';
import { type AccessTracker, isHugetlb, type MapRequest, type Platform, type World } from './platform.js';

// System V shared memory is wanted for this one kind of hugetlb page only.
const SHM = process.arch === 'x64' ? { get: 29, at: 30, ctl: 31 } : { get: 194, at: 196, ctl: 195 };
const IPC_CREAT = 0o1000;
const SHM_HUGETLB = 0o4000;
const IPC_RMID = 0;

function mapSharedHuge(lengthBytes: number): number {
  const { syscall } = libc();
  const id = syscall(SHM.get, 0, lengthBytes, IPC_CREAT | SHM_HUGETLB | 0o600, 0, 0, 0);
  if (id < 0) throw new Error(`shmget failed with errno ${libc().errno()}`);
  // The kernel chooses an address between other mappings; it is huge-page-aligned.
  const address = syscall(SHM.at, id, 0, 0, 0, 0, 0);
  syscall(SHM.ctl, id, IPC_RMID, 0, 0, 0, 0);
  if (address < 0) throw new Error(`shmat failed with errno ${libc().errno()}`);
  return address;
}

/** System V huge pages need CAP_IPC_LOCK or a group of their own (vm.hugetlb_shm_group). */
export function sharedHugeProblem(): string | undefined {
  try {
    libc().munmap(mapSharedHuge(hugePageSize()), hugePageSize());
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Memory of this process. Without a userfaultfd, registering and protecting is left to the pagemap's own scans. */
export class LiveWorld implements World {
  readonly pagemap: LivePagemap;
  readonly #faults: Userfaultfd | undefined;
  readonly #access = new SafeAccess();
  readonly #folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-'));
  readonly #mapped: [number, number][] = [];

  constructor(pagemap: LivePagemap, faults: Userfaultfd | undefined) {
    this.pagemap = pagemap;
    this.#faults = faults;
  }

  map({ pages, kind = 'anonymous', prot, address }: MapRequest): number {
    const lengthBytes = pages * pageSize();
    const base: MapOptions = {
      lengthBytes,
      ...(prot === undefined ? {} : { prot }),
      ...(address === undefined ? {} : { address }),
    };
    const mapped = this.#map(kind, base);
    if (address === undefined) this.#mapped.push([mapped, lengthBytes]);
    return mapped;
  }

  #map(kind: MapRequest['kind'], base: MapOptions): number {
    const { address } = base;
    switch (kind) {
      case 'transparent huge': {
        const memory = mapMemory({ ...base, alignBytes: hugePageSize() });
        memory.advise(mman.MADV_HUGEPAGE);
        return memory.address;
      }
      case 'hugetlb, anonymous':
        return mapMemory({ ...base, hugetlb: true }).address;
      case 'hugetlb, shared memory':
        return mapSharedHuge(base.lengthBytes);
      case 'hugetlb, memory file':
      case 'shared memory file': {
        const fd = createMemoryFile('conformance', base.lengthBytes, { huge: isHugetlb(kind) });
        const { address } = mapMemory({ ...base, fd, shared: true });
        closeSync(fd);
        return address;
      }
      case 'private file': {
        const fd = openSync(join(this.#folder, String(this.#mapped.length)), 'w+');
        const page = new Uint8Array(pageSize()).fill(7);
        for (let at = 0; at < base.lengthBytes; at += pageSize()) writeSync(fd, page);
        const { address } = mapMemory({ ...base, fd });
        closeSync(fd);
        return address;
      }
      default:
        return address === undefined && this.#faults === undefined
          ? this.#fenced(base)
          : mapMemory(base).address;
    }
  }

  /**
   * Memory that nothing can be merged with. A new mapping of another thread (V8's, say) that comes to lie beside is
   * merged otherwise, and soft-dirty bits then say that all of it was written.
   */
  #fenced(options: MapOptions): number {
    const lengthBytes = options.lengthBytes + 2 * pageSize();
    const { address } = mapMemory({ lengthBytes, prot: mman.PROT_NONE });
    this.#mapped.push([address, lengthBytes]);
    return mapMemory({ ...options, address: address + pageSize() }).address;
  }

  unmap(address: number, pages: number): void {
    libc().munmap(address, pages * pageSize());
  }

  mprotect(address: number, pages: number, prot: number): void {
    if (libc().mprotect(address, pages * pageSize(), prot) < 0) throw new Error(`errno ${libc().errno()}`);
  }

  write(address: number, pages: number, step = 1): number {
    let done = 0;
    for (let page = 0; page < pages; page += step) {
      if (this.#access.write(address + page * pageSize(), 1)) done++;
    }
    return done;
  }

  read(address: number, pages: number, step = 1): number {
    let done = 0;
    for (let page = 0; page < pages; page += step) {
      if (this.#access.read(address + page * pageSize()) !== undefined) done++;
    }
    return done;
  }

  register(address: number, pages: number): void {
    this.#faults?.register(address, pages * pageSize());
  }

  writeProtect(address: number, pages: number, protect = true): void {
    this.#faults?.writeProtect(address, pages * pageSize(), protect);
  }

  advise(address: number, pages: number, advice: number): void {
    if (libc().madvise(address, pages * pageSize(), advice) < 0) throw new Error(`errno ${libc().errno()}`);
  }

  move(address: number, pages: number, to: number): void {
    const lengthBytes = pages * pageSize();
    const flags = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED;
    if (libc().mremap(address, lengthBytes, lengthBytes, flags, to) < 0)
      throw new Error(`errno ${libc().errno()}`);
  }

  trackAccesses({ userModeOnly = false }: { userModeOnly?: boolean } = {}): AccessTracker {
    const faults = Userfaultfd.open({ features: ASYNC_RWP_FEATURES, userModeOnly });
    return {
      register: (address, pages, mode = uffd.UFFDIO_REGISTER_MODE_RWP) =>
        faults.register(address, pages * pageSize(), mode),
      unregister: (address, pages) => faults.unregister(address, pages * pageSize()),
      rwProtect: (address, pages, protect = true) => faults.rwProtect(address, pages * pageSize(), protect),
      [Symbol.dispose]: () => faults[Symbol.dispose](),
    };
  }

  ownCode(): { address: number; pages: number } {
    const mappings = parseMaps(readFileSync('/proc/self/maps'));
    const program = realpathSync(process.execPath);
    // A program may have small ones beside its code.
    const { start, end } = mappings
      .filter(({ name, perms }) => name === program && perms === 'r-xp')
      .reduce((most, mapping) => (mapping.end - mapping.start > most.end - most.start ? mapping : most));
    return { address: start, pages: (end - start) / pageSize() };
  }

  [Symbol.dispose](): void {
    this.#faults?.[Symbol.dispose]();
    for (const [address, lengthBytes] of this.#mapped) libc().munmap(address, lengthBytes);
    this.#access[Symbol.dispose]();
    this.pagemap[Symbol.dispose]();
    rmSync(this.#folder, { recursive: true });
  }
}

/** Whether a hole in a registered mapping is not WRITTEN, so that a scan does not protect it: Linux 6.7 to 6.12.43. */
function scanLeavesHoles(): boolean {
  using memory = mapMemory({ lengthBytes: hugePageSize(), alignBytes: hugePageSize() });
  using faults = Userfaultfd.open();
  using pagemap = new IoctlPagemap(new ProcessHandle(process.pid));
  faults.register(memory.address, memory.lengthBytes);
  const masks = { categoryMask: PAGE_IS_WRITTEN, returnMask: PAGE_IS_WRITTEN };
  return (
    pagemap.scan({ start: memory.address, end: memory.end, ...masks }, new RegionBuffer(1)).regions === 0
  );
}

/** The platform, or why there is none here. */
export async function livePlatform(): Promise<Platform | string> {
  if (process.platform !== 'linux') return 'this is no Linux';
  const capabilities = await probeCapabilities();
  const need = (id: string) => {
    const found = capabilities.find((capability) => capability.id === id);
    return found?.answer === 'yes' ? undefined : `${found?.title}: ${found?.how}`;
  };
  const reason = need('pagemap-scan') ?? need('wp-async');
  if (reason !== undefined) return reason;
  const noSharedHuge = sharedHugeProblem();
  return {
    scanLeavesHoles: scanLeavesHoles(),
    cannotTrackAccesses: need('category-accessed'),
    // An emulated processor takes as long for ten as a real one for a thousand.
    rounds: Number(process.env['PMSCAN_ROUNDS'] ?? 25),
    name: `live kernel, categories 0x${kernelCategories().toString(16)}`,
    userSpaceEnd: userSpaceEnd(),
    pageSize: pageSize(),
    lacks: (kind) =>
      kind === 'hugetlb, shared memory' && noSharedHuge !== undefined
        ? noSharedHuge
        : isHugetlb(kind)
          ? need('hugetlb')
          : kind === 'transparent huge'
            ? need('category-huge')
            : undefined,
    create: () => new LiveWorld(new IoctlPagemap(new ProcessHandle(process.pid)), Userfaultfd.open()),
  };
}
