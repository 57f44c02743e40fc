// The page: how soon there is a picture, what looking costs, and how smoothly the address map moves.
//   npm run build && node bench/web.mjs [--json] [--gib N]
// Needs Chromium and a C compiler, and N GiB of memory (16 by default) for the first part.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { chromium } from 'playwright-core';
import { CHROMIUM_LAUNCH } from '../test/support/chromium.mjs';
import { compile, finish, header, MAIN, median, record, startTarget } from './harness.mjs';

const at = process.argv.indexOf('--gib');
const GIB = at < 0 ? 16 : Number(process.argv[at + 1]);
const LOOKS = 5;
const CPU_SECONDS = 30;

/** Seconds of processor time that a process has used, its children that have ended included. */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function serve(pid) {
  const child = spawn(process.execPath, [MAIN, 'serve', String(pid)], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
  return {
    pid: child.pid,
    url: line.trim(),
    async stop() {
      child.kill('SIGINT');
      await once(child, 'exit');
    },
  };
}

header();
const browser = await chromium.launch(CHROMIUM_LAUNCH);

console.log(`A process with ${GIB} GiB resident`);
if (freemem() < (GIB + 2) * 2 ** 30) {
  console.log(`  left out: ${Math.floor(freemem() / 2 ** 30)} GiB are free, it takes ${GIB + 2}`);
} else {
  const target = await startTarget(compile('target'), 64, GIB * 1024);
  const times = [];
  for (let look = 0; look < LOOKS; look++) {
    const server = await serve(target.pid);
    const page = await browser.newPage({ viewport: { width: 1366, height: 768 } });
    const before = performance.now();
    await page.goto(server.url);
    // All pages counted: not the first sign of life, but the first whole picture.
    await page.waitForFunction(
      (gib) =>
        Number.parseFloat(document.querySelectorAll('.figure dd')[1].textContent) >= gib * 0.99 &&
        document.querySelectorAll('.figure dd')[1].textContent.endsWith('GiB'),
      GIB,
      { polling: 20 },
    );
    times.push(performance.now() - before);
    if (look === LOOKS - 1) {
      await page.click('#tab-heat');
      await sleep(8000);
      const start = performance.now();
      const used = cpuSeconds(server.pid);
      await sleep(CPU_SECONDS * 1000);
      const share = (cpuSeconds(server.pid) - used) / ((performance.now() - start) / 1000);
      const columns = await page.evaluate(() => document.querySelector('.hottest h2').textContent);
      record({
        name: `share of a core that serve takes, one page open, ${GIB} GiB`,
        value: share * 100,
        unit: '%',
        limit: 10,
        detail: `over ${CPU_SECONDS} s; at its end: ${columns}`,
      });
    }
    await page.close();
    await server.stop();
  }
  record({
    name: `from opening the page to all of ${GIB} GiB counted and shown, median of ${LOOKS}`,
    value: median(times) / 1000,
    unit: 's',
    limit: 2,
    detail: times.map((time) => `${time.toFixed(0)} ms`).join(', '),
  });
  await target.stop();
}

console.log('\nPanning over 100 GiB of address space');
{
  const target = await startTarget(compile('target'), 50, 100 * 1024, 16_384);
  const server = await serve(target.pid);
  for (const [width, height] of [
    [1366, 768],
    [1920, 1080],
  ]) {
    const page = await browser.newPage({ viewport: { width, height } });
    await page.goto(server.url);
    await page.click('#tab-map');
    await sleep(2000);
    for (const zoom of ['all of it', 'single pages']) {
      const canvas = page.locator('#view-map canvas[role=application]');
      if (zoom === 'single pages') {
        await page.fill('input[placeholder="Go to address"]', target.start.toString(16));
        await page.press('input[placeholder="Go to address"]', 'Enter');
        for (let step = 0; step < 30 && (await canvas.getAttribute('data-cell-bytes')) !== '4096'; step++) {
          await canvas.press('+');
        }
        await sleep(500);
      }
      const { lengths, drawing } = await canvas.evaluate(async (element) => {
        const lengths = [];
        const drawing = [];
        let last = performance.now();
        for (let frame = 0; frame < 240; frame++) {
          let began = 0;
          requestAnimationFrame(() => {
            began = performance.now();
          });
          // Asks for a picture, which is drawn between the one call back and the other.
          const deltaY = frame % 120 < 60 ? 37 : -37;
          element.dispatchEvent(new WheelEvent('wheel', { deltaY, bubbles: true, cancelable: true }));
          await new Promise((resolve) => requestAnimationFrame(resolve));
          const now = performance.now();
          drawing.push(now - began);
          lengths.push(now - last);
          last = now;
        }
        return { lengths, drawing };
      });
      const slow = drawing.toSorted((a, b) => a - b)[Math.floor(drawing.length * 0.95)];
      const late = lengths.filter((length) => length > 25).length;
      const size = `${width} × ${height}, ${zoom}`;
      record({
        name: `drawing a picture while panning, ${size}, median`,
        value: median(drawing),
        unit: 'ms',
        limit: 8,
        detail: `19 of 20 take at most ${slow.toFixed(1)} ms; a sixtieth of a second is 16.7`,
      });
      record({
        name: `pictures a second while panning, ${size}, median`,
        value: 1000 / median(lengths),
        unit: '/s',
        limit: 58,
        better: 'higher',
        detail: `${late} of ${lengths.length} came late: what the machine's other work takes counts here`,
      });
    }
    await page.close();
  }
  await server.stop();
  await target.stop();
}
await browser.close();
finish();
