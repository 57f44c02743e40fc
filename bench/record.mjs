// A day's recording of a process with 10,000 mappings, at an interval of a second, through the real writer: size, memory,
// time; what reading it back takes, and opening its report in Chromium.
//   npm run build && node bench/record.mjs [--hours 24] [--keep FILE] [--json]
// With --recording FILE one that was kept is read, and none written.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Recorder } from 'pagemap-scan/record';
import { WriteWorkingSet } from 'pagemap-scan/track';
import { CHROMIUM, CHROMIUM_LAUNCH } from '../test/support/chromium.mjs';
import { finish, header, median, record } from './harness.mjs';
import { MAPPINGS, Workload } from './workload.mjs';

const option = (name) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
};
const HOURS = Number(option('--hours') ?? 24);
const OPENINGS = 5;
const PAGE = 4096;

const workload = new Workload();
const { mappings } = workload;

const peakKiB = () => Number(/^VmHWM:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
const filesIn = (path) =>
  statSync(path).isDirectory()
    ? readdirSync(path, { recursive: true })
        .map((name) => join(path, name))
        .filter((name) => name.endsWith('.parquet'))
    : [path];

async function write(target) {
  const clock = { at: Date.UTC(2026, 0, 1) };
  const recorder = await Recorder.create(
    target,
    { pid: 1234, name: 'search', commandLine: 'search --all' },
    {
      intervalMs: 1000,
      toolVersion: 'bench',
      host: 'bench',
      now: () => clock.at,
    },
  );
  const set = new WriteWorkingSet([10, 60, 600]);
  // How long nothing else can be done, collecting for example.
  const deaf = monitorEventLoopDelay({ resolution: 1 });
  deaf.enable();
  const cpu = process.cpuUsage();
  for (let second = 1; second <= HOURS * 3600; second++) {
    clock.at += 1000;
    let writtenPages = 0;
    const runs = [...workload.writes(second)];
    for (const [start, end] of runs) {
      writtenPages += (end - start) / PAGE;
      set.add(start, end);
    }
    set.endInterval();
    for (const [start, end] of runs) recorder.region(start, end);
    await recorder.interval(
      {
        elapsedMs: second * 1000 + workload.random(),
        intervalMs: 1000 + workload.random(),
        scanMs: 5 + workload.random(),
        writtenPages,
        mappings,
      },
      { late: false, distinctPages: set.distinctPages, workingSet: set.latest },
    );
    if (second % 600 === 1) await recorder.layout(workload.layout(), second * 1000);
    await new Promise((resolve) => setImmediate(resolve));
    if (process.stderr.isTTY && second % 600 === 0) process.stderr.write(`\r${second / 3600} h `);
  }
  await recorder.close('duration');
  const { user, system } = process.cpuUsage(cpu);
  return { ...recorder.totals, slowest: deaf.max / 1e6, cpuSeconds: (user + system) / 1e6 };
}

header();
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const kept = option('--recording');
const target = kept ?? join(folder, 'day.parquet');
if (kept === undefined) {
  const written = await write(target);
  const bytes = filesIn(target).reduce((sum, name) => sum + statSync(name).size, 0);
  record({
    name: `recording of ${HOURS} h, ${MAPPINGS} mappings, every second`,
    value: bytes / 1e6,
    unit: 'MB',
    detail: `${written.rows} rows, ${(bytes / written.rows).toFixed(2)} bytes each`,
  });
  record({
    name: 'peak memory of the process that writes it',
    value: peakKiB() / 1024,
    unit: 'MiB',
    detail: 'VmHWM',
  });
  // In time of the processor, which other work on the machine does not change much.
  record({
    name: 'share of one core that recording takes, without collecting',
    value: written.cpuSeconds / (HOURS * 36),
    unit: '%',
    detail: `${written.cpuSeconds.toFixed(1)} s in all, those for making up the data included; the longest pause ${written.slowest.toFixed(0)} ms`,
  });
  const keep = option('--keep');
  if (keep !== undefined) copyFileSync(target, keep);
}

// In a process of its own, whose memory is that of reading alone.
const reader = `
  import { aggregateRecording, openRecording } from ${JSON.stringify(new URL('../dist/record/internal.js', import.meta.url).href)};
  const model = await aggregateRecording(await openRecording(${JSON.stringify(target)}));
  const { user, system } = process.cpuUsage();
  console.log(JSON.stringify({ bytes: JSON.stringify(model).length, notes: model.notes, seconds: (user + system) / 1e6 }));
`;
const run = spawnSync(
  process.execPath,
  ['--import', new URL('peak.mjs', import.meta.url).href, '--input-type=module', '-e', reader],
  { stdio: ['ignore', 'pipe', 'inherit', 'pipe'], encoding: 'utf8', cwd: new URL('..', import.meta.url) },
);
const { bytes: modelBytes, notes, seconds } = JSON.parse(run.stdout);
record({
  name: "reading it and making the report's model, time of the processor",
  value: seconds,
  unit: 's',
  detail: notes.join(' '),
});
record({
  name: 'peak memory of the process that reads it',
  value: Number(run.output[3]) / 1024,
  unit: 'MiB',
  detail: 'VmHWM',
});
record({
  name: 'the model as JSON',
  value: modelBytes / 1e6,
  unit: 'MB',
  limit: 5,
  detail: 'whatever was recorded',
});

if (existsSync(CHROMIUM)) {
  const report = join(folder, 'report.html');
  const command = ['dist/cli/main.js', 'report', target, '-o', report];
  spawnSync(process.execPath, command, { cwd: new URL('..', import.meta.url), stdio: 'inherit' });
  const { chromium } = await import('playwright-core');
  const times = [];
  for (let opening = 0; opening < OPENINGS; opening++) {
    // A browser of its own each time: nothing is compiled or read before.
    const browser = await chromium.launch(CHROMIUM_LAUNCH);
    const page = await browser.newPage({ viewport: { width: 1366, height: 768 } });
    const before = performance.now();
    await page.goto(`file://${report}#view=heat`);
    // The heat of all of it, the picture that takes most: drawn, and then shown.
    await page.waitForFunction(() => document.querySelector('#view-heat tbody tr') !== null, null, {
      polling: 'raf',
    });
    await page.evaluate(
      () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))),
    );
    times.push(performance.now() - before);
    await browser.close();
  }
  record({
    name: `from opening its report in Chromium to the heat shown, median of ${OPENINGS}`,
    value: median(times) / 1000,
    unit: 's',
    limit: 3,
    detail: `${times.map((time) => `${time.toFixed(0)} ms`).join(', ')}; ${(statSync(report).size / 1e6).toFixed(1)} MB`,
  });
}
finish();
