import { expect, test } from 'vitest';
import { parseFdinfo, parseMountKinds, parsePins } from './fdinfo.js';

const bytes = (text: string) => new TextEncoder().encode(text);

const RING = `pos:	0
flags:	02000002
mnt_id:	17
ino:	73375
SqMask:	0x7f
SqHead:	3758
SqTail:	3760
CachedSqHead:	3758
CqMask:	0xff
CqHead:	3694
CqTail:	3694
CachedCqTail:	3694
SQEs:	0
CQEs:	0
SqThread:	-1
SqThreadCpu:	-1
UserFiles:	1
    0: /srv/od1
UserBufs:	3
    0: 0x7efcad600000/67108864
    1: <none>
    2: 0x1000/4096
PollList:
CqOverflowList:
NAPI:	disabled
`;

test('a file that is read past the page cache', () => {
  const { flags, mountId, ring } = parseFdinfo(bytes('pos:\t0\nflags:\t0140002\nmnt_id:\t27\nino:\t15\n'));
  expect(flags).toBe(0o140002);
  expect(mountId).toBe(27);
  expect(ring).toBeUndefined();
});

test('a ring of io_uring, as Linux 6.18 shows it', () => {
  expect(parseFdinfo(bytes(RING)).ring).toEqual({
    underWay: 64,
    hasThread: false,
    waiting: 2,
    files: 1,
    buffers: [0x7efcad600000, 0x7efcad600000 + 67108864, 0x1000, 0x2000],
    hiddenBuffers: 0,
  });
});

test('counters that ran over, buffers that are not shown', () => {
  const over = RING.replace('CachedSqHead:	3758', 'CachedSqHead:	5').replace(
    'CachedCqTail:	3694',
    'CachedCqTail:	4294967290',
  );
  expect(parseFdinfo(bytes(over)).ring?.underWay).toBe(11);
  const busy = RING.replace(/UserBufs:\t3\n( .*\n)*/, 'UserBufs:\t3\n');
  expect(parseFdinfo(bytes(busy)).ring).toMatchObject({ buffers: [], hiddenBuffers: 3 });
  expect(parseFdinfo(bytes(RING.replace(/UserBufs:\t3\n( .*\n)*/, ''))).ring?.hiddenBuffers).toBe(1);
});

test('file systems by mount', () => {
  const text =
    '27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n30 27 0:25 / /mnt rw - fuse.sshfs a:/ rw\n';
  expect([...parseMountKinds(bytes(text))]).toEqual([
    [27, 'ext4'],
    [30, 'fuse.sshfs'],
  ]);
});

test('pins', () => {
  expect(parsePins(bytes('a 1\nnr_foll_pin_acquired 12\nnr_foll_pin_released 7\n'))).toEqual({
    acquired: 12,
    released: 7,
  });
  expect(parsePins(bytes('nr_free_pages 12\n'))).toBeUndefined();
});
