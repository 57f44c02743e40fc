import { PagemapError } from '../abi/index.js';

/** Ends a range's registration, if it can be: the end of the userfaultfd ends it in any case. */
export function tryUnregister(
  faults: { unregister(start: number, lengthBytes: number): void },
  start: number,
  end: number,
): void {
  try {
    faults.unregister(start, end - start);
  } catch (error) {
    // Gone since, never registered, or no room for one more border between mappings.
    if (!(error instanceof PagemapError)) throw error;
  }
}
