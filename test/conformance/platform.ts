/** What the conformance checks are written against: a `Pagemap`, and the memory that it describes. */
import type { Pagemap } from '../../src/abi/index.js';

export type MemoryKind =
  | 'anonymous'
  | 'transparent huge'
  | 'hugetlb, shared memory'
  | 'hugetlb, anonymous'
  | 'hugetlb, memory file'
  | 'private file'
  | 'shared memory file';

export const isHugetlb = (kind: MemoryKind): boolean => kind.startsWith('hugetlb');

export interface MapRequest {
  readonly pages: number;
  readonly kind?: MemoryKind;
  /** `PROT_*`; readable and writable by default. */
  readonly prot?: number;
  /** Replaces what is mapped at this address. */
  readonly address?: number;
}

/** One more userfaultfd, with RWP_ASYNC; closing it ends what was registered with it. */
export interface AccessTracker extends Disposable {
  /** @param mode `UFFDIO_REGISTER_MODE_*`; read-write protection unless told otherwise */
  register(address: number, pages: number, mode?: number): void;
  unregister(address: number, pages: number): void;
  rwProtect(address: number, pages: number, protect?: boolean): void;
}

/** An address space of its own with one userfaultfd (WP_ASYNC). All sizes in pages of 4 KiB, addresses in bytes. */
export interface World extends Disposable {
  readonly pagemap: Pagemap;
  map(request: MapRequest): number;
  unmap(address: number, pages: number): void;
  mprotect(address: number, pages: number, prot: number): void;
  /** Accesses each page's first byte; gives how many did not fault. */
  write(address: number, pages: number, step?: number): number;
  read(address: number, pages: number, step?: number): number;
  register(address: number, pages: number): void;
  writeProtect(address: number, pages: number, protect?: boolean): void;
  /** @param advice `MADV_*` */
  advise(address: number, pages: number, advice: number): void;
  /** Moves pages to where others are mapped, which go. */
  move(address: number, pages: number, to: number): void;
  /** Only where the platform tracks accesses. */
  trackAccesses(options?: { readonly userModeOnly?: boolean }): AccessTracker;
  /** Forks; gives the child's address space. */
  fork?(): Pagemap;
  /** Where the code of the own program is mapped. */
  ownCode?(): { readonly address: number; readonly pages: number };
}

/** A provider under test. */
export interface Platform {
  readonly name: string;
  /** Where its user space ends, bytes; x86-64's by default. */
  readonly userSpaceEnd?: number;
  /** How large its pages are, bytes; x86-64's by default. */
  readonly pageSize?: number;
  /** A scan protects what is there, and no holes: these are not WRITTEN in the first releases. */
  readonly scanLeavesHoles?: boolean;
  /** Why this kind of memory cannot be had here; undefined when it can. */
  lacks(kind: MemoryKind): string | undefined;
  /** The categories that it can tell; all that every kernel with the ioctl knows by default. */
  readonly categories?: number;
  /** Why writes cannot be tracked: then WRITTEN, and all that protects, is refused. Undefined when they can. */
  readonly cannotTrack?: string | undefined;
  /** Why it cannot be told which pages were accessed: ACCESSED is refused then. Undefined when it can. */
  readonly cannotTrackAccesses?: string | undefined;
  /** The kinds of memory in which it cannot track writes. */
  readonly untracked?: readonly MemoryKind[];
  /** Mappings that are not registered are tracked, too: nothing is ever EPERM. */
  readonly tracksUnregistered?: boolean;
  /** How often to do what is done a hundred times elsewhere, where each scan costs as much as a look at all of the process. */
  readonly rounds?: number;
  create(): World;
}
