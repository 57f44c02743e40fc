export {
  countPages,
  forEachRegion,
  type Query,
  type QueryOptions,
  type RegionVisitor,
  regions,
  scanLegs,
} from './regions.js';
export {
  type AddressRange,
  MappingSummarizer,
  type MappingSummary,
  type PageCounts,
  summarizeMappings,
} from './summary.js';
export { compileWhere, formatWhere, WhereError, type WhereMasks } from './where.js';
