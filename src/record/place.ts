/** Where a recording's files are: names that are always safe, and folders with one owner. */

import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { codeOf } from '../abi/internal.js';
import { lockFile } from '../live/internal.js';
import { parseStatStartTime } from '../proc/index.js';
import { RecordingError } from './errors.js';

/** Of the names of working folders; hidden, so that nobody takes what is in them for recordings. */
const PREFIX = '.recording-';

/** Bytes of a name from outside that a path may hold: file systems allow 255. */
const MOST_NAME_BYTES = 200;

/**
 * Encodes a text as one path element, as Hive's partitions do: letters, digits, `-`, `_` and inner dots stay; every
 * other byte is `%XX`. Engines that know such partitions decode it.
 */
export function pathElement(text: string): string {
  let escaped = '';
  for (const byte of new TextEncoder().encode(text)) {
    const character = String.fromCharCode(byte);
    const plain = /[\w-]/.test(character) || (character === '.' && escaped !== '');
    const next = plain ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    if (escaped.length + next.length > MOST_NAME_BYTES) break;
    escaped += next;
  }
  return escaped === '' ? '__HIVE_DEFAULT_PARTITION__' : escaped;
}

/** `20261122T210515Z`. */
function stamp(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
}

/** UTC: `2026-11-22`. */
export function dateOf(time: Date): string {
  return time.toISOString().slice(0, 10);
}

/** Path of a file inside the folder of recordings, `host=H/date=D/pid=P/TIME-RECORDING.parquet`. */
export function partPath(host: string, pid: number, recording: string, begin: Date): string {
  return join(
    `host=${pathElement(host)}`,
    `date=${dateOf(begin)}`,
    `pid=${pid}`,
    `${stamp(begin)}-${recording}.parquet`,
  );
}

/** Not every file system has locks: then nobody has one. */
function tryLock(fd: number): boolean {
  try {
    return lockFile(fd);
  } catch {
    return false;
  }
}

/** Who a working folder belongs to. */
interface Owner {
  readonly host: string;
  readonly boot: string;
  readonly pid: number;
  readonly startTimeTicks: number;
  /** It holds a lock on this file as long as it lives. */
  readonly locked: boolean;
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

function startTimeOf(pid: number): number | undefined {
  try {
    return parseStatStartTime(readFileSync(`/proc/${pid}/stat`)).startTimeTicks;
  } catch {
    return undefined;
  }
}

/**
 * Whether the owner of a working folder has certainly ended. For an owner on another machine, that cannot be known
 * here. The process number alone is not enough: in another container, which may have the same host name, it belongs to
 * another process or to none.
 */
function isGone(folder: string, owner: Owner): boolean {
  // A container that is made anew has another name, and is on the same machine.
  if (owner.host !== hostname() && owner.boot !== bootId()) return false;
  if (owner.locked) {
    try {
      // On NFS, to lock a file takes one that may be written.
      const file = openSync(join(folder, 'owner'), constants.O_RDWR | constants.O_NOFOLLOW);
      try {
        return tryLock(file);
      } finally {
        closeSync(file);
      }
    } catch {
      return false;
    }
  }
  return owner.boot !== bootId() || startTimeOf(owner.pid) !== owner.startTimeTicks;
}

/**
 * Whether a working folder may be removed with its contents: it must be a folder of this user. Another user could
 * replace names by links during the removal, so that other files would be removed.
 */
function isRemovable(folder: string, user: number = process.geteuid!()): boolean {
  const about = lstatSync(folder, { throwIfNoEntry: false });
  return about?.isDirectory() === true && about.uid === user;
}

function ownerOf(folder: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, 'owner'), 'utf8'));
  } catch {
    return undefined;
  }
}

/** A folder for a recorder's working copies. It has one owner, and once that is gone, the next one clears it away. */
export class WorkingFolder implements Disposable {
  readonly path: string;
  #lock = -1;

  private constructor(path: string) {
    this.path = path;
    // Others see whose it is, and cannot put anything in it, whatever the mask for new files lets them do.
    mkdirSync(path, { mode: 0o755 });
    try {
      this.#lock = openSync(join(path, 'owner'), 'wx');
      const owner: Owner = {
        host: hostname(),
        boot: bootId(),
        pid: process.pid,
        startTimeTicks: startTimeOf(process.pid)!,
        locked: tryLock(this.#lock),
      };
      writeFileSync(this.#lock, JSON.stringify(owner));
    } catch (error) {
      // Without an owner nobody could tell that it is of no use any more.
      this[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Beside the file that is written: nobody else records to it meanwhile.
   *
   * @param user who clears away what a dead one has left, this process's user by default
   * @throws RecordingError 'busy' when somebody does
   */
  static forFile(file: string, user?: number): WorkingFolder {
    const path = join(dirname(file), `.${basename(file)}.recording`);
    try {
      return new WorkingFolder(path);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
    const owner = ownerOf(path);
    if (owner === undefined || !isGone(path, owner) || !isRemovable(path, user)) {
      const who = owner === undefined ? 'somebody' : `process ${owner.pid} on ${owner.host}`;
      throw new RecordingError(
        'busy',
        `record to ${file}`,
        `${who} records to it; if that has ended, remove ${path}`,
      );
    }
    rmSync(path, { recursive: true });
    return new WorkingFolder(path);
  }

  /**
   * Inside a folder of recordings, to which many record; what dead ones have left there is removed.
   *
   * @param user as for `forFile`
   */
  static inFolder(folder: string, recording: string, user?: number): WorkingFolder {
    for (const name of readdirSync(folder)) {
      if (!name.startsWith(PREFIX)) continue;
      const path = join(folder, name);
      const owner = ownerOf(path);
      if (owner !== undefined && isGone(path, owner) && isRemovable(path, user))
        rmSync(path, { recursive: true, force: true });
    }
    return new WorkingFolder(join(folder, `${PREFIX}${recording}`));
  }

  [Symbol.dispose](): void {
    if (this.#lock >= 0) closeSync(this.#lock);
    this.#lock = -1;
    rmSync(this.path, { recursive: true, force: true });
  }
}
