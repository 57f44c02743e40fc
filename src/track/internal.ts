/** What the other layers use besides what is public. */
export { spaceOf } from './accesses-of-process.js';
export { asWrites, giveBack, trackActivity } from './activity.js';
export { CurrentLookCost } from './fault-cost.js';
export * from './index.js';
export type { PageFinder } from './pieces.js';
export {
  type TrackedPart,
  trackByProtection,
  trackBySoftDirty,
  WriteProtectTracker,
} from './process.js';
export type { TrackedKind } from './protected-scan.js';
export { SoftDirtyTracker } from './soft-dirty.js';
export { type LookCost, targetCostMs } from './target-cost.js';
