import {
  mman,
  PAGE_SIZE,
  type Pagemap,
  PagemapError,
  scanError,
  USER_SPACE_END,
  uffd as uffdAbi,
} from '../abi/internal.js';
import { defineScanner } from '../engine/index.js';
import * as x86 from '../x86/index.js';
import { ENTRIES, isHugeEntry, PRESENT_ANY } from '../x86/index.js';
import { advise } from './advice.js';
import { clearSoftDirty, copyInto } from './clone.js';
import { access, FAULT_OK } from './fault.js';
import { MemoryFile, PhysicalMemory } from './memory.js';
import { Mm } from './mm.js';
import { moveTo, resize } from './mremap.js';
import { type KernelProfile, type KernelProfileName, kernelProfile } from './profiles.js';
import {
  checkFeatures,
  makeUserfault,
  register,
  release,
  rwProtect,
  setMode,
  unregister,
  writeProtect,
} from './userfault.js';
import { type Userfault, type UserfaultMode, Vma } from './vma.js';

/** The engine, for simulated tables: x86-64's. */
const Scanner = defineScanner(x86);

const ESRCH = 3;
const EBADF = 9;
const ENOMEM = 12;
const EFAULT = 14;
const EINVAL = 22;

/** How an `AddressSpace` is made. */
export interface AddressSpaceOptions {
  /** Which kernel's behaviour; '6.18' unless told otherwise. */
  readonly profile?: KernelProfileName | KernelProfile | undefined;
  /** Whether pages have contents that can be read back. Costs 4 KiB a written page. */
  readonly contents?: boolean | undefined;
  /** 2 MiB pages in the hugetlb pool; 64 unless told otherwise. */
  readonly hugetlbPages?: number | undefined;
  /**
   * Whether faults make huge pages of shared memory under MADV_HUGEPAGE. False by default, as on kernels with
   * transparent_hugepage/shmem_enabled at 'never'.
   */
  readonly sharedHugePages?: boolean | undefined;
  /** Plays a fatal signal: when aborted, scans end with EINTR. */
  readonly signal?: AbortSignal | undefined;
}

/** What to map. */
export interface MmapOptions {
  /** Bytes, rounded up to a page. */
  readonly lengthBytes: number;
  /** The address, page-aligned; it replaces what is mapped there (MAP_FIXED). A free place by default. */
  readonly address?: number | undefined;
  /** `mman.PROT_*` bits; readable and writable unless told otherwise. */
  readonly prot?: number | undefined;
  /** MAP_SHARED rather than MAP_PRIVATE. */
  readonly shared?: boolean | undefined;
  /** A file from `createFile`; anonymous memory without it. */
  readonly file?: MemoryFile | undefined;
  /** Byte offset into the file, page-aligned. */
  readonly offset?: number | undefined;
  /** 2 MiB pages from the hugetlb pool. */
  readonly hugetlb?: boolean | undefined;
}

/** The result of accesses to several pages. */
export interface AccessResult {
  /** Pages where the access succeeded. */
  ok: number;
  /** Pages where it got SIGSEGV or SIGBUS. */
  fault: number;
}

/** A mapping of a simulated address space. */
export interface SimulatedMapping {
  /** Bytes, `end` exclusive. */
  readonly start: number;
  readonly end: number;
  /** `mman.PROT_*` bits. */
  readonly prot: number;
  readonly shared: boolean;
  readonly hugetlb: boolean;
  /** A memory file or shared anonymous memory. */
  readonly file: boolean;
  /** Its registration with a userfaultfd: for write protection or read-write protection; undefined for none. */
  readonly registered: UserfaultMode | undefined;
}

/** The page-table entry of one page, for diagnostics. */
export interface PageState {
  readonly address: number;
  readonly mapped: boolean;
  readonly level: 'hole' | 'pte' | 'pmd';
  /** The entry's 64 bits. */
  readonly entry: bigint;
}

/**
 * A simulated address space: mappings, page tables in x86-64's format, page faults, swap, userfaultfd. Its
 * `pagemap` answers PAGEMAP_SCAN as the kernel of the chosen profile does.
 *
 * Addresses and lengths are bytes. Every method that stands for a system call throws `PagemapError` with that
 * call's errno.
 *
 * @example
 * ```ts
 * import { AddressSpace } from 'pagemap-scan/sim';
 * import { PAGE_IS_WRITTEN, PM_SCAN_WP_MATCHING, RegionBuffer } from 'pagemap-scan';
 * const space = new AddressSpace();
 * const start = space.mmap({ lengthBytes: 64 * 4096 });
 * const end = start + 64 * 4096;
 * const uffd = space.userfaultfd();
 * uffd.register(start, end - start);
 * uffd.writeProtect(start, end - start, true);
 * space.write(start + 5 * 4096, 1);
 * const output = new RegionBuffer(16);
 * space.pagemap.scan({ start, end, flags: PM_SCAN_WP_MATCHING, categoryMask: PAGE_IS_WRITTEN }, output);
 * console.assert(output.length === 1 && output.start(0) === start + 5 * 4096);
 * ```
 */
export class AddressSpace {
  readonly #mm: Mm;
  readonly #options: AddressSpaceOptions;
  /** PAGEMAP_SCAN on this address space. */
  readonly pagemap: Pagemap;
  #nextAddress = 0x7e0000000000;
  #exited = false;

  constructor(options: AddressSpaceOptions = {}, parent?: AddressSpace) {
    const { profile = '6.18' } = options;
    const memory =
      parent === undefined
        ? new PhysicalMemory({
            contents: options.contents ?? false,
            hugetlbPages: options.hugetlbPages ?? 64,
          })
        : parent.#mm.memory;
    this.#options = options;
    this.#mm = new Mm(kernelProfile(profile), memory, options.sharedHugePages ?? false);
    const scanner = new Scanner(this.#mm, options.signal);
    this.pagemap = {
      pageSize: PAGE_SIZE,
      scan: (request, output) => {
        if (!this.#exited || !this.#mm.profile.goneIsEsrch) return scanner.scan(request, output);
        if (output !== null) output.length = 0;
        throw scanError(ESRCH, request, undefined);
      },
    };
  }

  /** The kernel profile in force. */
  get profile(): KernelProfile {
    return this.#mm.profile;
  }

  /** Bytes of page tables and page metadata, with room for growth, without page contents. */
  get overheadBytes(): number {
    return this.#mm.tables.byteLength + this.#mm.memory.byteLength;
  }

  /** Pages in memory, in all mappings and the page cache. */
  get residentPages(): number {
    return this.#mm.memory.framesInUse;
  }

  /** The mappings, in address order. */
  *mappings(): Generator<SimulatedMapping> {
    for (const vma of this.#mm.mappings) {
      yield {
        start: vma.start * PAGE_SIZE,
        end: vma.end * PAGE_SIZE,
        prot: vma.prot,
        shared: vma.shared,
        hugetlb: vma.hugetlb,
        file: vma.file !== null && !vma.hugetlb,
        registered: vma.uffd === null ? undefined : vma.uffdMode,
      };
    }
  }

  /**
   * A memory file (memfd) whose pages are all written.
   *
   * @param lengthBytes bytes, rounded up to a page
   */
  createFile(lengthBytes: number): MemoryFile {
    const file = new MemoryFile(Math.ceil(lengthBytes / PAGE_SIZE), false);
    file.users = 1;
    this.#mm.memory.files.set(file, { isOpen: true });
    for (let index = 0; index < file.sizePages; index++) {
      const frame = this.#mm.memory.allocate(1);
      this.#mm.memory.written(frame);
      file.entries[index] = frame;
    }
    return file;
  }

  /**
   * Closes a file from `createFile`; its pages are freed with its last mapping. @throws PagemapError EBADF when it is
   * closed
   */
  closeFile(file: MemoryFile): void {
    const state = this.#mm.memory.files.get(file);
    if (state?.isOpen !== true) throw this.#error('close', EBADF, 0, 0);
    state.isOpen = false;
    if (--file.users === 0) this.#mm.memory.dropCache(file);
  }

  /**
   * Maps memory and returns its address.
   *
   * @throws PagemapError EINVAL for a length of 0 or unaligned positions, EBADF for a file of an unrelated process,
   * ENOMEM beyond user space or when the hugetlb pool is exhausted, which leaves nothing mapped there
   */
  mmap(options: MmapOptions): number {
    const { prot = mman.PROT_READ | mman.PROT_WRITE, shared = false, hugetlb = false, offset = 0 } = options;
    const unit = hugetlb ? ENTRIES : 1;
    const pages = Math.ceil(Math.ceil(options.lengthBytes / PAGE_SIZE) / unit) * unit;
    if (options.file !== undefined && !this.#mm.memory.files.has(options.file)) {
      throw this.#error('mmap', EBADF, options.address ?? 0, options.lengthBytes);
    }
    if (!(pages > 0)) throw this.#error('mmap', EINVAL, options.address ?? 0, 0);
    const address = options.address ?? this.#freePage(pages) * PAGE_SIZE;
    const start = address / PAGE_SIZE;
    if (start % unit !== 0 || offset % PAGE_SIZE !== 0) throw this.#error('mmap', EINVAL, address, 0);
    if (address < 0 || address + pages * PAGE_SIZE > USER_SPACE_END) {
      throw this.#error('mmap', ENOMEM, address, pages * PAGE_SIZE);
    }
    if (!this.#mm.cutEnds(start, start + pages))
      throw this.#error('mmap', EINVAL, address, pages * PAGE_SIZE);
    this.#mm.unmap(start, start + pages);
    // Only now: what was mapped there may have had the pages. It is gone if there are too few.
    if (hugetlb) this.#chargeHugetlb(address, pages);
    const file = options.file ?? (shared ? new MemoryFile(pages, hugetlb) : null);
    const vma = new Vma({
      start,
      end: start + pages,
      prot,
      shared,
      file,
      offset: file === null ? (hugetlb ? 0 : start) : offset / PAGE_SIZE,
      hugetlb,
    });
    vma.isCharged = hugetlb && !shared;
    this.#mm.insert(vma);
    this.#mm.merge(vma).softDirty = this.#mm.profile.tracksSoftDirty;
    return address;
  }

  /** Takes pages out of the pool: for the mapping, or for the file behind it. */
  #chargeHugetlb(address: number, pages: number): void {
    const { memory } = this.#mm;
    if (memory.freeHugetlb < pages / ENTRIES) throw this.#error('mmap', ENOMEM, address, pages * PAGE_SIZE);
    memory.freeHugetlb -= pages / ENTRIES;
  }

  /** A free place behind all earlier ones, or the first gap when user space ends there; -1 for none. */
  #freePage(pages: number): number {
    const page = this.#mm.freePage(this.#nextAddress / PAGE_SIZE, pages);
    if (page < 0) return this.#mm.freePage(ENTRIES, pages);
    this.#nextAddress = (page + pages) * PAGE_SIZE;
    return page;
  }

  /** munmap(2). @throws PagemapError EINVAL */
  munmap(address: number, lengthBytes: number): void {
    const [start, end] = this.#range('munmap', address, lengthBytes);
    if (start === end || end > USER_SPACE_END / PAGE_SIZE)
      throw this.#error('munmap', EINVAL, address, lengthBytes);
    if (!this.#mm.cutEnds(start, end)) throw this.#error('munmap', EINVAL, address, lengthBytes);
    this.#mm.unmap(start, end);
  }

  /**
   * mprotect(2).
   *
   * @param prot `mman.PROT_*` bits
   * @throws PagemapError ENOMEM for a gap in the range, or a range beyond user space; mappings before it are changed
   */
  mprotect(address: number, lengthBytes: number, prot: number): void {
    const [start, end] = this.#range('mprotect', address, lengthBytes);
    let at = start;
    for (const found of this.#mm.overlapping(start, end)) {
      if (found.start > at) break;
      const to = Math.min(end, found.end);
      if (to <= at) continue;
      const vma = this.#mm.find(at)!;
      if (vma.prot !== prot) {
        if (Mm.forbidsCut(vma, at, to)) throw this.#error('mprotect', EINVAL, address, lengthBytes);
        this.#changeProtection(vma, at, to, prot);
      }
      at = to;
    }
    if (at < end) throw this.#error('mprotect', ENOMEM, address, lengthBytes);
  }

  #changeProtection(vma: Vma, start: number, end: number, prot: number): void {
    const part = this.#mm.isolate(vma, start, end);
    part.prot = prot;
    const isPrivate = !part.shared && !part.hugetlb;
    if (isPrivate && part.writable) part.accounted = true;
    else if (part.anonymous && part.anonVma === null) part.accounted = false;
    this.#mm.changeProtection(part, start, end);
    this.#mm.mergeChanged(part);
  }

  /**
   * madvise(2).
   *
   * @param advice one of `mman.MADV_*` that scenario files name, REMOVE or COLD
   * @throws PagemapError with madvise's errno
   */
  madvise(address: number, lengthBytes: number, advice: number): void {
    const [start, end] = this.#range('madvise', address, lengthBytes);
    const error = advise(this.#mm, start, end, advice);
    if (error !== 0) throw this.#error('madvise', error, address, lengthBytes);
  }

  /**
   * mremap(2): moves or resizes one mapping's range; to `target` with MREMAP_FIXED, else in place or anywhere. A length of 0
   * makes a second view of shared memory. Some kernels move several mappings at once, where the length stays the same.
   *
   * @returns the new address
   * @throws PagemapError EFAULT when the range is not one mapping, EINVAL for unaligned, empty or overlapping ranges, ranges that
   *   end beyond user space, parts of hugetlb pages, and hugetlb that would grow; ENOMEM where there is no room
   */
  mremap(address: number, oldLengthBytes: number, newLengthBytes: number, target?: number): number {
    const error = (errno: number) => this.#error('mremap', errno, address, oldLengthBytes);
    const [start, pages, newPages] = [address, oldLengthBytes, newLengthBytes].map((bytes) =>
      Math.ceil(bytes / PAGE_SIZE),
    ) as [number, number, number];
    if (address % PAGE_SIZE !== 0 || !(pages >= 0 && newPages >= 0)) throw error(EINVAL);
    const move = { start, pages, newPages };
    if (target === undefined) {
      const page = resize(this.#mm, move, (count) => this.#freePage(count));
      if (page < 0) throw error(-page);
      return page * PAGE_SIZE;
    }
    const errno = target % PAGE_SIZE === 0 ? moveTo(this.#mm, move, target / PAGE_SIZE) : EINVAL;
    if (errno !== 0) throw error(errno);
    return target;
  }

  /** Reads one byte of every `step`-th page of the range, as the CPU would. @throws RangeError for a step below 1 */
  read(address: number, lengthBytes: number, step = 1): AccessResult {
    return this.#touch(address, lengthBytes, step, false);
  }

  /** Fetches an instruction from every `step`-th page of the range, as the CPU would: a fault where it is not executable. */
  execute(address: number, lengthBytes: number, step = 1): AccessResult {
    const executable = (page: number) => ((this.#mm.find(page)?.prot ?? 0) & mman.PROT_EXEC) !== 0;
    return this.#touch(address, lengthBytes, step, false, executable);
  }

  /** Writes one byte to every `step`-th page of the range, as the CPU would. */
  write(address: number, lengthBytes: number, step = 1): AccessResult {
    return this.#touch(address, lengthBytes, step, true);
  }

  #touch(
    address: number,
    lengthBytes: number,
    step: number,
    write: boolean,
    allowed?: (page: number) => boolean,
  ): AccessResult {
    if (!(Number.isInteger(step) && step > 0 && Number.isFinite(lengthBytes))) {
      throw new RangeError(
        `Cannot touch pages of ${lengthBytes} bytes in steps of ${step}: the length must be finite, and the step at least 1`,
      );
    }
    const result = { ok: 0, fault: 0 };
    const first = Math.floor(address / PAGE_SIZE);
    const last = Math.ceil((address + lengthBytes) / PAGE_SIZE);
    for (let page = first; page < last; page += step) {
      if (allowed?.(page) !== false && access(this.#mm, page, write) === FAULT_OK) result.ok++;
      else result.fault++;
    }
    return result;
  }

  // ---- contents ----

  /**
   * Copies bytes out of the address space.
   *
   * @throws PagemapError EFAULT where an access is not allowed; Error when contents are not simulated
   */
  readBytes(address: number, lengthBytes: number): Uint8Array {
    const bytes = new Uint8Array(lengthBytes);
    this.#transfer(address, lengthBytes, false, (page, from, at, count) => {
      const contents = this.#contents.get(this.#frameOf(page));
      if (contents !== undefined) bytes.set(contents.subarray(from, from + count), at);
    });
    return bytes;
  }

  /**
   * Copies bytes into the address space; its pages count as written.
   *
   * @throws PagemapError EFAULT where an access is not allowed; bytes before it are written. Error when contents are
   * not simulated
   */
  writeBytes(address: number, bytes: Uint8Array): void {
    this.#transfer(address, bytes.length, true, (page, from, at, count) => {
      this.#writablePage(page).set(bytes.subarray(at, at + count), from);
    });
  }

  /** Loads a little-endian 32-bit word. As `readBytes` without a copy; the address must be word-aligned. */
  readU32(address: number): number {
    const page = Math.floor(address / PAGE_SIZE);
    const pages = this.#contents;
    if (access(this.#mm, page, false) !== FAULT_OK) throw this.#error('load', EFAULT, address, 4);
    const contents = pages.get(this.#frameOf(page));
    if (contents === undefined) return 0;
    const at = address % PAGE_SIZE;
    return (
      (contents[at]! | (contents[at + 1]! << 8) | (contents[at + 2]! << 16) | (contents[at + 3]! << 24)) >>> 0
    );
  }

  /** Stores a little-endian 32-bit word; the address must be word-aligned. */
  writeU32(address: number, value: number): void {
    const page = Math.floor(address / PAGE_SIZE);
    if (access(this.#mm, page, true) !== FAULT_OK) throw this.#error('store', EFAULT, address, 4);
    const contents = this.#writablePage(page);
    const at = address % PAGE_SIZE;
    contents[at] = value;
    contents[at + 1] = value >>> 8;
    contents[at + 2] = value >>> 16;
    contents[at + 3] = value >>> 24;
  }

  get #contents(): Map<number, Uint8Array> {
    const { contents } = this.#mm.memory;
    if (contents === undefined) {
      throw new Error('Cannot access contents: the address space was made without `contents: true`');
    }
    return contents;
  }

  #writablePage(page: number): Uint8Array {
    const frame = this.#frameOf(page);
    let contents = this.#contents.get(frame);
    if (contents === undefined) {
      contents = new Uint8Array(PAGE_SIZE);
      this.#contents.set(frame, contents);
    }
    return contents;
  }

  #transfer(
    address: number,
    lengthBytes: number,
    write: boolean,
    copy: (page: number, from: number, at: number, count: number) => void,
  ): void {
    for (let at = 0; at < lengthBytes; ) {
      const page = Math.floor((address + at) / PAGE_SIZE);
      const from = (address + at) % PAGE_SIZE;
      const count = Math.min(lengthBytes - at, PAGE_SIZE - from);
      if (access(this.#mm, page, write) !== FAULT_OK) {
        throw this.#error(write ? 'store' : 'load', EFAULT, address + at, count);
      }
      copy(page, from, at, count);
      at += count;
    }
  }

  /** The frame of a page that was just accessed. */
  #frameOf(page: number): number {
    const block = Math.floor(page / ENTRIES);
    const pmd = this.#mm.tables.findPmd(block);
    const index = page - block * ENTRIES;
    if (isHugeEntry(this.#mm.tables.words[pmd]!)) return this.#mm.frameAt(pmd) + index;
    return this.#mm.frameAt(this.#mm.tables.pteTable(pmd) + index * 2);
  }

  // ---- tracking ----

  /**
   * userfaultfd(2) and its handshake.
   *
   * @param features `uffd.UFFD_FEATURE_*` bits; WP_ASYNC (with WP_UNPOPULATED and WP_HUGETLBFS_SHMEM) by default. RWP and
   *   RWP_ASYNC need the profile 7.3
   * @throws PagemapError EINVAL for features that the profile's kernel does not have
   */
  userfaultfd(features = (1 << 15) | (1 << 13) | (1 << 12)): SimulatedUserfaultfd {
    const errno = checkFeatures(this.#mm, features);
    if (errno !== 0) throw this.#error('ioctl(UFFDIO_API)', errno, 0, 0);
    return new SimulatedUserfaultfd(this.#mm, makeUserfault(features));
  }

  /**
   * Clears the soft-dirty bits, as writing 4 to /proc/PID/clear_refs does. Kernels that are built without soft-dirty
   * bits do nothing.
   */
  clearSoftDirty(): void {
    if (this.#mm.profile.tracksSoftDirty) clearSoftDirty(this.#mm);
  }

  /**
   * fork(2): a copy that shares pages until one of the two writes. userfaultfd is not passed on.
   *
   * @throws PagemapError ESRCH when the process has ended
   */
  fork(): AddressSpace {
    if (this.#exited) throw this.#error('fork', ESRCH, 0, 0);
    const child = new AddressSpace({ ...this.#options, profile: this.#mm.profile }, this);
    child.#nextAddress = this.#nextAddress;
    copyInto(this.#mm, child.#mm);
    return child;
  }

  /**
   * Ends the process and frees all of its memory. Scans then find nothing, or fail with ESRCH, depending on the kernel
   * profile.
   */
  exit(): void {
    this.#mm.unmap(0, USER_SPACE_END / PAGE_SIZE);
    this.#exited = true;
  }

  /** The page-table entry at an address, for diagnostics. */
  pageState(address: number): PageState {
    const page = Math.floor(address / PAGE_SIZE);
    const block = Math.floor(page / ENTRIES);
    const { tables } = this.#mm;
    const mapped = this.#mm.find(page) !== undefined;
    const pmd = tables.findPmd(block);
    const table = pmd < 0 ? -1 : tables.pteTable(pmd);
    const slot = table < 0 ? pmd : table + (page % ENTRIES) * 2;
    const entry = slot < 0 ? 0n : BigInt(tables.words[slot]!) | (BigInt(tables.words[slot + 1]!) << 32n);
    const level = table >= 0 ? 'pte' : entry !== 0n ? 'pmd' : 'hole';
    return { address: page * PAGE_SIZE, mapped, level, entry };
  }

  /** Whether any page of the range is present in the page tables. */
  hasPresent(address: number, lengthBytes: number): boolean {
    const { tables } = this.#mm;
    const end = Math.ceil((address + lengthBytes) / PAGE_SIZE);
    for (let page = Math.floor(address / PAGE_SIZE); page < end; page++) {
      const block = Math.floor(page / ENTRIES);
      const pmd = tables.findPmd(block);
      if (pmd < 0) continue;
      const table = tables.pteTable(pmd);
      const slot = table < 0 ? pmd : table + (page % ENTRIES) * 2;
      if ((tables.words[slot]! & PRESENT_ANY) !== 0) return true;
    }
    return false;
  }

  #range(syscall: string, address: number, lengthBytes: number): [start: number, end: number] {
    const start = address / PAGE_SIZE;
    if (!Number.isInteger(start) || start < 0 || !(lengthBytes >= 0)) {
      throw this.#error(syscall, EINVAL, address, lengthBytes);
    }
    return [start, start + Math.ceil(lengthBytes / PAGE_SIZE)];
  }

  #error(syscall: string, errno: number, address: number, lengthBytes: number): PagemapError {
    return simulatedError(syscall, errno, address, lengthBytes);
  }
}

function simulatedError(syscall: string, errno: number, address: number, lengthBytes: number): PagemapError {
  const range = `0x${address.toString(16)}-0x${(address + lengthBytes).toString(16)}`;
  return new PagemapError(`${syscall} ${range} of the simulated process`, {
    errno,
    syscall,
    start: address,
    end: address + lengthBytes,
  });
}

/**
 * A userfaultfd of a simulated address space, from `AddressSpace.userfaultfd`.
 *
 * @example
 * ```ts
 * import { AddressSpace, type SimulatedUserfaultfd } from 'pagemap-scan/sim';
 * const space = new AddressSpace();
 * const start = space.mmap({ lengthBytes: 4 * 4096 });
 * {
 *   using faults: SimulatedUserfaultfd = space.userfaultfd();
 *   faults.register(start, 4 * 4096);
 *   console.assert([...space.mappings()][0]?.registered === 'wp');
 * }
 * console.assert([...space.mappings()][0]?.registered === undefined);
 * ```
 */
export class SimulatedUserfaultfd {
  readonly #mm: Mm;
  readonly #uffd: Userfault;
  #closed = false;

  /** @internal */
  constructor(mm: Mm, uffd: Userfault) {
    this.#mm = mm;
    this.#uffd = uffd;
  }

  /**
   * UFFDIO_REGISTER.
   *
   * @param mode `uffd.UFFDIO_REGISTER_MODE_WP`, or MODE_RWP for read-write protection (profile 7.3)
   * @throws PagemapError EINVAL, EBUSY
   */
  register(start: number, lengthBytes: number, mode: number = uffdAbi.UFFDIO_REGISTER_MODE_WP): void {
    this.#call('ioctl(UFFDIO_REGISTER)', start, lengthBytes, (first, end) =>
      register(this.#mm, this.#uffd, first, end, mode),
    );
  }

  /**
   * UFFDIO_UNREGISTER: lifts the range's protection. @throws PagemapError EINVAL; on some kernels, also for a range of
   * another userfaultfd
   */
  unregister(start: number, lengthBytes: number): void {
    this.#call('ioctl(UFFDIO_UNREGISTER)', start, lengthBytes, (first, end) =>
      unregister(this.#mm, this.#uffd, first, end),
    );
  }

  /** UFFDIO_WRITEPROTECT. @throws PagemapError ENOENT where the range is not registered */
  writeProtect(start: number, lengthBytes: number, protect = true): void {
    this.#call('ioctl(UFFDIO_WRITEPROTECT)', start, lengthBytes, (first, end) =>
      writeProtect(this.#mm, first, end, protect),
    );
  }

  /**
   * UFFDIO_RWPROTECT: protects pages against reads and writes until the next access, or takes the protection away.
   *
   * @throws PagemapError ENOENT where the range is not registered for it
   */
  rwProtect(start: number, lengthBytes: number, protect = true): void {
    this.#call('ioctl(UFFDIO_RWPROTECT)', start, lengthBytes, (first, end) =>
      rwProtect(this.#mm, first, end, protect),
    );
  }

  /** UFFDIO_SET_MODE: turns RWP_ASYNC on or off. @throws PagemapError EINVAL for other features */
  setMode(enable: number, disable = 0): void {
    const errno = this.#closed ? EBADF : setMode(this.#mm, this.#uffd, enable, disable);
    if (errno !== 0) throw simulatedError('ioctl(UFFDIO_SET_MODE)', errno, 0, 0);
  }

  /** Closes the descriptor: all its protection is lifted. Closing twice does nothing. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    release(this.#mm, this.#uffd);
  }

  #call(
    syscall: string,
    address: number,
    lengthBytes: number,
    run: (start: number, end: number) => number,
  ): void {
    let errno: number;
    if (this.#closed) errno = EBADF;
    else if (address % PAGE_SIZE !== 0 || lengthBytes % PAGE_SIZE !== 0 || lengthBytes <= 0) errno = EINVAL;
    else if (address + lengthBytes > USER_SPACE_END) errno = EINVAL;
    else errno = run(address / PAGE_SIZE, (address + lengthBytes) / PAGE_SIZE);
    if (errno !== 0) throw simulatedError(syscall, errno, address, lengthBytes);
  }
}
