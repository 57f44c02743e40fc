import { readdirSync, readlinkSync } from 'node:fs';

/** What this process's descriptors point to, sorted; the one that lists them is left out. */
export function openDescriptors(): string[] {
  const found: string[] = [];
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      found.push(readlinkSync(`/proc/self/fd/${fd}`).replace(/\d{3,}/g, 'N'));
    } catch {
      // The descriptor that readdir itself used.
    }
  }
  return found.sort();
}
