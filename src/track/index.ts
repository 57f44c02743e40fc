export {
  allocateTracked,
  type Collected,
  MemoryTracker,
  type TrackableMemory,
  type TrackedMemory,
  trackMemory,
  type WasmMemory,
} from './own.js';
export { type TrackOptions, trackProcess } from './process.js';
export type { Interval, MappingWrites, ProcessTracker, SkippedMapping, SkipReason } from './tracker.js';
export { type WorkingSetSize, WriteWorkingSet } from './working-set.js';
export { getWriteWatch, resetWriteWatch, type WriteWatch, type WriteWatchOptions } from './write-watch.js';
