/** What tracking costs the process that is tracked: page faults that it would not have otherwise, and stops. */
import { hugePageSizeOf } from '../abi/internal.js';

/**
 * How many faults the first accesses to protected memory are: one a page, and one for a huge page. A part of a huge page that was
 * protected alone has small pages by now.
 *
 * @param bytes that were accessed, a multiple of the page size
 */
export function faultsOf(bytes: number, isHuge: boolean, pageSize: number): number {
  return Math.ceil(bytes / (isHuge ? hugePageSizeOf(pageSize) : pageSize));
}

/**
 * What an interval cost the process, milliseconds, at most about.
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
