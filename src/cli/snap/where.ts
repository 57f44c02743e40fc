/** What the parts of `pmscan snap` are given: folders, snapshots in them, and addresses. */
import { InvalidArgumentError } from 'commander';
import { openSnapshots, SnapshotError, type SnapshotProblem, type Snapshots } from '../../snapshot/index.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { parseSize } from '../options.js';
import { printable } from '../text.js';

/** `DIR@N`: a snapshot. What stands behind the last @ says which; without one it is the latest. */
export interface SnapshotName {
  readonly folder: string;
  readonly which: string;
}

export function parseSnapshotName(text: string): SnapshotName {
  const at = text.lastIndexOf('@');
  const which = text.slice(at + 1);
  if (at < 0 || which.includes('/')) return { folder: text, which: 'latest' };
  if (at === 0 || which === '')
    throw new InvalidArgumentError(
      'Give a folder and a snapshot: DIR@3, DIR@latest, DIR@-2, DIR@2026-11-29T10:00.',
    );
  return { folder: text.slice(0, at), which };
}

/** The same of a target that may be something else, too: `parseSnapshotName` is for arguments. */
export function snapshotNamed(text: string): SnapshotName {
  try {
    return parseSnapshotName(text);
  } catch (cause) {
    if (!(cause instanceof InvalidArgumentError)) throw cause;
    throw new CliError(EXIT.usage, `Cannot tell which snapshot ${printable(text)} is: ${cause.message}`, {
      cause,
    });
  }
}

/** An address in hexadecimal, and a length, 8 bytes unless it is given: `0x7f00dead0+4`, or `A-B`. */
export interface ByteRange {
  readonly address: number;
  readonly lengthBytes: number;
}

/** More is not for a line of text, nor to be read at once. */
const MOST_BYTES = 2 ** 30;

export function parseByteRange(text: string): ByteRange {
  const match = /^(?:0x)?([0-9a-f]{1,13})(?:([-+])(?:(?:0x)?([0-9a-f]{1,13})|(.+)))?$/i.exec(text.trim());
  const fail = () =>
    new InvalidArgumentError(
      'Give an address in hexadecimal, with or without a length: 0x7f0000001000, 0x7f0000001000+64, or two: A-B.',
    );
  if (match === null) throw fail();
  const address = Number.parseInt(match[1]!, 16);
  const rest = match[3] ?? match[4];
  if (match[2] === undefined) return { address, lengthBytes: 8 };
  if (match[2] === '-' && match[3] === undefined) throw fail();
  const lengthBytes = match[2] === '+' ? parseSize(rest!) : Number.parseInt(rest!, 16) - address;
  if (!(lengthBytes >= 1 && lengthBytes <= MOST_BYTES))
    throw new InvalidArgumentError('Give from 1 byte to 1 GiB.');
  return { address, lengthBytes };
}

const EXIT_CODES: Readonly<Partial<Record<SnapshotProblem, ExitCode>>> = {
  'other-process': EXIT.usage,
  'not-empty': EXIT.usage,
  unsafe: EXIT.usage,
  'not-permitted': EXIT.notPermitted,
};

export function asCliError(cause: SnapshotError): CliError {
  return new CliError(EXIT_CODES[cause.reason] ?? EXIT.failed, cause.message, { cause });
}

/** What the library says of a store, as the command does. */
export async function reporting(work: () => Promise<ExitCode>): Promise<ExitCode> {
  try {
    return await work();
  } catch (cause) {
    throw cause instanceof SnapshotError ? asCliError(cause) : cause;
  }
}

/**
 * The number of the snapshot that a name means. Damaged ones are left out of the choice, and the user hears of that: the newest
 * snapshot may be older than he thinks.
 */
export function chooseSnapshot(snapshots: Snapshots, which: string): number {
  const damaged: number[] = [];
  const number = snapshots.find(which, { onDamaged: (each) => damaged.push(each) });
  if (damaged.length > 0)
    process.stderr.write(
      `pmscan: left out damaged snapshots: ${damaged.join(', ')}; ${printable(which)} is snapshot ${number} without them; \`pmscan snap verify\` says what is wrong\n`,
    );
  return number;
}

/** Opens a folder for as long as the work takes. */
export function withSnapshots(
  folder: string,
  work: (snapshots: Snapshots) => Promise<ExitCode>,
): Promise<ExitCode> {
  return reporting(async () => {
    using snapshots = openSnapshots(folder);
    return await work(snapshots);
  });
}
