/** What can be wrong with a store of snapshots. */
export type SnapshotProblem =
  /** There is no store, or no such snapshot in it. */
  | 'not-found'
  /** Bytes are not what was written. */
  | 'damaged'
  /** A newer version of this library made it. */
  | 'version'
  /** Somebody else is writing to it. */
  | 'busy'
  /** It holds snapshots of another process. */
  | 'other-process'
  /** The folder holds something else. */
  | 'not-empty'
  /** No room on the disk. */
  | 'space'
  /** Of these bytes nothing is known. */
  | 'no-bytes';

/**
 * An error of a store of snapshots.
 *
 * @example
 * ```ts
 * import { openSnapshots, SnapshotError } from 'pagemap-scan/snapshot';
 * try {
 *   openSnapshots('/no/such/folder');
 * } catch (error) {
 *   console.assert(error instanceof SnapshotError && error.reason === 'not-found');
 * }
 * ```
 */
export class SnapshotError extends Error {
  override readonly name = 'SnapshotError';
  /** Stable, as those of Node's own errors: `ERR_SNAPSHOT_NOT_FOUND`. */
  readonly code: string;
  readonly reason: SnapshotProblem;

  constructor(reason: SnapshotProblem, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
    this.code = `ERR_SNAPSHOT_${reason.toUpperCase().replace('-', '_')}`;
  }
}
