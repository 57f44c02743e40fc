// How long recording holds up collecting: the longest time that nothing else can be done, around flushes of a recording of
// 10,000 mappings at an interval of a second, by the real writer, with the clock turned forward.
//   npm run build && node bench/record-pauses.mjs [--minutes 60]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Recorder } from 'pagemap-scan/record';
import { finish, header, median, record } from './harness.mjs';
import { Workload } from './workload.mjs';

/** Time of the processor, which other work on the machine does not change much: all there is but for the disk. */
const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const at = process.argv.indexOf('--minutes');
const MINUTES = at < 0 ? 60 : Number(process.argv[at + 1]);
/** Every half minute; later where one takes long, so that these are told by their length. */
const FLUSHES = MINUTES * 2;

header();
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const workload = new Workload();
const clock = { at: Date.UTC(2026, 0, 1) };
const recorder = await Recorder.create(
  join(folder, 'one.parquet'),
  { pid: 1234, name: 'search', commandLine: 'search --all' },
  { intervalMs: 1000, toolVersion: 'bench', host: 'bench', now: () => clock.at },
);
const pauses = { interval: [], layout: [] };
for (let second = 1; second <= MINUTES * 60; second++) {
  clock.at += 1000;
  const runs = [...workload.writes(second)];
  let writtenPages = 0;
  for (const [start, end] of runs) writtenPages += (end - start) / 4096;
  const before = cpuMs();
  for (const [start, end] of runs) recorder.region(start, end);
  await recorder.interval(
    { elapsedMs: second * 1000, intervalMs: 1000, scanMs: 5, writtenPages, mappings: workload.mappings },
    { late: false, distinctPages: second, workingSet: [1, 2, 3] },
  );
  pauses.interval.push(cpuMs() - before);
  if (second % 600 === 1) {
    const layout = workload.layout();
    const began = cpuMs();
    await recorder.layout(layout, second * 1000);
    pauses.layout.push(cpuMs() - began);
  }
  await new Promise((resolve) => setTimeout(resolve, 1));
}
await recorder.close('duration');
for (const [name, of] of [
  [
    `one of the ${FLUSHES} intervals that took longest: flushes`,
    pauses.interval.toSorted((a, b) => b - a).slice(0, FLUSHES),
  ],
  ['an interval', pauses.interval],
  ['a layout of all mappings', pauses.layout],
]) {
  const sorted = of.toSorted((a, b) => a - b);
  record({
    name: `pause for recording ${name}, the longest of ${of.length}`,
    value: sorted.at(-1),
    unit: 'ms',
    detail: `median ${median(of).toFixed(1)} ms, 19 of 20 at most ${sorted[Math.floor(of.length * 0.95)].toFixed(1)} ms`,
  });
}
finish();
