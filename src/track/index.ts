export {
  allocateTracked,
  type Collected,
  MemoryTracker,
  type TrackableMemory,
  type TrackedMemory,
  trackMemory,
  type WasmMemory,
} from './own.js';
export {
  type Interval,
  type MappingWrites,
  ProcessTracker,
  type SkippedMapping,
  type SkipReason,
  type TrackedKind,
  type TrackedPart,
  trackProcess,
} from './process.js';
export { type WorkingSetSize, WriteWorkingSet } from './working-set.js';
export { getWriteWatch, resetWriteWatch, type WriteWatch, type WriteWatchOptions } from './write-watch.js';
