// Writers at full speed against a collector that looks every millisecond. Each page holds a counter; of each page that is
// reported, the collector notes what its counter says. In the end the notes and the counters must agree: a write that was
// not reported after it happened would show as a difference. Shared by the tests and the soak programs.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { RegionBuffer } from '../../dist/index.js';
import { allocateTracked, trackProcess } from '../../dist/track/index.js';
import { firstOutput } from './output.mjs';

const PAGE = 4096;
const THREADS = 6;
const PAGES = 512;

/** Where in page `page` its counter is, bytes. */
const counterAt = (page) => page * PAGE + (page % 500) * 8;

const pause = () => new Promise((resolve) => setTimeout(resolve, 1));

/** `writes` in another process, by six threads. */
export async function lostInProcess(program, writes) {
  const child = spawn(program, [THREADS, PAGES, Math.ceil(writes / THREADS)].map(String), {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const line = await firstOutput(child);
  const start = Number.parseInt(line, 16);
  const pages = THREADS * PAGES;
  const memory = openSync(`/proc/${child.pid}/mem`, 'r');
  const tracker = await trackProcess(child.pid);
  const notes = new Float64Array(pages);
  const scratch = new BigUint64Array(1);
  const read = (page) => {
    readSync(memory, scratch, 0, 8, start + counterAt(page));
    return Number(scratch[0]);
  };
  let reported = 0;
  const note = (from, to) => {
    for (let at = Math.max(from, start); at < Math.min(to, start + pages * PAGE); at += PAGE) {
      notes[(at - start) / PAGE] = read((at - start) / PAGE);
      reported++;
    }
  };
  let done = false;
  child.stdout.once('data', () => {
    done = true;
  });
  child.stdin.write('g');
  let collects = 0;
  for (; !done; collects++) {
    tracker.collect(note);
    await pause();
  }
  tracker.collect(note);
  const before = reported;
  tracker.collect(note);
  let lost = 0;
  let total = 0;
  for (let page = 0; page < pages; page++) {
    total += read(page);
    if (read(page) !== notes[page]) lost++;
  }
  tracker[Symbol.dispose]();
  closeSync(memory);
  child.stdin.end();
  await once(child, 'exit');
  return { lost, invented: reported - before, writes: total, collects, reported };
}

const WRITER = `
  const { workerData } = require('node:worker_threads');
  const { buffer, thread, pages, writes, sync } = workerData;
  const words = new Int32Array(buffer);
  const state = new Int32Array(sync);
  Atomics.wait(state, 0, 0);
  let seed = thread + 1;
  for (let i = 0; i < writes; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const page = thread * pages + ((seed >>> 8) % pages);
    words[page * 1024 + (page % 500) * 2]++;
  }
  Atomics.add(state, 1, 1);`;

/** `writes` to own memory, by six worker threads. */
export async function lostInOwnMemory(writes) {
  const pages = THREADS * PAGES;
  const { buffer, tracker } = allocateTracked(pages * PAGE, { shared: true });
  const sync = new SharedArrayBuffer(8);
  const state = new Int32Array(sync);
  const each = Math.ceil(writes / THREADS);
  const workers = Array.from(
    { length: THREADS },
    (_, thread) =>
      new Worker(WRITER, { eval: true, workerData: { buffer, thread, pages: PAGES, writes: each, sync } }),
  );
  const exits = workers.map((worker) => once(worker, 'exit'));
  await Promise.all(workers.map((worker) => once(worker, 'online')));
  const words = new Int32Array(buffer);
  const notes = new Int32Array(pages);
  const output = new RegionBuffer(100);
  let reported = 0;
  const collect = () => {
    for (let more = true; more; ) {
      more = !tracker.collect(output).done;
      for (let index = 0; index < output.length; index++) {
        for (let at = output.start(index); at < output.end(index); at += PAGE) {
          const page = (at - tracker.start) / PAGE;
          notes[page] = Atomics.load(words, counterAt(page) / 4);
          reported++;
        }
      }
    }
  };
  Atomics.store(state, 0, 1);
  Atomics.notify(state, 0);
  let collects = 0;
  for (; Atomics.load(state, 1) < THREADS; collects++) {
    collect();
    await pause();
  }
  await Promise.all(exits);
  collect();
  const before = reported;
  collect();
  let lost = 0;
  let total = 0;
  for (let page = 0; page < pages; page++) {
    total += words[counterAt(page) / 4];
    if (words[counterAt(page) / 4] !== notes[page]) lost++;
  }
  tracker[Symbol.dispose]();
  return { lost, invented: reported - before, writes: total, collects, reported };
}

/**
 * Four threads touch each of their pages once a round, while accesses are collected every few milliseconds. Of each round, every page
 * has to be reported: in the interval in which it was first touched, or in the next one.
 *
 * @param program that of test/native/toucher.c
 */
export async function missedAccesses(program, rounds, pagesEach = 4096) {
  const child = spawn(program, [4, pagesEach].map(String), { stdio: ['pipe', 'pipe', 'inherit'] });
  const line = await firstOutput(child);
  const start = Number.parseInt(line, 16);
  const pages = 4 * pagesEach;
  const tracker = await trackProcess(child.pid, { accesses: true });
  let seen = new Uint8Array(pages);
  let reported = 0;
  const note = (from, to) => {
    for (let at = Math.max(from, start); at < Math.min(to, start + pages * PAGE); at += PAGE) {
      seen[(at - start) / PAGE] = 1;
      reported++;
    }
  };
  let missed = 0;
  let collects = 0;
  for (let round = 0; round < rounds; round++) {
    seen = new Uint8Array(pages);
    let done = false;
    child.stdout.once('data', () => {
      done = true;
    });
    child.stdin.write('g');
    for (; !done; collects++) {
      tracker.collect(note);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    tracker.collect(note);
    missed += seen.reduce((sum, page) => sum + (page === 0 ? 1 : 0), 0);
  }
  const before = reported;
  tracker.collect(note);
  tracker[Symbol.dispose]();
  child.stdin.end();
  await once(child, 'exit');
  return { missed, invented: reported - before, accesses: rounds * pages, collects, reported };
}
