export type { SnapshotCompression } from './block.js';
export type { ChangedRange, DiffOptions, MappingDifference, SnapshotDifference } from './diff.js';
export { SnapshotError, type SnapshotProblem } from './errors.js';
export type { HistoryEntry, HistoryOptions } from './history.js';
export type { SnapshotInfo } from './info.js';
export type { DamagedSnapshot } from './listing.js';
export type { SnapshotCounts } from './manifest.js';
export {
  type FindOptions,
  openSnapshots,
  type Snapshot,
  type Snapshots,
  type SnapshotThread,
} from './snapshots.js';
export { type Snapshotter, type SnapshotterOptions, startSnapshots } from './snapshotter.js';
export type { StoreMachine, StoreProcess } from './store-file.js';
export type { Verification, VerifyOptions } from './verify.js';
