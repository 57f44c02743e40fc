/** Shared memory that a process maps several times, as runtimes do whose pointers have colours in them: it need be read, and kept, only once. */

import { fileId } from './file-id.js';
import type { Planned } from './plan.js';

/**
 * The mappings all of which is in another one, too.
 *
 * @param isShared whether a mapping is of shared memory, and read from its file as a whole
 * @returns for the start of each of them, the mapping that has its memory, which is not one of them
 */
export function findViews(
  plan: readonly Planned[],
  isShared: (planned: Planned) => boolean,
): Map<number, Planned> {
  const byFile = new Map<string, Planned[]>();
  for (const planned of plan) {
    if (!isShared(planned)) continue;
    const id = fileId(planned.mapping);
    const others = byFile.get(id);
    if (others === undefined) byFile.set(id, [planned]);
    else others.push(planned);
  }
  const views = new Map<number, Planned>();
  for (const all of byFile.values()) {
    const bytesOf = ({ mapping }: Planned) => mapping.end - mapping.start;
    // By their place in the file, of several from one place on the longest first, and of equal ones that at the lowest address.
    const inOrder = all.sort(
      (a, b) =>
        a.mapping.offset - b.mapping.offset || bytesOf(b) - bytesOf(a) || a.mapping.start - b.mapping.start,
    );
    let whole: Planned | undefined;
    for (const planned of inOrder) {
      const { mapping } = planned;
      const isInside =
        whole !== undefined &&
        mapping.offset + bytesOf(planned) <= whole.mapping.offset + bytesOf(whole) &&
        planned.share === whole.share;
      if (isInside) views.set(mapping.start, whole!);
      else whole = planned;
    }
  }
  return views;
}

/** The address that a view's memory has in the mapping that has it, too. */
export function addressIn(whole: Planned, { mapping }: Planned): number {
  return whole.mapping.start + (mapping.offset - whole.mapping.offset);
}
