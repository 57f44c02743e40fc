/**
 * Records what recognisers of owners read of a process, as JSON for test/owners: its mappings, its threads, its program, and the words.
 *
 *     node scripts/record-owners.mjs PID > test/owners/java-17.json
 *
 * Build first. What the program itself says of its memory goes into the file by hand, as `truth`.
 */
import { readFileSync } from 'node:fs';
import { ProcessHandle } from '../dist/live/index.js';
import { LiveEvidence } from '../dist/owners/live.js';
import { recogniseOwners } from '../dist/owners/recognise.js';

using handle = new ProcessHandle(Number(process.argv[2]));
const maps = readFileSync(handle.path('maps'), 'latin1');
using evidence = new LiveEvidence(handle, handle.mappings());
const words = {};
recogniseOwners({
  pid: evidence.pid,
  mappings: evidence.mappings,
  threads: evidence.threads,
  program: evidence.program,
  read(address, count) {
    const found = evidence.read(address, count);
    if (found === undefined) return undefined;
    // Zeros are left out; a run of words that was read is known by its length.
    const hex = (half) => half.toString(16).padStart(8, '0');
    const wordAt = (index) => `${hex(found.high(index))}${hex(found.low(index))}`.replace(/^0+(?=.)/, '');
    const text = Array.from({ length: count }, (_, index) => wordAt(index)).join(' ');
    words[`${address.toString(16)}+${count}`] = text.replace(/( 0)+$/, '');
    return found;
  },
});
const { pid, threads, program } = evidence;
console.log(
  JSON.stringify({ pid, program, maps: maps.split('\n').slice(0, -1), threads, words, truth: [] }, null, 1),
);
