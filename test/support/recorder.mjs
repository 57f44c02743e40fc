// Records as fast as it can, to be killed: FILE or FOLDER, seed. Each interval has 40 rows of writes. A dot a round.
import { Recorder } from '../../dist/record/index.js';

const [target, seed] = process.argv.slice(2);
let state = Number(seed);
const next = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
let now = Date.UTC(2026, 0, 1);
const recorder = await Recorder.create(
  target,
  { pid: 4321, name: 'load', commandLine: 'load' },
  { intervalMs: 1000, toolVersion: 'test', host: 'h', flushMs: 1, rotateBytes: 200_000, now: () => now },
);
const mappings = Array.from({ length: 40 }, (_, index) => ({
  start: 0x10000 * (index + 1),
  end: 0x10000 * (index + 2),
  name: `/lib/${index}`,
}));
for (;;) {
  // What is flushed is a little most of the time, and now and then a lot.
  const intervals = next() < 0.1 ? 400 : 3;
  for (let interval = 0; interval < intervals; interval++) {
    now += 1000;
    for (const { start } of mappings) recorder.region(start, start + 0x1000 * (1 + Math.floor(next() * 15)));
    await recorder.interval(
      { elapsedMs: now - Date.UTC(2026, 0, 1), intervalMs: 1000, scanMs: 1, writtenPages: 40, mappings },
      { late: false, distinctPages: 0, workingSet: [0, 0, 0] },
    );
  }
  process.stdout.write('.');
  await new Promise((resolve) => setImmediate(resolve));
}
