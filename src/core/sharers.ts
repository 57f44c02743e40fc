/** Who else could write to a process's shared memory. */

import { readdirSync, readFileSync } from 'node:fs';
import { codeOf } from '../abi/internal.js';
import { isShared, type Mapping } from '../proc/internal.js';

/** Names a file, as it stands in the text of /proc/PID/maps. */
export function fileId({ device, inode }: Mapping): string {
  const two = (value: number) => value.toString(16).padStart(2, '0');
  return ` ${two(device.major)}:${two(device.minor)} ${inode} `;
}

/**
 * Whether a shared mapping is of memory that has no file which could be opened and written to: then only those who
 * have it mapped can write to it, and they have it from their parents.
 */
export function hasNoDescriptor(mapping: Mapping): boolean {
  return isShared(mapping) && mapping.deleted && mapping.name === '/dev/zero';
}

/**
 * Those of `ids` (`fileId`) that no other process maps, as far as it shows; none if there are processes that may not be
 * looked into.
 */
export function mappedByNobodyElse(ids: ReadonlySet<string>, pid: number): Set<string> {
  const left = new Set(ids);
  if (left.size === 0) return left;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === pid) continue;
    let text: string;
    try {
      text = readFileSync(`/proc/${entry}/maps`, 'latin1');
    } catch (error) {
      const code = codeOf(error);
      if (code === 'ENOENT' || code === 'ESRCH') continue;
      return new Set();
    }
    for (const id of left) if (text.includes(id)) left.delete(id);
    if (left.size === 0) break;
  }
  return left;
}
