import { codeOf } from '../abi/internal.js';

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
  /** The snapshot does not hold these bytes. */
  | 'no-bytes'
  /** Other users may write to the folder: they could redirect the files that are written. */
  | 'unsafe'
  /** This user may not read or write its files. */
  | 'not-permitted';

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

/** The error of a file operation, with the reason where this user lacks the permission. */
export function explainAccess(error: unknown, action: string): unknown {
  const code = codeOf(error);
  if (error instanceof SnapshotError || (code !== 'EACCES' && code !== 'EPERM')) return error;
  return new SnapshotError(
    'not-permitted',
    `Cannot ${action}: permission denied; run as the owner of the folder, or as root`,
    { cause: error },
  );
}
