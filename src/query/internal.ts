/** What the other layers use besides what is public. */

export * from './excerpt.js';
export * from './expression.js';
export * from './human.js';
export * from './index.js';
export * from './kinds.js';
export * from './masks.js';
export { RegionJoiner } from './regions.js';
export { addToCounts, emptyCounts, legRanges, RegionDealer, SUMMARY_RETURN, sumCounts } from './summary.js';
