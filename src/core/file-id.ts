import type { Mapping } from '../proc/index.js';

/**
 * Names the file behind a mapping. Device and inode alone do not: segments of System V have numbers of their own on the device that
 * memfds are on, and so have subvolumes of btrfs.
 */
export function fileId({ device, inode, name, deleted }: Mapping): string {
  return `${device.major}:${device.minor} ${inode} ${deleted ? 'deleted' : ''} ${name}`;
}
