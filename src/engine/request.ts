import {
  PAGE_REGION,
  PAGE_SIZE,
  PM_SCAN_ARG,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  type RegionBuffer,
  requireUsable,
  type ScanRequest,
  scanError,
  USER_SPACE_END,
} from '../abi/internal.js';

const EFAULT = 14;
const EINVAL = 22;
const FLAGS = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
const TWO_64 = 2 ** 64;

/** A field as C stores it in a u64, as a double: exact below 2^53, and large stays large. */
function u64(value: number | bigint | undefined): number {
  if (value === undefined) return 0;
  const number = typeof value === 'bigint' ? Number(BigInt.asUintN(64, value)) : value;
  return number < 0 ? number + TWO_64 : number;
}

function hasUnknownBits(value: number, known: number): boolean {
  return value > 0x7fffffff || (value & ~known) !== 0;
}

/** Whether the value's low twelve bits are clear; exact for bigints beyond 2^53 too. */
function isPageAligned(value: number | bigint): boolean {
  return typeof value === 'bigint' ? (value & 0xfffn) === 0n : value % PAGE_SIZE === 0;
}

/**
 * A request that passed validation, in the units of the walk. One object is reused by all scans of an address
 * space.
 */
export class CheckedRequest {
  readonly #userSpaceEnd: number;
  /** Page numbers; `end` exclusive. */
  start = 0;
  end = 0;
  flags = 0;
  inverted = 0;
  mask = 0;
  anyof = 0;
  returned = 0;
  /** Infinity for no limit. */
  maxPages = 0;
  /** Whether there is an output vector with a length. */
  hasVec = false;
  vecLen = 0;

  /** @param userSpaceEnd where the address space ends, bytes: ranges beyond are EFAULT. x86-64's by default */
  constructor(userSpaceEnd: number = USER_SPACE_END) {
    this.#userSpaceEnd = userSpaceEnd;
  }

  /**
   * Checks and takes over a request to a page map that has no kernel behind it. It throws for an invalid
   * request, and empties the output.
   *
   * @param pid for the error; undefined for a page map that is no process's
   * @throws PagemapError EINVAL, EFAULT, as the ioctl
   * @throws TypeError for an output whose memory is gone
   */
  require(request: ScanRequest, output: RegionBuffer | null, knownCategories: number, pid?: number): void {
    requireUsable(request, output, pid);
    if (output !== null) output.length = 0;
    const invalid = this.check(request, output, knownCategories);
    if (invalid !== 0) throw scanError(invalid, request, undefined, pid);
  }

  /**
   * Checks the arguments in the kernel's order and takes them over; `requireUsable` has accepted them.
   *
   * @param knownCategories what the kernel profile knows
   * @returns 0, or the errno
   */
  check(request: ScanRequest, output: RegionBuffer | null, knownCategories: number): number {
    const { override } = request;
    if (override?.size !== undefined && u64(override.size) !== PM_SCAN_ARG.sizeBytes) return EINVAL;
    const flags = u64(request.flags);
    if (hasUnknownBits(flags, FLAGS)) return EINVAL;
    const inverted = u64(request.categoryInverted);
    const mask = u64(request.categoryMask);
    const anyof = u64(request.categoryAnyofMask);
    const returned = u64(request.returnMask);
    if (
      hasUnknownBits(inverted, knownCategories) ||
      hasUnknownBits(mask, knownCategories) ||
      hasUnknownBits(anyof, knownCategories) ||
      hasUnknownBits(returned, knownCategories)
    ) {
      return EINVAL;
    }
    // Here start, end and vec would lose their address tag, which x86-64 without LAM does not have.
    if (!isPageAligned(request.start)) return EINVAL;
    const start = u64(request.start);
    const end = u64(request.end);
    if (end < start || end > this.#userSpaceEnd) return EFAULT;
    const vec = override?.vec === undefined ? (output === null ? 0 : 1) : u64(override.vec);
    const vecLen = override?.vecLen === undefined ? (output?.capacity ?? 0) : u64(override.vecLen);
    if (vec === 0 && vecLen !== 0) return EINVAL;
    if (vec !== 0 && vec + vecLen * PAGE_REGION.sizeBytes > this.#userSpaceEnd) return EFAULT;

    this.start = start / PAGE_SIZE;
    this.end = Math.ceil(end / PAGE_SIZE);
    this.flags = flags;
    this.inverted = inverted;
    this.mask = mask;
    this.anyof = anyof;
    this.returned = returned;
    this.maxPages = u64(request.maxPages) || Number.POSITIVE_INFINITY;
    this.hasVec = vecLen !== 0;
    this.vecLen = vecLen;
    return 0;
  }
}
