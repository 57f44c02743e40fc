/** A disk that is soon full: a file system in memory, of some mebibytes. Takes root. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmdirSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf } from '../../src/abi/internal.js';

function run(...[program, ...args]: [string, ...string[]]): string | undefined {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (error !== undefined) return error.message;
  return status === 0 ? undefined : stderr.trim();
}

export class SmallDisk implements Disposable {
  readonly folder: string;

  constructor(mebibytes: number) {
    this.folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-disk-'));
    const problem = run('mount', '-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', this.folder);
    if (problem === undefined) return;
    rmdirSync(this.folder);
    throw new Error(`Cannot mount a file system in memory: ${problem}`);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  resize(mebibytes: number): void {
    const problem = run('mount', '-o', `remount,size=${mebibytes}m`, this.folder);
    if (problem !== undefined) throw new Error(`Cannot make it ${mebibytes} MiB large: ${problem}`);
  }

  /** Fills it with a file until so many bytes are left. */
  fill(name: string, leftBytes: number): void {
    const fd = openSync(join(this.folder, name), 'w');
    try {
      const bytes = Buffer.alloc(4096, 1);
      while (this.freeBytes > leftBytes) writeSync(fd, bytes);
    } catch (error) {
      if (codeOf(error) !== 'ENOSPC') throw error;
    } finally {
      closeSync(fd);
    }
  }

  [Symbol.dispose](): void {
    // Even if somebody is still in it.
    run('umount', '-l', this.folder);
    rmdirSync(this.folder);
  }

  /** Why there can be none here. */
  static missing(): string | undefined {
    try {
      new SmallDisk(1)[Symbol.dispose]();
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }
}
