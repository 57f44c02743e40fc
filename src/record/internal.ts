/** What the other layers use besides what is public. */
export { type AggregateLimits, type AggregateOptions, aggregateRecording } from './aggregate.js';
export * from './index.js';
export { RecentWrites } from './recent.js';
export { isRecordingFile } from './recorder.js';
export { WORKING_SET_WINDOWS_MS } from './schema.js';
