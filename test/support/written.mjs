// A process does the memory operations of generated scenarios; two trackers, by write protection and by soft-dirty bits, tell
// which pages it has written, and have to agree. For kernels that have both (6.12 as Debian builds it):
//   node test/support/written.mjs FIRST_SEED COUNT
// Prints one JSON object.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import {
  forEachRegion,
  IoctlPagemap,
  PAGE_IS_FILE,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  ProcessHandle,
} from '../../dist/index.js';
import { generateScenario, measureProfile } from '../../dist/scenario/index.js';
import { trackByProtection, trackBySoftDirty } from '../../dist/track/internal.js';
import { random } from './random.mjs';

const KINDS = ['anon', 'thp', 'file', 'swap', 'mixed'];
/** What would disturb one of the trackers, or asks for what they ask. */
const LEFT_OUT = new Set(['uffd', 'register', 'unregister', 'writeprotect', 'close', 'clear_refs', 'scan']);

/** Marks the pages of an arena that lie in ranges. */
function mark({ arena, arenaPages }, ranges, value = () => 1) {
  const pages = new Int32Array(arenaPages);
  const end = arena + arenaPages * 4096;
  ranges.forEach((range, index) => {
    for (let at = Math.max(range.start, arena); at < Math.min(range.end, end); at += 4096) {
      pages[(at - arena) / 4096] = value(index);
    }
  });
  return pages;
}

/** The pages of an arena that a tracker reports, those that it does not track, and which row each is in, counted from 1. */
function collect(tracker, scenario) {
  const runs = [];
  const { mappings } = tracker.collect((start, end) => runs.push({ start, end }));
  return {
    pages: mark(scenario, runs),
    skipped: mark(scenario, tracker.skipped),
    rows: mark(scenario, mappings, (index) => index + 1),
  };
}

/** The pages of an arena that match. */
function matching(pagemap, scenario, masks) {
  const runs = [];
  const query = { start: scenario.arena, end: scenario.arena + scenario.arenaPages * 4096, ...masks };
  forEachRegion(pagemap, query, (start, end) => runs.push({ start, end }));
  return mark(scenario, runs);
}

/** The pages that exist, and are not a file's own or the zero page: those that can count. */
function existing(pagemap, scenario) {
  const without = PAGE_IS_FILE | PAGE_IS_PFNZERO;
  return matching(pagemap, scenario, {
    categoryInverted: without,
    categoryMask: without,
    categoryAnyofMask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
  });
}

const [first = '1', count = '10'] = process.argv.slice(2);
// Scenarios use what this kernel has.
const { profile } = await measureProfile();
const child = fork(fileURLToPath(new URL('scenario-target.mjs', import.meta.url)), { execArgv: [] });
const tell = async (message) => {
  const answer = once(child, 'message');
  child.send(message);
  await answer;
};
await tell({});
const pagemap = new IoctlPagemap(new ProcessHandle(child.pid));
const byProtection = await trackByProtection(child.pid, { stopTimeoutMs: 30_000 });
// An emulated machine under load takes its time.
const patient = { stopTimeoutMs: 30_000 };
const bySoftDirty = trackBySoftDirty(child.pid, patient);

const result = {
  scenarios: 0,
  collects: 0,
  written: 0,
  /** Pages that count only because the mapping has grown, or grown together with another: then all count that exist in it. */
  whole: 0,
  /**
   * Pages that count only because they are parts of a huge page, whose bit is one for all, or were until it was split, by which
   * the kernel makes all of its pages soft-dirty.
   */
  huge: 0,
  lost: 0,
  surplus: 0,
  example: undefined,
};
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  const kind = KINDS[seed % KINDS.length];
  const scenario = generateScenario(kind, seed, profile);
  const next = random(seed);
  const ops = scenario.steps.map(({ op }) => op).filter(({ op }) => !LEFT_OUT.has(op));
  await tell({ scenario: { ...scenario, steps: [] } });
  let before = new Int32Array(scenario.arenaPages);
  for (let at = 0; at < ops.length; ) {
    const batch = ops.slice(at, at + 1 + Math.floor(next() * 8));
    at += batch.length;
    await tell({ ops: batch });
    const there = existing(pagemap, scenario);
    const huge = matching(pagemap, scenario, { categoryMask: PAGE_IS_HUGE });
    const one = collect(byProtection, scenario);
    const other = collect(bySoftDirty, scenario);
    result.collects++;
    /** Rows in which not all that exists was reported. */
    const inPart = new Set();
    for (let page = 0; page < scenario.arenaPages; page++) {
      if (there[page] && !other.pages[page]) inPart.add(other.rows[page]);
    }
    for (let page = 0; page < scenario.arenaPages; page++) {
      if (one.skipped[page] || other.skipped[page]) continue;
      result.written += one.pages[page];
      if (one.pages[page] === other.pages[page]) continue;
      if (other.pages[page] && !inPart.has(other.rows[page])) {
        result.whole++;
        continue;
      }
      const block = page - (page % 512);
      const inBlock = (holds) =>
        there.subarray(block, block + 512).every((exists, index) => !exists || holds(block + index));
      if (other.pages[page] && (huge[page] || before[page]) && inBlock((index) => other.pages[index])) {
        result.huge++;
        continue;
      }
      if (one.pages[page]) result.lost++;
      else result.surplus++;
      result.example ??= {
        scenario: scenario.name,
        page,
        byProtection: one.pages[page],
        there: there[page],
        batch,
      };
    }
    before = huge;
  }
  await tell({ end: true });
  // A word now and then, for whoever waits for a sign of life, or ends it early.
  if (++result.scenarios % 10 === 0) process.stderr.write(`${JSON.stringify(result)}\n`);
}
pagemap[Symbol.dispose]();
byProtection[Symbol.dispose]();
bySoftDirty[Symbol.dispose]();
child.disconnect();
await once(child, 'exit');
console.log(JSON.stringify(result));
process.exitCode = result.lost + result.surplus === 0 ? 0 : 1;
