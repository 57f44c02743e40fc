/**
 * How large a huge page is, bytes, where pages are of `pageSize`: as large as what a page full of entries for pages maps, of 8 bytes
 * each. That is 2 MiB of pages of 4 KiB, 32 MiB of 16 KiB, 512 MiB of 64 KiB.
 */
export function hugePageSizeOf(pageSize: number): number {
  return (pageSize / 8) * pageSize;
}
