/** Which mappings a core file holds: man core(5), "Controlling which mappings are written to the core dump". */
import {
  hasFile,
  isPrivate,
  isReadable,
  isShared,
  isVdso,
  type Mapping,
  type SmapsMapping,
} from '../proc/internal.js';

/** Bits of /proc/PID/coredump_filter. */
export const FILTER = {
  anonymousPrivate: 1 << 0,
  anonymousShared: 1 << 1,
  filePrivate: 1 << 2,
  fileShared: 1 << 3,
  elfHeaders: 1 << 4,
  hugePrivate: 1 << 5,
  hugeShared: 1 << 6,
  daxPrivate: 1 << 7,
  daxShared: 1 << 8,
} as const;

/** What smaps tells of a mapping and maps does not. */
export interface MappingTraits {
  /** MADV_DONTDUMP. */
  readonly dontDump: boolean;
  /** Memory of a device. */
  readonly io: boolean;
  readonly huge: boolean;
  readonly dax: boolean;
}

/** Of a mapping that nothing is known of yet. */
export const NO_TRAITS: MappingTraits = { dontDump: false, io: false, huge: false, dax: false };

export function traitsOf({ vmFlags, sizes, name }: SmapsMapping): MappingTraits {
  return {
    dontDump: vmFlags.includes('dd'),
    io: vmFlags.includes('io'),
    huge: vmFlags.includes('ht') || (sizes.KernelPageSize ?? 0) > 4096,
    // Mapped so that faults are synchronous, as only DAX files can be.
    dax: vmFlags.includes('sf') || name.startsWith('/dev/dax'),
  };
}

/**
 * How much of a mapping is dumped:
 * - all: all of it
 * - written: all of it if the process has pages of its own in it, by writing to them
 * - written, else header: the same, but if not, its first page, should that be an ELF header's
 * - parts: what was found to be needed of it, and nothing is known of the rest
 * - zeros: it is there, and all of it reads as zero
 */
export type Share = 'all' | 'written' | 'written-else-header' | 'header' | 'parts' | 'zeros' | 'none';

/** Whether a program or library may begin there, and `filter` asks for that page of it. */
export function hasElfHeader(mapping: Mapping, filter: number): boolean {
  if ((filter & FILTER.elfHeaders) === 0 || mapping.offset !== 0) return false;
  return hasFile(mapping) && isReadable(mapping) && isPrivate(mapping);
}

/** What `filter` makes of a mapping. */
export function shareOf(mapping: Mapping, traits: MappingTraits, filter: number): Share {
  if (isVdso(mapping)) return 'all';
  if (traits.io || traits.dontDump) return 'none';
  const shared = isShared(mapping);
  const all = (bit: number): Share => (filter & bit ? 'all' : 'none');
  if (traits.dax) return all(shared ? FILTER.daxShared : FILTER.daxPrivate);
  if (traits.huge) return all(shared ? FILTER.hugeShared : FILTER.hugePrivate);
  // Files that nobody can open any more count as anonymous: shared memory is made of such.
  if (shared) return all(mapping.deleted ? FILTER.anonymousShared : FILTER.fileShared);
  const written = (filter & FILTER.anonymousPrivate) !== 0;
  if (!hasFile(mapping)) return written ? 'written' : 'none';
  if (filter & FILTER.filePrivate) return 'all';
  if (hasElfHeader(mapping, filter)) return written ? 'written-else-header' : 'header';
  return written ? 'written' : 'none';
}
