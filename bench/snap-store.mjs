// Stores of many snapshots of a made-up process: what is measured of reading them needs no process.

import { PageTable } from '../dist/snapshot/page-table.js';
import { StoreWriter } from '../dist/snapshot/store.js';
import { random, randomBelow } from '../test/support/random.mjs';
import { mappingOf, STATE } from '../test/support/snapshot-state.mjs';

const START = 0x7f00_0000_0000;
const PAGE_SIZE = 4096;
const FIRST_PAGE = START / PAGE_SIZE;

/** A page that no other number has: a quarter of it random bytes, the rest as memory often is. */
function fillPage(page, number) {
  const next = random(number);
  for (let at = 0; at < PAGE_SIZE / 4; at += 4) page.setUint32(at, next() * 2 ** 32, true);
  for (let at = PAGE_SIZE / 4; at < PAGE_SIZE; at += 8) page.setFloat64(at, number + at, true);
}

/**
 * Makes `count` snapshots of `pages` pages, of which `written`, at random, get other bytes between each and the next. Where
 * there are fewer `contents` than pages, they are shared, and writing takes one of them; otherwise each page is another.
 *
 * @returns the range of its addresses
 */
export async function makeStore(folder, { count, pages, written, contents, compression = 'none' }) {
  const below = randomBelow(1);
  const end = START + pages * PAGE_SIZE;
  const about = { pid: 4242, startTime: 17, bootId: 'boot', name: 'made-up', commandLine: 'made-up' };
  const store = StoreWriter.open(folder, about, { compression });
  const page = new Uint8Array(PAGE_SIZE);
  let numbers = 0;
  const put = () => {
    fillPage(new DataView(page.buffer), ++numbers);
    return store.put(page);
  };
  const references = Array.from({ length: contents }, put);
  let table = new PageTable();
  for (let at = 0; at < pages; at++) table.set(FIRST_PAGE + at, references[at % contents]);
  for (let number = 1; number <= count; number++) {
    let ranges;
    if (number > 1) {
      const chosen = new Set();
      while (chosen.size < written) chosen.add(below(pages));
      ranges = [...chosen].sort((a, b) => a - b).map((at) => [FIRST_PAGE + at, 1, 0]);
      table = table.clone();
      for (const [at] of ranges) table.set(at, contents < pages ? references[below(contents)] : put());
    }
    const timeMs = 1_700_000_000_000 + number * 1000;
    await store.add({
      ...STATE,
      timeMs,
      table,
      written: ranges,
      mappings: [mappingOf(START, end)],
    });
  }
  store[Symbol.dispose]();
  return { start: START, end };
}
