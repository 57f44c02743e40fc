/**
 * The size of a huge page, bytes, for a page size: a page table fills one page with entries of 8 bytes, and a
 * huge page is what it maps. That is 2 MiB for pages of 4 KiB, 32 MiB for 16 KiB, 512 MiB for 64 KiB.
 */
export function hugePageSizeOf(pageSize: number): number {
  return (pageSize / 8) * pageSize;
}
