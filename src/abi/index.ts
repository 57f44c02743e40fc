export * from './categories.js';
export { errnoName, errnoNumber } from './errno.js';
export {
  type CategoryRefusal,
  NotSupportedError,
  PagemapError,
  type PagemapErrorDetails,
  UnknownCategoryError,
} from './errors.js';
export { loadU64, storeU64, type U64StructLayout } from './layout.js';
export * as mman from './mman.js';
export type { Pagemap, ScanRequest, ScanResult } from './pagemap.js';
export * from './pagemap-scan.js';
export { type Region, RegionBuffer } from './region-buffer.js';
export * as uffd from './userfaultfd.js';
