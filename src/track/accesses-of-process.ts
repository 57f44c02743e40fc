/** Accesses of a running process. */
import { ASYNC_RWP_FEATURES } from '../live/internal.js';
import { type AccessedSpace, AccessTracker } from './accesses.js';
import { type Attached, attachTo, hasOwn, MOST_LOOKS, requireAccesses, type TrackOptions } from './attach.js';
import { MappingList } from './mapping-list.js';

/** The memory of a process that was attached to. */
export function spaceOf({ pagemap, own }: Pick<Attached, 'pagemap' | 'own'>): AccessedSpace {
  const list = new MappingList();
  return {
    pid: pagemap.pid,
    pagemap,
    get ended() {
      return pagemap.ended;
    },
    mappings: () => list.read(pagemap.process),
    checkAlive: () => pagemap.checkAlive(),
    isClaimed: () => own !== undefined && hasOwn(own, MOST_LOOKS),
    [Symbol.dispose]: () => pagemap[Symbol.dispose](),
  };
}

/**
 * Tells which pages a process reads, writes or executes, as `trackProcess` with `accesses` does. Linux 7.3.
 *
 * @throws PagemapError EOPNOTSUPP before Linux 7.3
 * @throws ProcessError for a process that cannot, or had better not, be attached to
 */
export async function trackAccesses(
  pid: number | 'self',
  options: TrackOptions = {},
): Promise<AccessTracker> {
  requireAccesses(`track the accesses of process ${pid}`);
  return await attachTo(
    pid,
    options,
    ASYNC_RWP_FEATURES,
    (attached) =>
      new AccessTracker(spaceOf(attached), attached.faults, attached.stopMs, { sample: options.sample }),
  );
}
