export { AccessAges } from './access-ages.js';
export {
  type AccessReport,
  AccessStatistics,
  type AccessWindow,
  type IdlePages,
  type MappingIdleness,
} from './access-statistics.js';
export {
  type AccessedSpace,
  type AccessFaults,
  type AccessInterval,
  type AccessOptions,
  AccessTracker,
  type MappingAccesses,
  type UntoldMapping,
} from './accesses.js';
export type { Subject } from './activity.js';
export type { TrackOptions } from './attach.js';
export { measureFaultCost } from './fault-cost.js';
export {
  allocateTracked,
  type Collected,
  MemoryTracker,
  type OwnTrackOptions,
  type TrackableMemory,
  type TrackedMemory,
  trackMemory,
  type WasmMemory,
} from './own.js';
export { trackProcess } from './process.js';
export { clearReferenced, type ReferencedPages, readReferenced } from './referenced.js';
export { PageSample, SampledCount } from './sample.js';
export type { Interval, MappingWrites, ProcessTracker, SkippedMapping, SkipReason } from './tracker.js';
export { type WorkingSetSize, WriteWorkingSet } from './working-set.js';
export { getWriteWatch, resetWriteWatch, type WriteWatch, type WriteWatchOptions } from './write-watch.js';
