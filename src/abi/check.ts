import { errnoNumber } from './errno.js';
import { scanError } from './errors.js';
import type { ScanRequest } from './pagemap.js';
import { PAGE_REGION } from './pagemap-scan.js';
import type { RegionBuffer } from './region-buffer.js';

const REGION_WORDS = PAGE_REGION.sizeBytes / 4;

const LEAST = -(2 ** 63);
const BEYOND = 2 ** 64;
const LEAST_EXACT = -(2n ** 63n);
const BEYOND_EXACT = 2n ** 64n;

/**
 * Whether C can convert a field to a u64 without loss: -1 becomes 2^64 - 1, but 1.5, NaN and 2^64 have no
 * u64.
 */
function isU64(value: number | bigint | undefined): boolean {
  // Faster than Number.isInteger; NaN and infinities are in no range.
  if (typeof value === 'number') return value >= LEAST && value < BEYOND && Math.floor(value) === value;
  return typeof value === 'bigint' && value >= LEAST_EXACT && value < BEYOND_EXACT;
}

const isOptionalU64 = (value: number | bigint | undefined) => value === undefined || isU64(value);

/** Names the first field that is no u64. Called for requests that have one: it need not be fast. */
function badField(request: ScanRequest): string {
  const { override, start, end, ...optional } = request;
  for (const [name, value] of Object.entries({ start, end }))
    if (!isU64(value)) return `${name} must be a 64-bit integer, not ${String(value)}`;
  const found = Object.entries({ ...optional, ...override }).find(([, value]) => !isOptionalU64(value));
  return `${found?.[0]} must be a 64-bit integer, not ${String(found?.[1])}`;
}

/**
 * Refuses what only JavaScript can pass to a scan: a field that is not a 64-bit integer, and an output whose
 * memory is gone. The kernel would never see these errors: NaN would be stored as 0, which means no limit or
 * no filter, and 1.5 as 1. Every provider calls this first.
 *
 * @param pid for the error; undefined for a page map that is no process's
 * @throws PagemapError EINVAL for a field that is no 64-bit integer
 * @throws TypeError for an output whose memory was transferred to another thread, or shrunk
 */
export function requireUsable(request: ScanRequest, output: RegionBuffer | null, pid?: number): void {
  const { override } = request;
  const isUsable =
    isU64(request.start) &&
    isU64(request.end) &&
    isOptionalU64(request.flags) &&
    isOptionalU64(request.maxPages) &&
    isOptionalU64(request.categoryInverted) &&
    isOptionalU64(request.categoryMask) &&
    isOptionalU64(request.categoryAnyofMask) &&
    isOptionalU64(request.returnMask) &&
    (override === undefined ||
      (isOptionalU64(override.size) && isOptionalU64(override.vec) && isOptionalU64(override.vecLen)));
  if (!isUsable) throw scanError(errnoNumber('EINVAL')!, request, undefined, pid, badField(request));
  if (output !== null && output.words.length < output.capacity * REGION_WORDS)
    throw new TypeError('Cannot scan into this RegionBuffer: its memory was transferred away or shrunk');
}
