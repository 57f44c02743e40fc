import { constants } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { RingInfo } from '../proc/internal.js';
import { type DescriptorEvidence, joinRanges, judgeDirectIo } from './direct-io.js';
import { union, within } from './range-set.js';

const { O_DIRECT } = constants;

const open = (link: string, more: Partial<DescriptorEvidence> = {}): DescriptorEvidence => ({
  link,
  flags: 0,
  fileSystem: undefined,
  ring: undefined,
  ...more,
});
const DIRECT = open('/srv/data', { flags: O_DIRECT | 2, fileSystem: 'ext4' });
const ring = (more: Partial<RingInfo> = {}) =>
  open('anon_inode:[io_uring]', {
    ring: { underWay: 0, hasThread: false, waiting: 0, files: 0, buffers: [], hiddenBuffers: 0, ...more },
  });
const RING_MAPPING = 'anon_inode:[io_uring]';
const judge = (descriptors: DescriptorEvidence[], mappings: string[] = [], pinned = 0) =>
  judgeDirectIo(descriptors, mappings, pinned, 4096);

describe('what devices may write to', () => {
  test.each<[string, DescriptorEvidence[], string[], Partial<ReturnType<typeof judge>>]>([
    ['plain files, pipes and sockets', [open('/srv/a', { fileSystem: 'ext4' }), open('socket:[1]')], [], {}],
    ['a pipe of packets, which has the same flag', [open('pipe:[7]', { flags: O_DIRECT })], [], {}],
    ['a file past the page cache', [DIRECT], [], { direct: true, counted: true }],
    [
      'of which not all pins are counted',
      [DIRECT, open('/mnt/x', { flags: O_DIRECT, fileSystem: 'nfs4' })],
      [],
      { direct: true },
    ],
    [
      'file systems that read so without being asked',
      [open('/mnt/x', { fileSystem: 'fuse.sshfs' })],
      [],
      { direct: true },
    ],
    ['a ring that reads by the page cache', [ring({ underWay: 3 })], [RING_MAPPING], { idle: false }],
    [
      'a ring that does not',
      [DIRECT, ring({ underWay: 3 })],
      [RING_MAPPING],
      { direct: true, asynchronous: true, counted: true, idle: false },
    ],
    [
      'a ring that answers some requests more than once',
      [DIRECT, ring({ underWay: -3 })],
      [RING_MAPPING],
      { direct: true, asynchronous: true, counted: true, idle: false },
    ],
    [
      'a ring that rests',
      [DIRECT, ring({ waiting: 2 })],
      [RING_MAPPING],
      { direct: true, asynchronous: true, counted: true },
    ],
    [
      'one for which the kernel takes requests of its own accord',
      [DIRECT, ring({ waiting: 2, hasThread: true })],
      [RING_MAPPING],
      { direct: true, asynchronous: true, counted: true, idle: false },
    ],
    [
      'files that are known to the ring only',
      [ring({ files: 1 })],
      [RING_MAPPING],
      { direct: true, asynchronous: true },
    ],
    [
      'aio, whose requests do not show',
      [DIRECT],
      ['/[aio] (deleted)'],
      { direct: true, asynchronous: true, counted: true, idle: false },
    ],
    [
      'buffers that are registered',
      [ring({ buffers: [0x5000, 0x6010, 0x1000, 0x2000] })],
      [RING_MAPPING],
      { pinned: [0x1000, 0x2000, 0x5000, 0x7000] },
    ],
    [
      'and that do not show',
      [ring({ hiddenBuffers: 2 })],
      [RING_MAPPING],
      { doubts: ['it has buffers registered with io_uring that /proc does not show'] },
    ],
    [
      'a ring in memory of the program',
      [ring()],
      [],
      { doubts: ['it has a ring of io_uring in memory of its own'] },
    ],
    [
      'devices',
      [
        open('/dev/infiniband/uverbs0'),
        open('/dev/dri/renderD128'),
        open('/dev/vfio/12'),
        open('/dev/video0'),
        open('/dev/null'),
      ],
      [],
      {
        doubts: [
          'it has RDMA open',
          'it has a device that is passed through open',
          'it has a GPU open',
          'it has a video device open',
        ],
      },
    ],
  ])('%s', (_, descriptors, mappings, expected) => {
    expect(judge(descriptors, mappings)).toEqual({
      direct: false,
      asynchronous: false,
      idle: true,
      counted: false,
      pinned: [],
      doubts: [],
      ...expected,
    });
  });

  test('memory that is pinned for good, and by whom', () => {
    const descriptors = [ring({ buffers: [0x1000, 0x3000] })];
    expect(judge(descriptors, [RING_MAPPING], 0x2000).doubts).toEqual([]);
    expect(judge(descriptors, [RING_MAPPING], 0x3000).doubts).toEqual(['it has memory pinned for a device']);
  });
});

test('lists of ranges', () => {
  expect(joinRanges([9, 10, 0, 4, 3, 8], 1)).toEqual([0, 8, 9, 10]);
  expect(union([0, 4, 8, 9], [2, 6])).toEqual([0, 6, 8, 9]);
  const list = [0, 4, 8, 9, 12, 20];
  expect(within(list, 4, 8)).toEqual([]);
  expect(within(list, 3, 14)).toEqual([3, 4, 8, 9, 12, 14]);
  expect(within(list, 20, 30)).toEqual([]);
});
