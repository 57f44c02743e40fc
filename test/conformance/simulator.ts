/** The simulator as a platform. */
import { HUGE_PAGE_SIZE, mman, PAGE_SIZE, type Pagemap, uffd } from '../../src/abi/index.js';
import { AddressSpace, KERNEL_PROFILES, type KernelProfileName } from '../../src/sim/index.js';
import type { AccessTracker, MapRequest, Platform, World } from './platform.js';

export class SimulatedWorld implements World {
  readonly #space: AddressSpace;
  readonly #faults;
  #next = 0x200000000000;

  constructor(profile: KernelProfileName) {
    this.#space = new AddressSpace({ profile });
    this.#faults = this.#space.userfaultfd();
  }

  get pagemap(): Pagemap {
    return this.#space.pagemap;
  }

  /** In the order of addresses. */
  mappings() {
    return [...this.#space.mappings()];
  }

  map({ pages, kind = 'anonymous', prot, address }: MapRequest): number {
    const length = pages * PAGE_SIZE;
    const at = address ?? this.#next;
    // A gap after each mapping, so that none merges with the next.
    if (address === undefined) this.#next += Math.ceil(length / HUGE_PAGE_SIZE + 1) * HUGE_PAGE_SIZE;
    const base = { lengthBytes: length, address: at, ...(prot === undefined ? {} : { prot }) };
    switch (kind) {
      case 'transparent huge':
        this.#space.mmap(base);
        this.#space.madvise(at, length, mman.MADV_HUGEPAGE);
        break;
      case 'hugetlb, anonymous':
        this.#space.mmap({ ...base, hugetlb: true });
        break;
      case 'hugetlb, shared memory':
      case 'hugetlb, memory file':
        this.#space.mmap({ ...base, hugetlb: true, shared: true });
        break;
      case 'private file':
        this.#space.mmap({ ...base, file: this.#space.createFile(length) });
        break;
      case 'shared memory file':
        this.#space.mmap({ ...base, file: this.#space.createFile(length), shared: true });
        break;
      default:
        this.#space.mmap(base);
    }
    return at;
  }

  unmap(address: number, pages: number): void {
    this.#space.munmap(address, pages * PAGE_SIZE);
  }

  mprotect(address: number, pages: number, prot: number): void {
    this.#space.mprotect(address, pages * PAGE_SIZE, prot);
  }

  write(address: number, pages: number, step = 1): number {
    return this.#space.write(address, pages * PAGE_SIZE, step).ok;
  }

  read(address: number, pages: number, step = 1): number {
    return this.#space.read(address, pages * PAGE_SIZE, step).ok;
  }

  register(address: number, pages: number): void {
    this.#faults.register(address, pages * PAGE_SIZE);
  }

  writeProtect(address: number, pages: number, protect = true): void {
    this.#faults.writeProtect(address, pages * PAGE_SIZE, protect);
  }

  advise(address: number, pages: number, advice: number): void {
    this.#space.madvise(address, pages * PAGE_SIZE, advice);
  }

  move(address: number, pages: number, to: number): void {
    this.#space.mremap(address, pages * PAGE_SIZE, pages * PAGE_SIZE, to);
  }

  trackAccesses(): AccessTracker {
    const faults = this.#space.userfaultfd(uffd.UFFD_FEATURE_RWP | uffd.UFFD_FEATURE_RWP_ASYNC);
    return {
      register: (address, pages, mode = uffd.UFFDIO_REGISTER_MODE_RWP) =>
        faults.register(address, pages * PAGE_SIZE, mode),
      unregister: (address, pages) => faults.unregister(address, pages * PAGE_SIZE),
      rwProtect: (address, pages, protect = true) => faults.rwProtect(address, pages * PAGE_SIZE, protect),
      [Symbol.dispose]: () => faults[Symbol.dispose](),
    };
  }

  fork(): Pagemap {
    return this.#space.fork().pagemap;
  }

  [Symbol.dispose](): void {
    this.#faults[Symbol.dispose]();
  }
}

export function simulatorPlatform(profile: KernelProfileName): Platform {
  return {
    name: `simulator, Linux ${profile}`,
    scanLeavesHoles: !KERNEL_PROFILES[profile].holeIsWritten,
    lacks: () => undefined,
    cannotTrackAccesses: KERNEL_PROFILES[profile].hasReadWriteProtection
      ? undefined
      : 'it came with Linux 7.3',
    create: () => new SimulatedWorld(profile),
  };
}
