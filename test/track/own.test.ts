/** Tracking of this process's own memory. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, test, vi } from 'vitest';
import { PagemapError, RegionBuffer } from '../../src/abi/index.js';
import { bufferAddress, mapMemory, pageSize } from '../../src/live/index.js';
import {
  allocateTracked,
  getWriteWatch,
  type MemoryTracker,
  resetWriteWatch,
  trackMemory,
  type WasmMemory,
} from '../../src/track/index.js';
import { openDescriptors } from '../support/descriptors.js';
import { testWhere } from '../support/needs.js';

const live = testWhere('pagemap-scan', 'wp-async');

const { WebAssembly } = globalThis as unknown as {
  WebAssembly: { Memory: new (options: object) => WasmMemory };
};

function pagesIn(output: RegionBuffer, tracker: MemoryTracker): number[] {
  const pages: number[] = [];
  for (const { start, end } of output) {
    for (let at = start; at < end; at += pageSize()) pages.push((at - tracker.start) / pageSize());
  }
  return pages;
}

function collected(tracker: MemoryTracker, capacity = 1000): number[] {
  const output = new RegionBuffer(capacity);
  const pages: number[] = [];
  for (;;) {
    const result = tracker.collect(output);
    const found = pagesIn(output, tracker);
    expect(result.pages).toBe(found.length);
    expect(result.regions).toBe(output.length);
    pages.push(...found);
    if (result.done) return pages;
  }
}

function failure(work: () => unknown): PagemapError {
  try {
    work();
  } catch (error) {
    if (error instanceof PagemapError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const every = (count: number, first = 0, step = 1) =>
  Array.from({ length: count }, (_, index) => first + index * step);

describe('what can be tracked', () => {
  const bytes = 300 * pageSize();
  const kinds: Record<string, () => { memory: Parameters<typeof trackMemory>[0]; view: Uint8Array }> = {
    ArrayBuffer: () => {
      const memory = new ArrayBuffer(bytes);
      return { memory, view: new Uint8Array(memory) };
    },
    SharedArrayBuffer: () => {
      const memory = new SharedArrayBuffer(bytes);
      return { memory, view: new Uint8Array(memory) };
    },
    Buffer: () => {
      const memory = Buffer.alloc(bytes);
      return { memory, view: memory };
    },
    'a typed array inside a buffer': () => {
      const memory = new Float64Array(new ArrayBuffer(bytes + 9 * pageSize()), 24, bytes / 8);
      return { memory, view: new Uint8Array(memory.buffer, 24, bytes) };
    },
    DataView: () => {
      const buffer = new ArrayBuffer(bytes);
      return { memory: new DataView(buffer), view: new Uint8Array(buffer) };
    },
    'WebAssembly.Memory': () => {
      const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
      return { memory, view: new Uint8Array(memory.buffer) };
    },
  };

  live.each(Object.keys(kinds))('%s', (kind) => {
    const { memory, view } = kinds[kind]!();
    view.fill(1);
    using tracker = trackMemory(memory);
    const pages = tracker.lengthBytes / pageSize();
    expect(pages).toBeGreaterThanOrEqual(298);
    expect(
      (bufferAddress(view.buffer as ArrayBuffer) + view.byteOffset + tracker.offsetBytes) % pageSize(),
    ).toBe(0);
    const write = (page: number) => {
      view[tracker.offsetBytes + page * pageSize()]!++;
    };
    expect(collected(tracker)).toEqual([]);
    for (const page of [0, 5, 6, 200, pages - 1]) write(page);
    const output = new RegionBuffer(10);
    for (let times = 0; times < 2; times++) {
      expect(tracker.peek(output)).toEqual({ regions: 4, pages: 5, done: true });
      expect(pagesIn(output, tracker)).toEqual([0, 5, 6, 200, pages - 1]);
    }
    expect(collected(tracker)).toEqual([0, 5, 6, 200, pages - 1]);
    expect(collected(tracker)).toEqual([]);
    write(9);
    tracker.reset();
    expect(collected(tracker)).toEqual([]);
    write(10);
    expect(collected(tracker)).toEqual([10]);
  });

  test('not what holds no whole page', () => {
    expect(() => trackMemory(new Uint8Array(100))).toThrow(RangeError);
    expect(() => trackMemory(new Uint8Array(0))).toThrow('hold no whole page');
  });
});

describe('allocateTracked', () => {
  live('whole pages, zeros, not to be detached; 64 KiB steps', () => {
    using memory = allocateTracked(100_000);
    expect(memory.buffer).toBeInstanceOf(ArrayBuffer);
    expect(memory.buffer.byteLength).toBe(131_072);
    expect(memory.tracker).toMatchObject({ offsetBytes: 0, lengthBytes: 131_072 });
    try {
      structuredClone(memory.buffer, { transfer: [memory.buffer] });
    } catch {
      // Some releases of Node refuse, others copy; none takes it away.
    }
    expect(memory.buffer.byteLength).toBe(131_072);
    const view = new Uint8Array(memory.buffer);
    expect(view.some((byte) => byte !== 0)).toBe(false);
    expect(collected(memory.tracker)).toEqual([]);
    view[70_000] = 1;
    expect(collected(memory.tracker)).toEqual([Math.floor(70_000 / pageSize())]);
  });

  live('by the ioctl, whatever the environment wants for other processes', () => {
    vi.stubEnv('PMSCAN_PROVIDER', 'fallback');
    try {
      using tracked = allocateTracked(4 * pageSize());
      new Uint8Array(tracked.buffer)[2 * pageSize()] = 1;
      expect(collected(tracked.tracker)).toEqual([2]);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  live('the memory outlives the tracking', () => {
    const memory = allocateTracked(1 << 20);
    const view = new Uint8Array(memory.buffer);
    memory[Symbol.dispose]();
    memory[Symbol.dispose]();
    view.fill(7);
    expect(view[99_999]).toBe(7);
    expect(failure(() => memory.tracker.collect(new RegionBuffer(1))).code).toBe('EBADF');
  });

  test.each([0, -1, Number.NaN, 2 ** 33])('not %s bytes', (bytes) => {
    expect(() => allocateTracked(bytes)).toThrow(RangeError);
  });
});

live('an output that is too small: the next call goes on, and what is written meanwhile comes later', () => {
  using memory = allocateTracked(1000 * pageSize());
  const view = new Uint8Array(memory.buffer);
  for (const page of every(500, 0, 2)) view[page * pageSize()] = 1;
  const output = new RegionBuffer(7);
  const pages: number[] = [];
  let calls = 0;
  for (let done = false; !done; calls++) {
    ({ done } = memory.tracker.collect(output));
    pages.push(...pagesIn(output, memory.tracker));
    if (calls === 10) view[0] = 2;
  }
  expect(pages).toEqual(every(500, 0, 2));
  expect(calls).toBeGreaterThanOrEqual(72);
  expect(collected(memory.tracker)).toEqual([0]);
});

describe('memory that goes away', () => {
  live('transferred', () => {
    const buffer = new ArrayBuffer(100 * pageSize());
    using tracker = trackMemory(buffer);
    const moved = structuredClone(buffer, { transfer: [buffer] });
    for (const work of [
      () => tracker.collect(new RegionBuffer(1)),
      () => tracker.peek(new RegionBuffer(1)),
      () => tracker.reset(),
    ]) {
      expect(failure(work)).toMatchObject({ code: 'EFAULT', hint: expect.stringMatching(/transferred/) });
    }
    expect(moved.byteLength).toBe(100 * pageSize());
  });

  live('a WebAssembly memory that grows', () => {
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 10 });
    const tracker = trackMemory(memory);
    const ofBuffer = failure(() => trackMemory(memory.buffer));
    expect(ofBuffer).toMatchObject({ code: 'EBUSY', hint: expect.stringMatching(/tracked already/) });
    memory.grow(1);
    expect(failure(() => tracker.collect(new RegionBuffer(1))).hint).toMatch(/has grown/);
    tracker[Symbol.dispose]();
    using again = trackMemory(memory);
    expect(again.lengthBytes).toBe(3 * 65536);
    new Uint8Array(memory.buffer)[2 * 65536] = 1;
    expect(collected(again)).toEqual([(2 * 65536) / pageSize()]);
  });

  live('unmapped, and replaced', () => {
    const memory = mapMemory({ lengthBytes: 20 * pageSize() });
    using tracker = trackMemory(memory.view());
    expect(collected(tracker)).toEqual([]);
    const { address, lengthBytes } = memory;
    memory[Symbol.dispose]();
    expect(failure(() => tracker.collect(new RegionBuffer(1)))).toMatchObject({ code: 'EFAULT' });
    using _other = mapMemory({ lengthBytes, address });
    expect(failure(() => tracker.collect(new RegionBuffer(1))).hint).toMatch(/unmapped/);
    expect(failure(() => tracker.reset()).hint).toMatch(/unmapped/);
  });

  live('its last reference dropped: the tracker keeps it', async () => {
    const tracker = (() => trackMemory(new ArrayBuffer(64 << 20)))();
    for (let round = 0; round < 20; round++) {
      // Pressure enough for the collector to look for what can go.
      new ArrayBuffer(64 << 20);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(collected(tracker)).toEqual([]);
    tracker[Symbol.dispose]();
  });
});

live('writes of worker threads to shared memory', async () => {
  using memory = allocateTracked(64 * pageSize(), { shared: true });
  const code = `
    const { workerData, parentPort } = require('node:worker_threads');
    const view = new Uint8Array(workerData.buffer);
    parentPort.on('message', (pages) => { for (const page of pages) view[page * ${pageSize()}] = 1; parentPort.postMessage('done'); });`;
  const worker = new Worker(code, { eval: true, workerData: { buffer: memory.buffer } });
  for (const pages of [[1, 2, 3], [], [63, 0]]) {
    worker.postMessage(pages);
    await once(worker, 'message');
    expect(collected(memory.tracker)).toEqual(pages.toSorted((a, b) => a - b));
  }
  await worker.terminate();
});

describe('write watch', () => {
  live('addresses in order, limit, reset of exactly what was reported', () => {
    using memory = allocateTracked(100 * pageSize());
    const view = new Uint8Array(memory.buffer);
    const { start, lengthBytes } = memory.tracker;
    const pages = (from = 0, size = lengthBytes, options = {}) =>
      [...getWriteWatch(start + from, size, options).addresses].map(
        (address) => (address - start) / pageSize(),
      );
    expect(pages()).toEqual([]);
    for (const page of [50, 3, 4, 5, 90]) view[page * pageSize() + 17] = 1;
    expect(pages()).toEqual([3, 4, 5, 50, 90]);
    expect(pages(0, lengthBytes, { limit: 2 })).toEqual([3, 4]);
    expect(pages(0, lengthBytes, { limit: 0, reset: true })).toEqual([]);
    expect(pages(0, lengthBytes, { limit: 2, reset: true })).toEqual([3, 4]);
    expect(pages()).toEqual([5, 50, 90]);
    expect(pages(5 * pageSize() + 9, 1)).toEqual([5]);
    expect(pages(6 * pageSize(), 45 * pageSize(), { reset: true })).toEqual([50]);
    resetWriteWatch(start + 90 * pageSize(), 1);
    expect(pages()).toEqual([5]);
    view[90 * pageSize()] = 2;
    expect(pages(0, lengthBytes, { reset: true })).toEqual([5, 90]);
    expect(pages()).toEqual([]);
    expect(getWriteWatch(start, 1).granularity).toBe(pageSize());
  });

  live('more pages than one call takes', () => {
    using memory = allocateTracked(3000 * pageSize());
    const view = new Uint8Array(memory.buffer);
    const { start, lengthBytes } = memory.tracker;
    for (const page of every(1400, 1, 2)) view[page * pageSize()] = 1;
    const { addresses } = getWriteWatch(start, lengthBytes, { reset: true });
    expect([...addresses].map((address) => (address - start) / pageSize())).toEqual(every(1400, 1, 2));
    expect(getWriteWatch(start, lengthBytes).addresses).toHaveLength(0);
  });

  live('only of memory that is tracked', () => {
    using memory = allocateTracked(pageSize());
    const { start, end } = memory.tracker;
    for (const [base, size] of [
      [start - 1, 1],
      [end, 1],
      [start, end - start + 1],
      [start, 0],
      [0.5, 1],
    ] as const) {
      expect(failure(() => getWriteWatch(base, size)).code).toBe('EINVAL');
      expect(failure(() => resetWriteWatch(base, size)).code).toBe('EINVAL');
    }
    expect(() => getWriteWatch(start, 1, { limit: -1 })).toThrow(RangeError);
  });
});

live('no descriptor is left', () => {
  const round = () => {
    using memory = allocateTracked(1 << 20);
    collected(memory.tracker);
    expect(() => trackMemory(memory.buffer)).toThrow('EBUSY');
  };
  round();
  const before = openDescriptors();
  for (let times = 0; times < 20; times++) round();
  expect(openDescriptors()).toEqual(before);
});
