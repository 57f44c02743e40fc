import type { ScanProfile } from '../engine/index.js';

/**
 * The differences between kernel releases, as named properties for the simulator. Measured on Linux 6.12.117, 6.18.44,
 * 7.0.13 and 7.3.4 (x86-64); '6.7' follows the interface's history.
 */
export interface KernelProfile extends ScanProfile {
  readonly name: string;
  /**
   * Whether the kernel keeps soft-dirty bits, and clears them when 4 is written to `/proc/PID/clear_refs`. Other
   * kernels accept the 4 and do nothing.
   */
  readonly tracksSoftDirty: boolean;
  /** Whether MADV_GUARD_INSTALL and MADV_GUARD_REMOVE exist. */
  readonly hasGuardPages: boolean;
  /** Whether MADV_DONTNEED over a whole last-level table frees the table. */
  readonly dontneedFreesTables: boolean;
  /** Whether a write to the huge zero page makes a huge page, instead of splitting it. */
  readonly hugeZeroWriteStaysHuge: boolean;
  /** Whether mremap leaves userfaultfd's protection behind. */
  readonly mremapClearsProtection: boolean;
  /**
   * Whether mremap moves several mappings at once, if none is registered with a userfaultfd and the length stays the
   * same or shrinks. Measured on 6.18.44, 7.2.12 and 7.3.4 (so), 6.12.117 (not).
   */
  readonly mremapMovesSeveral: boolean;
  /** Whether MADV_COLLAPSE needs at least one writable entry. */
  readonly collapseNeedsWritable: boolean;
  /**
   * Whether MADV_COLLAPSE fails with EINVAL for a range in which no 2 MiB block begins or ends, instead of doing
   * nothing.
   */
  readonly collapseNeedsBlock: boolean;
  /**
   * Whether MADV_COLLAPSE goes on behind a 2 MiB block that has no page table, instead of ending there. It fails with EINVAL in the end
   * either way. Measured on 7.2.12 and 7.3.4 (so), 6.12.117 and 6.18.44 (not).
   */
  readonly collapsePassesEmptyBlocks: boolean;
  /**
   * Whether a mapping that has had anonymous pages merges, when it changes, with an equal neighbour that never had any.
   */
  readonly untouchedNeighboursMerge: boolean;
  /** Whether reclaim keeps a huge page of a file whole in swap, instead of splitting it. */
  readonly hugeFileSwapsWhole: boolean;
  /**
   * Whether a huge page that one address space maps more than once counts as shared; madvise does not touch shared
   * pages.
   */
  readonly mappedTwiceIsShared: boolean;
  /**
   * Whether MADV_COLLAPSE of a file without page tables (down to the PMD level) makes its pages one huge page, but does
   * not map it and fails with EINVAL.
   */
  readonly collapseNeedsTables: boolean;
  /**
   * Whether a read fault maps all of a huge page of a file by small entries, where the mapping holds all of it but a huge
   * entry cannot be (a page table is there, or MADV_NOHUGEPAGE). Measured on 6.18.44 (so) and 6.12.117 (not).
   */
  readonly readFaultMapsHugeFile: boolean;
  /**
   * Whether a read of untouched anonymous memory maps the shared zero page, or the huge one. A kernel can be booted
   * without one (seen on a 6.18.44): a read then makes a page of the process's own, small or huge. Even there,
   * zero-filled pages of a split huge page become the shared zero page.
   */
  readonly hasZeroPage: boolean;
  /** Whether a scan of an address space that is gone fails with ESRCH, instead of finding nothing. */
  readonly goneIsEsrch: boolean;
  /**
   * Whether UFFDIO_UNREGISTER fails with EINVAL for a range that another userfaultfd has registered. Measured on
   * 6.18.44, 7.2.12 and 7.3.4 (so), 6.12.117 (not).
   */
  readonly unregisterIsForOwner: boolean;
  /** Whether userfaultfd has read-write protection. */
  readonly hasReadWriteProtection: boolean;
}

const LINUX_6_18: KernelProfile = {
  name: '6.18',
  knownCategories: 0x1ff,
  reportsSoftDirty: false,
  reportsGuard: true,
  emptyIsWritten: true,
  holeIsWritten: true,
  untrackedIsWritten: true,
  hugeZeroIsPfnZero: true,
  tracksSoftDirty: false,
  hasGuardPages: true,
  dontneedFreesTables: true,
  hugeZeroWriteStaysHuge: true,
  mremapClearsProtection: true,
  mremapMovesSeveral: true,
  collapseNeedsWritable: false,
  collapseNeedsBlock: true,
  collapsePassesEmptyBlocks: false,
  untouchedNeighboursMerge: true,
  hugeFileSwapsWhole: true,
  mappedTwiceIsShared: false,
  collapseNeedsTables: false,
  readFaultMapsHugeFile: true,
  hasZeroPage: true,
  goneIsEsrch: false,
  unregisterIsForOwner: true,
  hasReadWriteProtection: false,
};

const LINUX_6_12: KernelProfile = {
  ...LINUX_6_18,
  name: '6.12',
  knownCategories: 0xff,
  reportsSoftDirty: true,
  reportsGuard: false,
  tracksSoftDirty: true,
  hasGuardPages: false,
  dontneedFreesTables: false,
  hugeZeroWriteStaysHuge: false,
  mremapMovesSeveral: false,
  collapseNeedsWritable: true,
  untouchedNeighboursMerge: false,
  hugeFileSwapsWhole: false,
  mappedTwiceIsShared: true,
  collapseNeedsTables: true,
  readFaultMapsHugeFile: false,
  unregisterIsForOwner: false,
};

const LINUX_6_7: KernelProfile = {
  ...LINUX_6_12,
  name: '6.7',
  knownCategories: 0x7f,
  reportsSoftDirty: false,
  emptyIsWritten: false,
  holeIsWritten: false,
  hugeZeroIsPfnZero: false,
  tracksSoftDirty: false,
  mremapClearsProtection: false,
};

/** Also 6.19. With soft-dirty, as the measured kernels were built. */
const LINUX_7_0: KernelProfile = {
  ...LINUX_6_18,
  name: '7.0',
  reportsSoftDirty: true,
  tracksSoftDirty: true,
  emptyIsWritten: false,
  holeIsWritten: false,
};

const LINUX_7_3: KernelProfile = {
  ...LINUX_6_18,
  name: '7.3',
  knownCategories: 0x3ff,
  reportsSoftDirty: true,
  tracksSoftDirty: true,
  untrackedIsWritten: false,
  collapseNeedsBlock: false,
  collapsePassesEmptyBlocks: true,
  goneIsEsrch: true,
  hasReadWriteProtection: true,
};

/** The kernel profiles by name. */
export const KERNEL_PROFILES = {
  '6.7': LINUX_6_7,
  '6.12': LINUX_6_12,
  '6.18': LINUX_6_18,
  '7.0': LINUX_7_0,
  '7.3': LINUX_7_3,
} as const;
/** The name of a kernel profile. */
export type KernelProfileName = keyof typeof KERNEL_PROFILES;

/**
 * The profile with this name, or the given profile itself.
 *
 * @throws RangeError for a name that no profile has
 * @example
 * ```ts
 * import { AddressSpace, kernelProfile } from 'pagemap-scan/sim';
 * const space = new AddressSpace({ profile: { ...kernelProfile('6.18'), name: 'mine', hasGuardPages: false } });
 * console.assert(kernelProfile(space.profile) === space.profile && kernelProfile('6.18').hasGuardPages);
 * ```
 */
export function kernelProfile(profile: KernelProfileName | KernelProfile): KernelProfile {
  if (typeof profile !== 'string') return profile;
  if (Object.hasOwn(KERNEL_PROFILES, profile)) return KERNEL_PROFILES[profile];
  throw new RangeError(
    `Cannot use the kernel profile ${profile}: there are ${Object.keys(KERNEL_PROFILES).join(', ')}; profileFor() tells a release's`,
  );
}

/** The first release that answers as each profile, newest first. Linux 7.1 went back to the behaviour of 6.18. */
const ANSWERS_SINCE: readonly (readonly [major: number, minor: number, profile: KernelProfileName])[] = [
  [7, 3, '7.3'],
  [7, 1, '6.18'],
  [6, 19, '7.0'],
  [6, 13, '6.18'],
  [6, 12, '6.12'],
  [0, 0, '6.7'],
];

/**
 * The name of the profile for a kernel release: `6.12.117` gives 6.12, `7.2` gives 6.18, and a release newer than all
 * gives the newest. A release number tells little: measure the kernel if you can run on it (`measureProfile` of
 * pagemap-scan/scenario).
 *
 * @param release as `uname -r` prints it; 6.18 where it is not given
 * @example
 * ```ts
 * import { profileFor } from 'pagemap-scan/sim';
 * console.assert(profileFor('6.12.117+deb12-cloud-amd64') === '6.12');
 * ```
 */
export function profileFor(release = '6.18'): KernelProfileName {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [undefined, '6', '18'];
  const isSince = (from: number, since: number) =>
    Number(major) > from || (Number(major) === from && Number(minor) >= since);
  return ANSWERS_SINCE.find(([from, since]) => isSince(from, since))![2];
}
