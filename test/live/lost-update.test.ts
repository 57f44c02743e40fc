/** No write is lost, and none invented: writer threads against a reader that gets and protects at the same time. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect } from 'vitest';
import {
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  RegionBuffer,
} from '../../src/abi/index.js';
import { openPagemap, Userfaultfd } from '../../src/live/index.js';
import { libc } from '../../src/live/libc.js';
import { testWhere } from '../support/needs.js';

const THREADS = 6;
const PAGES_PER_THREAD = 32;
const PAGES = THREADS * PAGES_PER_THREAD;
const ROUNDS = 1000;
const [ROUND, DONE, STOP, COUNTERS] = [0, 1, 2, 3] as const;

testWhere('pagemap-scan', 'wp-async')(
  'six writers, 1,000 rounds: exactly the written pages are seen',
  async () => {
    // Memory that V8 shares between threads; the whole pages inside it are tracked.
    const memory = new SharedArrayBuffer((PAGES + 1) * PAGE_SIZE);
    const address = libc().address(memory);
    const start = Math.ceil(address / PAGE_SIZE) * PAGE_SIZE;
    const end = start + PAGES * PAGE_SIZE;
    const control = new SharedArrayBuffer((COUNTERS + PAGES) * 4);
    const sync = new Int32Array(control);

    const workers = Array.from({ length: THREADS }, (_, thread) => {
      const firstWord = (start - address) / 4;
      return new Worker(new URL('lost-update.worker.mjs', import.meta.url), {
        workerData: {
          memory,
          firstWord,
          control,
          thread,
          pagesPerThread: PAGES_PER_THREAD,
          pagesPerRound: 8,
        },
      });
    });
    await Promise.all(workers.map((worker) => once(worker, 'online')));

    using pagemap = openPagemap('self');
    using faults = Userfaultfd.open();
    faults.register(start, end - start);
    faults.writeProtect(start, end - start);
    const output = new RegionBuffer(PAGES);
    const request = {
      start,
      end,
      flags: PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
      categoryMask: PAGE_IS_WRITTEN,
      returnMask: PAGE_IS_WRITTEN,
    };

    let before = new Int32Array(sync.subarray(COUNTERS));
    let scansWhileWriting = 0;
    for (let round = 1; round <= ROUNDS; round++) {
      const seen = new Set<number>();
      const collect = () => {
        pagemap.scan(request, output);
        for (const region of output) {
          for (let at = region.start; at < region.end; at += PAGE_SIZE) seen.add((at - start) / PAGE_SIZE);
        }
      };
      Atomics.store(sync, DONE, 0);
      Atomics.store(sync, ROUND, round);
      Atomics.notify(sync, ROUND);
      while (Atomics.load(sync, DONE) < THREADS) {
        collect();
        scansWhileWriting++;
      }
      collect();
      const after = new Int32Array(sync.subarray(COUNTERS));
      const written = [...after.keys()].filter((page) => after[page] !== before[page]);
      expect([...seen].sort((a, b) => a - b)).toEqual(written);
      before = after;
    }
    Atomics.store(sync, STOP, 1);
    Atomics.store(sync, ROUND, ROUNDS + 1);
    Atomics.notify(sync, ROUND);
    await Promise.all(workers.map((worker) => once(worker, 'exit')));

    // Both sides really ran at the same time, and nothing that was added was lost in the pages either.
    expect(scansWhileWriting).toBeGreaterThan(ROUNDS / 2);
    const sum = new Int32Array(memory, 0).reduce((total, value) => total + value, 0);
    expect(sum).toBe(before.reduce((total, value) => total + value, 0));
    expect(sum).toBe(THREADS * 8 * ROUNDS);
  },
);
