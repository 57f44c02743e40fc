/** What this kernel does, found by asking it: expectations follow from it, where kernels differ. */
import { PagemapError } from '../../src/abi/index.js';
import { mapMemory, openPagemap, pageSize, SafeAccess } from '../../src/live/index.js';
import { isPagemapExclusive } from '../../src/proc/index.js';
import { type MeasuredProfile, measureProfile } from '../../src/scenario/index.js';
import { available } from './needs.js';

const isLinux = process.platform === 'linux';

/** The kernel's profile; undefined where there is no PAGEMAP_SCAN. */
export async function measureHere(): Promise<MeasuredProfile | undefined> {
  return available('pagemap-scan', 'wp-async') ? await measureProfile() : undefined;
}

/**
 * Whether a read of untouched anonymous memory maps the shared zero page. Told by a bit of /proc/PID/pagemap that a page of the
 * process's own has and the zero page has not: this needs neither the ioctl nor the right to see frame numbers.
 */
export function hasZeroPage(): boolean {
  if (!isLinux) return true;
  using memory = mapMemory({ lengthBytes: pageSize() });
  using access = new SafeAccess();
  const words = new Uint32Array(2);
  try {
    using pagemap = openPagemap('self');
    access.read(memory.address);
    pagemap.readWords(memory.address, words);
  } catch (error) {
    // Where pages cannot be looked at, nobody asks whose they are.
    if (error instanceof PagemapError) return true;
    throw error;
  }
  return !isPagemapExclusive(words[1]!);
}

/** What is in the target's mapping of which all is known (`test/native/scene.c`): kinds of pages and how many. */
export function scenePages(has: {
  zeroPage: boolean;
  guards: boolean;
}): [['anonymous', number], ...[kind: string, count: number][]] {
  const read: [string, number][] = has.zeroPage ? [['zero', 8]] : [];
  const guarded: [string, number][] = has.guards ? [['guard', 8]] : [];
  return [['anonymous', has.zeroPage ? 16 : 24], ...read, ...guarded, ['untouched', has.guards ? 32 : 40]];
}
