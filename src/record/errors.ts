export type RecordingProblem =
  /** There is a file already. */
  | 'exists'
  /** Another recorder writes there. */
  | 'busy'
  /** It cannot be written or read: the disk, permissions. */
  | 'io'
  /** The file or folder holds no recording, or one of a later version. */
  | 'format';

/**
 * A recording cannot be written or read: `reason` says why, the message what to do.
 *
 * @example
 * ```ts
 * import { openRecording, RecordingError } from 'pagemap-scan/record';
 * try {
 *   await openRecording(process.execPath); // a program, not a recording
 * } catch (error) {
 *   console.assert(error instanceof RecordingError && error.reason === 'format');
 * }
 * ```
 */
export class RecordingError extends Error {
  override readonly name: string = 'RecordingError';
  readonly code: `ERR_RECORDING_${Uppercase<RecordingProblem>}`;
  readonly reason: RecordingProblem;

  constructor(reason: RecordingProblem, action: string, why: string, options?: ErrorOptions) {
    super(`Cannot ${action}: ${why}`, options);
    this.code = `ERR_RECORDING_${reason.toUpperCase() as Uppercase<RecordingProblem>}`;
    this.reason = reason;
  }
}
