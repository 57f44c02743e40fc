export { RecordingError, type RecordingProblem } from './errors.js';
export { type MappingLayout, takeLayout } from './layout.js';
export { type FoundRecording, listRecordings, openRecording, Recording, type RowGroup } from './read.js';
export {
  type IntervalDetails,
  type RecordedInterval,
  type RecordedProcess,
  Recorder,
  type RecorderOptions,
  type RecorderTotals,
} from './recorder.js';
export {
  COLUMNS,
  type Column,
  type ColumnName,
  type ColumnType,
  RECORDING_SCHEMA,
  RECORDS,
  type RecordingEnd,
  type RecordingInfo,
  type RecordKind,
} from './schema.js';
