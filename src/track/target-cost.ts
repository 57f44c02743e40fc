/** What tracking costs the process that is tracked: page faults that it would not have otherwise, and stops. */
import { hugePageSizeOf } from '../abi/internal.js';

/**
 * The number of faults of the first accesses to protected memory: one a page, and one for a huge page. A huge page of
 * which only a part was protected is split into small pages.
 *
 * @param bytes that were accessed, a multiple of the page size
 */
export function faultsOf(bytes: number, isHuge: boolean, pageSize: number): number {
  return Math.ceil(bytes / (isHuge ? hugePageSizeOf(pageSize) : pageSize));
}

/**
 * An estimate of what an interval cost the process, milliseconds.
 *
 * @param faultUs what a fault costs, microseconds: see `measureFaultCost`
 */
export function targetCostMs(
  {
    faultCount = 0,
    stopMs = 0,
  }: { readonly faultCount?: number | undefined; readonly stopMs?: number | undefined },
  faultUs: number,
): number {
  return (faultCount * faultUs) / 1000 + stopMs;
}
