import { describe, expect, test } from 'vitest';
import { errnoNumber, loadU64, PAGEMAP_SCAN, PM_SCAN_ARG, USER_SPACE_END } from '../abi/internal.js';
import { type Asking, askUserSpaceEnd, pageSizeProblem, userSpaceEndOf } from './machine.js';

test.each([16384, 65536])('pages of %i bytes are refused by name', (bytes) => {
  expect(pageSizeProblem(bytes)).toBe(
    `this kernel has pages of ${bytes} bytes, which are not supported yet; pages of 4096 bytes are`,
  );
});

test('pages of 4,096 bytes are supported', () => {
  expect(pageSizeProblem(4096)).toBeUndefined();
});

/** A kernel whose user space ends at `end`; what it was asked is in `asked`. */
function kernel(end: number, hasIoctl: boolean) {
  const asked: string[] = [];
  const buffers: ArrayBuffer[] = [];
  let reason = '';
  const fail = (code: string) => {
    reason = code;
    return -1;
  };
  const libc = {
    address: (buffer: ArrayBuffer) => buffers.push(buffer) - 1,
    errno: () => errnoNumber(reason),
    ioctl(_fd: number, request: number, at: number) {
      expect(request).toBe(PAGEMAP_SCAN);
      const words = new Uint32Array(buffers[at]!);
      const [from, to] = ['start', 'end'].map((field) =>
        loadU64(words, PM_SCAN_ARG.offset[field as 'start' | 'end'] / 4),
      ) as [number, number];
      expect(from).toBe(to);
      asked.push(`scan to ${to.toString(16)}`);
      if (!hasIoctl) return fail('ENOTTY');
      return to > end ? fail('EFAULT') : 0;
    },
    mmap(at: number) {
      asked.push(`map ${at.toString(16)}`);
      return at + 4096 > end ? fail('ENOMEM') : at;
    },
    munmap: (at: number) => asked.push(`unmap ${at.toString(16)}`),
  };
  return { libc: libc as Asking, asked };
}

describe("user space's end", () => {
  const candidates = [2 ** 52, 2 ** 48, 2 ** 39];

  test('is the largest range that the ioctl takes', () => {
    const { libc, asked } = kernel(2 ** 48, true);
    expect(askUserSpaceEnd(libc, candidates)).toBe(2 ** 48);
    expect(asked).toEqual(['scan to 10000000000000', 'scan to 1000000000000']);
  });

  test('is where memory can be mapped, where there is no ioctl; nothing stays mapped', () => {
    const { libc, asked } = kernel(2 ** 48, false);
    expect(askUserSpaceEnd(libc, candidates)).toBe(2 ** 48);
    expect(asked.filter((each) => !each.startsWith('scan'))).toEqual([
      'map ffffffffff000',
      'map fffffffff000',
      'unmap fffffffff000',
    ]);
  });

  test('is the least candidate where no other is', () => {
    expect(askUserSpaceEnd(kernel(2 ** 38, true).libc, candidates)).toBe(2 ** 39);
  });

  test.runIf(process.arch !== 'arm64')('is not asked where it is known', () => {
    const ask = () => expect.unreachable();
    expect(userSpaceEndOf(ask)).toBe(USER_SPACE_END);
  });
});
