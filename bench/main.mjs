// `npm run bench`: the live ioctl from Node beside the same thing from C, in one run. Ratios count, not milliseconds.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { countPages, openPagemap, PAGE_IS_WRITTEN, RegionBuffer } from 'pagemap-scan';
import { mapMemory, SafeAccess, Userfaultfd } from 'pagemap-scan/live';
import { scanLegs } from 'pagemap-scan/query';
import { compile, finish, header, median, milliseconds, record, startTarget, time } from './harness.mjs';

const GIB = 2 ** 30;
const PAGE = 4096;

header();
const target = compile('target');
const reference = compile('scan');

/** The best of C's times (or what `choose` makes of them), and its number of regions. */
function timeC(
  pid,
  { start, end },
  mask,
  returnMask,
  capacity,
  repeats,
  choose = (times) => Math.min(...times),
) {
  const args = [pid, start.toString(16), end.toString(16), mask.toString(16), returnMask.toString(16)];
  const text = execFileSync(reference, [...args, capacity, repeats].map(String), { encoding: 'utf8' });
  const [regions, ...times] = text.trim().split('\n').map(Number);
  return { regions, nanoseconds: choose(times) };
}

/**
 * Both ways in turns, so that what else the machine does meets both. The ratio is the median over the turns, each turn's
 * being that of its best times: a neighbour's load can only slow things down.
 */
function compare(pagemap, range, mask, returnMask, capacity) {
  const buffer = new RegionBuffer(capacity);
  const query = { ...range, categoryMask: mask, returnMask };
  const turns = [];
  let regions = 0;
  for (let turn = 0; turn < 25; turn++) {
    const reply = timeC(pagemap.pid, range, mask, returnMask, capacity, 5);
    let nanoseconds = Number.POSITIVE_INFINITY;
    for (let repeat = 0; repeat < 5; repeat++) {
      regions = 0;
      const work = () => {
        for (const found of scanLegs(pagemap, query, { buffer })) regions += found.length;
      };
      nanoseconds = Math.min(nanoseconds, time(work));
    }
    turns.push({ c: reply.nanoseconds, node: nanoseconds, ratio: nanoseconds / reply.nanoseconds });
    if (reply.regions !== regions) throw new Error(`C found ${reply.regions} regions, Node ${regions}`);
  }
  const of = (key) => median(turns.map((turn) => turn[key]));
  return { c: of('c'), node: of('node'), ratio: of('ratio'), regions };
}

console.log('Scans of another process, 1 GiB of present 4 KiB pages');
for (const { name, step } of [
  { name: 'one region', step: 1 },
  { name: 'every second page, 262,144 regions', step: 2 },
]) {
  const process = await startTarget(target, 1, 1024, step);
  const pagemap = openPagemap(process.pid);
  for (const [what, mask, returnMask] of [
    ['all categories', 0, 0x7f],
    ['WRITTEN only', 2, 2],
  ]) {
    const { c, node, ratio, regions } = compare(pagemap, process, mask, returnMask, 8192);
    record({
      name: `scan 1 GiB, ${what}, ${name}: Node / C`,
      value: ratio,
      limit: 1.05,
      detail: `Node ${milliseconds(node)}, C ${milliseconds(c)}, ${regions} regions`,
    });
  }
  if (step === 1) {
    const page = { start: process.start, end: process.start + PAGE };
    const c = [];
    const node = [];
    const output = new RegionBuffer(64);
    const request = { ...page, returnMask: 0x7f };
    for (let round = 0; round < 11; round++) {
      c.push(timeC(process.pid, page, 0, 0x7f, 64, 20_000, median).nanoseconds);
      const calls = 20_000;
      const total = time(() => {
        for (let call = 0; call < calls; call++) pagemap.scan(request, output);
      });
      node.push(total / calls);
    }
    record({
      name: 'one-page call: Node over C',
      value: (median(node) - median(c)) / 1000,
      unit: 'µs',
      limit: 1,
      detail: `Node ${median(node).toFixed(0)} ns, C ${median(c).toFixed(0)} ns`,
    });
  }
  await process.stop();
}

console.log('\nCounting written pages of own memory, 1 GiB, protected, 1 % written since');
{
  const memory = mapMemory({ lengthBytes: GIB });
  memory.advise(15); // MADV_NOHUGEPAGE: small pages, as in the other measurements
  const access = new SafeAccess();
  const pages = GIB / PAGE;
  for (let page = 0; page < pages; page++) access.write(memory.address + page * PAGE, 1);
  const faults = Userfaultfd.open();
  faults.register(memory.address, GIB);
  faults.writeProtect(memory.address, GIB);
  // A stride that is prime to everything: one page here and there, the worst case for both ways.
  for (let page = 0; page < pages; page += 101) access.write(memory.address + page * PAGE, 1);
  const expected = Math.ceil(pages / 101);

  const pagemap = openPagemap('self');
  const buffer = new RegionBuffer(8192);
  const range = { start: memory.address, end: memory.end };
  const query = { ...range, categoryMask: PAGE_IS_WRITTEN, returnMask: PAGE_IS_WRITTEN };
  const fd = openSync('/proc/self/pagemap', 'r');
  const words = new Uint32Array((1 << 20) / 4);
  const bigWords = new BigUint64Array(words.buffer);
  /** Reads the words of the whole range in pieces of 1 MiB, and adds up what `count` finds in each. */
  const byPagemap = (count) => {
    let written = 0;
    for (let at = memory.address; at < memory.end; ) {
      const bytes = readSync(fd, words, 0, words.byteLength, (at / PAGE) * 8);
      written += count(bytes / 8);
      at += (bytes / 8) * PAGE;
    }
    return written;
  };
  // Bit 57 of a word: write-protected by userfaultfd.
  const byHalves = (count) => {
    let written = 0;
    for (let index = 0; index < count; index++) if (!(words[index * 2 + 1] & (1 << 25))) written++;
    return written;
  };
  const byBigint = (count) => {
    let written = 0;
    for (let index = 0; index < count; index++) if (!((bigWords[index] >> 57n) & 1n)) written++;
    return written;
  };
  const ways = {
    scan: () => countPages(pagemap, query, { buffer }),
    halves: () => byPagemap(byHalves),
    bigint: () => byPagemap(byBigint),
  };
  const turns = [];
  for (let turn = 0; turn < 31; turn++) {
    const times = {};
    for (const [name, way] of Object.entries(ways)) {
      times[name] = Number.POSITIVE_INFINITY;
      for (let repeat = 0; repeat < 5; repeat++) {
        let counted = 0;
        const nanoseconds = time(() => {
          counted = way();
        });
        times[name] = Math.min(times[name], nanoseconds);
        if (counted !== expected) throw new Error(`${name} counted ${counted} pages, expected ${expected}`);
      }
    }
    turns.push(times);
  }
  closeSync(fd);
  const of = (choose) => median(turns.map(choose));
  for (const [name, how] of [
    ['bigint', 'as 64-bit words (BigUint64Array)'],
    ['halves', 'as 32-bit halves, the fastest way found'],
  ]) {
    record({
      name: `counting written pages of 1 GiB: /proc/PID/pagemap read and decoded ${how} / scan`,
      value: of((turn) => turn[name] / turn.scan),
      limit: 20,
      better: 'higher',
      detail: `scan ${milliseconds(of((turn) => turn.scan))}, pagemap ${milliseconds(of((turn) => turn[name]))}, ${expected} pages written`,
    });
  }
}

console.log('\n`pmscan maps` on 10,000 mappings');
async function runMaps(pid) {
  const before = process.hrtime.bigint();
  const child = spawn(
    process.execPath,
    [
      '--import',
      join(import.meta.dirname, 'peak.mjs'),
      join(import.meta.dirname, '../dist/cli/main.js'),
      'maps',
      String(pid),
      '--json',
    ],
    { stdio: ['ignore', 'pipe', 'inherit', 'pipe'] },
  );
  let text = '';
  let peak = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  child.stdio[3].setEncoding('utf8').on('data', (chunk) => {
    peak += chunk;
  });
  await once(child, 'close');
  const nanoseconds = Number(process.hrtime.bigint() - before);
  return { nanoseconds, peakKib: Number(peak), totals: JSON.parse(text).totals };
}

async function maps(mebibytes, step, rounds = 5) {
  const process = await startTarget(target, 10_000, mebibytes, step);
  const runs = [];
  for (let round = 0; round < rounds; round++) runs.push(await runMaps(process.pid));
  await process.stop();
  return {
    nanoseconds: median(runs.map((run) => run.nanoseconds)),
    peakMib: median(runs.map((run) => run.peakKib)) / 1024,
    totals: runs[0].totals,
  };
}

const dense = await maps(8192, 1);
record({
  name: 'maps, 10,000 mappings, 8 GiB resident',
  value: dense.nanoseconds / 1e9,
  unit: 's',
  limit: 1,
  detail: `whole command with Node's start, peak ${dense.peakMib.toFixed(0)} MiB, ${dense.totals.present} pages present`,
});
const sparse = await maps(8192, 2);
record({
  name: 'peak memory, a million regions / ten thousand',
  value: sparse.peakMib / dense.peakMib,
  limit: 1.1,
  detail: `${sparse.peakMib.toFixed(0)} MiB and ${dense.peakMib.toFixed(0)} MiB; ${milliseconds(sparse.nanoseconds)}`,
});

finish();
