/** Pages that are pinned, for devices to write to: the system counts them, all together. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parsePins, parseStatus } from '../proc/internal.js';
import { pageSize } from './libc.js';

/** Adds up what each processor has counted; takes root. */
const REFRESH = '/proc/sys/vm/stat_refresh';

export interface PinCount {
  readonly acquired: number;
  readonly released: number;
}

/** How many pages were pinned and let go since boot, exactly; undefined where that cannot be known. */
export function countPins(): PinCount | undefined {
  try {
    writeFileSync(REFRESH, '1');
    return parsePins(readFileSync('/proc/vmstat'));
  } catch {
    return undefined;
  }
}

/** Pages that processes have pinned for good, as far as they are charged for it. */
export function countLongPins(): number {
  let bytes = 0;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      bytes += parseStatus(readFileSync(`/proc/${entry}/status`)).vmPinBytes ?? 0;
    } catch {
      // Ended meanwhile.
    }
  }
  return bytes / pageSize();
}
