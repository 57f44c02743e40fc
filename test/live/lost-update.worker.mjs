// A writer thread: in each round it adds to 8 of its own 32 pages. Plain JavaScript, since worker threads load it as it is.
import { workerData } from 'node:worker_threads';

const { memory, firstWord, control, thread, pagesPerThread, pagesPerRound } = workerData;
const words = new Int32Array(memory);
const sync = new Int32Array(control);
const WORDS_PER_PAGE = 1024;
const [ROUND, DONE, STOP, COUNTERS] = [0, 1, 2, 3];

let seed = thread + 1;
for (let round = 1; ; round++) {
  // A late wake-up for the last round must not be taken for this one.
  while (Atomics.load(sync, ROUND) < round) Atomics.wait(sync, ROUND, round - 1);
  if (Atomics.load(sync, STOP)) break;
  for (let write = 0; write < pagesPerRound; write++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const page = thread * pagesPerThread + ((seed >>> 10) % pagesPerThread);
    words[firstWord + page * WORDS_PER_PAGE + (seed & (WORDS_PER_PAGE - 1))]++;
    // The truth to compare with; it lies outside the tracked pages.
    Atomics.add(sync, COUNTERS + page, 1);
  }
  Atomics.add(sync, DONE, 1);
  Atomics.notify(sync, DONE);
}
