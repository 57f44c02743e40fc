import { describe, expect, test } from 'vitest';
import {
  errnoNumber,
  HUGE_PAGE_SIZE,
  loadU64,
  NotSupportedError,
  PAGE_SIZE,
  PAGEMAP_SCAN,
  PM_SCAN_ARG,
  USER_SPACE_END,
} from '../abi/internal.js';
import { type Asking, askUserSpaceEnd, Machine } from './machine.js';

/** A kernel with pages of that size, which is asked for nothing else. */
function pagesOf(bytes: number) {
  const asked: number[] = [];
  const libc = { sysconf: (name: number) => asked.push(name) && bytes } as unknown as Asking;
  return { asked, machine: new Machine(() => libc, 'arm64') };
}

describe('the size of pages', () => {
  test.each([
    [4, 2],
    [16, 32],
    [64, 512],
  ])('is %i KiB where the kernel says so, and huge pages are of %i MiB', (kilobytes, megabytes) => {
    const { machine, asked } = pagesOf(kilobytes * 1024);
    expect([machine.pageSize, machine.hugePageSize]).toEqual([kilobytes * 1024, megabytes * 2 ** 20]);
    expect(machine.pageSize).toBe(kilobytes * 1024);
    // _SC_PAGESIZE, once.
    expect(asked).toEqual([30]);
  });

  test('is refused by name where it is another one', () => {
    const { machine } = pagesOf(8192);
    expect(() => machine.pageSize).toThrow(NotSupportedError);
    expect(() => machine.pageSize).toThrow(
      'this kernel has pages of 8192 bytes; pages of 4096 or 16384 or 65536 bytes are supported',
    );
  });

  test('is not asked for on x86-64, nor is where user space ends', () => {
    const machine = new Machine(() => expect.unreachable(), 'x64');
    expect([machine.pageSize, machine.hugePageSize, machine.userSpaceEnd]).toEqual([
      PAGE_SIZE,
      HUGE_PAGE_SIZE,
      USER_SPACE_END,
    ]);
  });
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
    sysconf: () => PAGE_SIZE,
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
    expect(askUserSpaceEnd(libc, candidates, PAGE_SIZE)).toBe(2 ** 48);
    expect(asked).toEqual(['scan to 10000000000000', 'scan to 1000000000000']);
  });

  test('is where memory can be mapped, where there is no ioctl; nothing stays mapped', () => {
    const { libc, asked } = kernel(2 ** 48, false);
    expect(askUserSpaceEnd(libc, candidates, PAGE_SIZE)).toBe(2 ** 48);
    expect(asked.filter((each) => !each.startsWith('scan'))).toEqual([
      'map ffffffffff000',
      'map fffffffff000',
      'unmap fffffffff000',
    ]);
  });

  test('is the least candidate where no other is', () => {
    expect(askUserSpaceEnd(kernel(2 ** 38, true).libc, candidates, PAGE_SIZE)).toBe(2 ** 39);
  });

  test('is asked for in pages of the kernel: mappings are', () => {
    const { libc, asked } = kernel(2 ** 48, false);
    expect(askUserSpaceEnd(libc, [2 ** 52, 2 ** 48], 65536)).toBe(2 ** 48);
    const machine = new Machine(() => ({ ...libc, sysconf: () => 16384 }), 'arm64');
    expect(machine.userSpaceEnd).toBe(2 ** 48);
    expect(asked).toContain('unmap ffffffffc000');
    const before = asked.length;
    expect([machine.userSpaceEnd, asked.length]).toEqual([2 ** 48, before]);
  });
});
