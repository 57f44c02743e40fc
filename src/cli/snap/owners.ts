/** Whose memory it was, at the moment of a snapshot. */
import { type Owner, recogniseOwners, Words } from '../../owners/internal.js';
import type { Snapshot } from '../../snapshot/index.js';

/** The owner of each mapping of a snapshot, by its start; what is not known is left out. */
export function ownersOfSnapshot(pid: number, snapshot: Snapshot): ReadonlyMap<number, Owner> {
  const { mappings, threads } = snapshot;
  const owners = recogniseOwners({
    pid,
    pageSize: snapshot.pageSize,
    mappings,
    program: snapshot.program,
    threads,
    read(address, count) {
      if (!Number.isSafeInteger(address) || address % 8 !== 0) return undefined;
      try {
        const bytes = snapshot.read(address, count * 8);
        return new Words(new Uint32Array(bytes.buffer, bytes.byteOffset, count * 2));
      } catch {
        // Not mapped, or nothing of it is kept: the recogniser does without.
        return undefined;
      }
    },
  });
  return new Map(
    owners.flatMap((owner, index) => (owner === undefined ? [] : [[mappings[index]!.start, owner] as const])),
  );
}
