/**
 * Whether devices write to a process's memory, and how that shows.
 *
 * A device writes to pages that were pinned for it, without page faults. To pin a page for that is a write, and is reported;
 * what the device writes later, after the page was protected again, is not. So a copy of a page is good only if it was begun
 * when all was over that was under way as the page was protected.
 */
import { constants } from 'node:fs';
import type { RingInfo } from '../proc/internal.js';

/** Architectures number it differently. */
const { O_DIRECT } = constants;

/** A descriptor and what is known of it. */
export interface DescriptorEvidence {
  readonly link: string;
  readonly flags: number;
  /** The kind of its file system; undefined where it has none, or that is not known. */
  readonly fileSystem: string | undefined;
  readonly ring: RingInfo | undefined;
}

export interface DirectIo {
  /** Calls may read past the page cache: pages are pinned until the call ends. */
  readonly direct: boolean;
  /** Requests may do so after the call that makes them has ended: by io_uring or aio. */
  readonly asynchronous: boolean;
  /** It shows that none of these is under way. */
  readonly idle: boolean;
  /** All of these pins are in the system's count of pins. */
  readonly counted: boolean;
  /** What is registered for as long as the program wants: start and end in turns, bytes, ascending. */
  readonly pinned: readonly number[];
  /** What may write at any time where nobody can tell, as parts of a sentence: "it has … open". */
  readonly doubts: readonly string[];
}

/** Reads of these may go past the page cache, although the descriptor does not say so. */
const ALWAYS_DIRECT = /^(fuse|9p)/;
/** These pin pages in the way that is counted. */
const COUNTED = /^(ext[234]|xfs|btrfs|f2fs|devtmpfs)$/;

/** Devices that write to memory of the program's own, on and on. */
const DEVICES: readonly (readonly [RegExp, string])[] = [
  [/^\/dev\/infiniband\//, 'RDMA'],
  [/^\/dev\/(vfio\/|iommu$|vhost-vdpa)/, 'a device that is passed through'],
  [/^\/dev\/(dri\/|kfd$|nvidia)/, 'a GPU'],
  [/^\/dev\/(video|media|v4l-)/, 'a video device'],
];

const RING_LINK = 'anon_inode:[io_uring]';
export const isRingMapping = (name: string) => name === RING_LINK || name.startsWith('/[aio]');

/** Whether more than the link is worth reading. */
export function mayPin(link: string): boolean {
  return link[0] === '/' || link === RING_LINK;
}

function readsPastCache({ link, flags, fileSystem }: DescriptorEvidence): boolean {
  // Of a pipe, the same flag means something else.
  return link[0] === '/' && ((flags & O_DIRECT) !== 0 || ALWAYS_DIRECT.test(fileSystem ?? ''));
}

function isIdle({ underWay, waiting, hasThread }: RingInfo): boolean {
  return underWay === 0 && (!hasThread || waiting === 0);
}

/** Sorts ranges, widens them to whole pages, and joins those that touch. */
export function joinRanges(ranges: readonly number[], pageSize: number): number[] {
  const pairs: [number, number][] = [];
  for (let index = 0; index < ranges.length; index += 2) {
    pairs.push([
      Math.floor(ranges[index]! / pageSize) * pageSize,
      Math.ceil(ranges[index + 1]! / pageSize) * pageSize,
    ]);
  }
  pairs.sort(([one], [other]) => one - other);
  const joined: number[] = [];
  for (const [start, end] of pairs) {
    const last = joined.length - 1;
    if (last > 0 && start <= joined[last]!) joined[last] = Math.max(joined[last]!, end);
    else joined.push(start, end);
  }
  return joined;
}

const lengthOf = (ranges: readonly number[]) =>
  ranges.reduce((sum, bound, index) => sum + (index % 2 === 0 ? -bound : bound), 0);

/**
 * Judges what a process has open and mapped.
 *
 * @param mappings their names
 * @param pinnedBytes what it is charged for as pinned for good
 */
export function judgeDirectIo(
  descriptors: readonly DescriptorEvidence[],
  mappings: readonly string[],
  pinnedBytes: number,
  pageSize: number,
): DirectIo {
  const rings = descriptors.flatMap(({ ring }) => ring ?? []);
  const pastCache = descriptors.filter(readsPastCache);
  const hasHiddenFiles = rings.some(({ files }) => files > 0);
  const hasAio = mappings.some((name) => name.startsWith('/[aio]'));
  const pinned = joinRanges(
    rings.flatMap(({ buffers }) => buffers),
    pageSize,
  );

  const doubts = DEVICES.filter(([pattern]) => descriptors.some(({ link }) => pattern.test(link))).map(
    ([, name]) => `it has ${name} open`,
  );
  if (rings.some(({ hiddenBuffers }) => hiddenBuffers > 0))
    doubts.push('it has buffers registered with io_uring that /proc does not show');
  if (rings.length > mappings.filter((name) => name === RING_LINK).length)
    doubts.push('it has a ring of io_uring in memory of its own');
  if (pinnedBytes > lengthOf(pinned)) doubts.push('it has memory pinned for a device');

  const direct = pastCache.length > 0 || hasHiddenFiles;
  return {
    direct,
    asynchronous: direct && (rings.length > 0 || hasAio),
    idle: !hasAio && rings.every(isIdle),
    counted: pastCache.length > 0 && pastCache.every(({ fileSystem }) => COUNTED.test(fileSystem ?? '')),
    pinned,
    doubts,
  };
}
