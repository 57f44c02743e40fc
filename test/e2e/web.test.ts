/** The page in a browser, over real processes: what it shows is read back from its tables. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Recorder } from '../../src/record/index.js';
import { startChromium } from '../support/browser.js';
import { MAIN, pmscan, startPmscan } from '../support/cli.js';
import { hasZeroPage, scenePages } from '../support/facts.js';
import { available, testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { startTarget, type Target } from '../support/target.js';
import { until } from '../support/until.js';

const can = available('pagemap-scan', 'wp-async', 'compiler', 'chromium');
const testPage = testWhere('pagemap-scan', 'wp-async', 'compiler', 'chromium');

/** What a mapping may be called by whoever makes it: markup, controls, a change of direction. */
const EVIL = '</script><img src=x onerror=alert(1)>\x1b[31m\u202e"\'&';
const EVIL_SHOWN = '/memfd:</script><img src=x onerror=alert(1)>\\x1b[31m\\u202e"\'&';
const PAGE = 4096;
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-web-'));

let browser: Browser;
let target: Target;
let server: ChildProcess;
let url = '';

/** Quiet, unless told to write. A process of its own where it is tracked by another program: only one at a time can. */
const startScene = () => startTarget('scene', ['quiet', 8, EVIL], { flags: ['-pthread'] });

beforeAll(async () => {
  if (!can) return;
  target = await startScene();
  server = spawn(
    process.execPath,
    [MAIN, 'serve', String(target.pid), String(process.pid), '--interval', '100ms'],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  const line = await firstOutput(server);
  url = line.trim();
  browser = await startChromium();
});

afterAll(async () => {
  await browser?.close();
  server?.kill('SIGTERM');
  await target?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** A page, and everything in it that went wrong. */
async function open(
  address = url,
  options: { width?: number; height?: number; colorScheme?: 'light' | 'dark' } = {},
): Promise<{ page: Page; problems: string[]; requests: string[] }> {
  const { width = 1366, height = 768, colorScheme = 'light' } = options;
  const page = await browser.newPage({ viewport: { width, height }, colorScheme });
  page.setDefaultTimeout(15_000);
  const problems: string[] = [];
  const requests: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('dialog', (dialog) => {
    problems.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => requests.push(request.url()));
  await page.goto(address);
  return { page, problems, requests };
}

/** Cells of the rows of a view's visible table with that caption. */
function rows(page: Page, caption: string): Promise<string[][]> {
  return page.evaluate((wanted) => {
    const document = (
      globalThis as unknown as { document: { querySelectorAll(selector: string): Iterable<unknown> } }
    ).document;
    type Line = { cells: Iterable<{ getAttribute(name: string): string | null; textContent: string }> };
    const tables = [...document.querySelectorAll('table')] as {
      caption: { textContent: string };
      tBodies: { rows: Iterable<Line> }[];
    }[];
    const table = tables.find((candidate) => candidate.caption.textContent.startsWith(wanted));
    return [...(table?.tBodies[0]?.rows ?? [])].map((line) =>
      [...line.cells].map((cell) => cell.getAttribute('aria-label') ?? cell.textContent),
    );
  }, caption);
}

const hex = (address: number) => `0x${address.toString(16)}`;
const knownStart = () => hex(target.start);

/** Whether what the target only reads is the shared zero page, or pages of its own. */
const zeroPage = hasZeroPage();
/** The mapping of which is known what is in it. */
const KNOWN = scenePages({ zeroPage, guards: available('category-guard') });
const KNOWN_PAGES = KNOWN.map(([kind, count]) => `${count} ${kind}`).join(', ');
const KNOWN_CELLS = KNOWN.map(([kind, count]) => `${kind} × ${count}`).join(', ');

describe('the live page', () => {
  testPage.each([360, 420, 768, 1920])('is whole at a width of %i', async (width) => {
    const { page, problems } = await open(url, { width, height: 800 });
    await until('figures', async () => (await page.textContent('.figure dd'))?.includes('B'));
    // What has no other of these in it: two such boxes have nothing in common, and all of them are in the window.
    const parts =
      'header > *:not(.buttons):not(.spring), .buttons > *, [role="tab"], .figure dd, .chip, nav input';
    const script = `(() => {
      const boxOf = (element) => {
        const { left, right, top, bottom } = element.getBoundingClientRect();
        return { left, right, top, bottom, text: element.textContent };
      };
      const boxes = [...document.querySelectorAll('${parts}')].map(boxOf).filter(({ left, right }) => right > left);
      const outside = boxes.filter(({ left, right }) => left < 0 || right > innerWidth + 1);
      const overlapping = boxes.flatMap((one, index) =>
        boxes.slice(index + 1).filter((other) =>
          Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1 &&
          Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 1,
        ).map((other) => one.text + ' and ' + other.text),
      );
      const cut = [document.documentElement, ...document.querySelectorAll('.figure')]
        .filter((element) => element.scrollWidth > element.clientWidth)
        .map((element) => element.textContent.slice(0, 40));
      return { boxes: boxes.length > 12, outside, overlapping, cut };
    })()`;
    for (const view of ['where', 'map', 'heat', 'rates']) {
      await page.click(`#tab-${view}`);
      const whole = { boxes: true, outside: [], overlapping: [], cut: [] };
      expect([view, await page.evaluate(script)]).toEqual([view, whole]);
    }
    expect(problems).toEqual([]);
    await page.close();
  });

  testPage('tells whose memory it is, and finds it by that', async () => {
    const { page, problems } = await open(`${url}#pid=${process.pid}`);
    const names = async () => (await rows(page, 'Mappings')).map(([, , , , , name]) => name!);
    await until('an owner', async () => (await names()).includes('[v8 new space]'));
    await page.fill('input[placeholder="Name or owner"]', 'V8 old');
    await until('the old space alone', async () => {
      const found = await names();
      return found.length > 0 && found.every((name) => name === '[v8 old space]');
    });
    await page.fill('input[placeholder="Name or owner"]', '');
    await page.click('button:has-text("By owner")');
    expect(await page.isHidden('button.kind-row:has-text("Program code")')).toBe(true);
    await page.click('button.kind-row:has-text("V8 old space")');
    await until('the old space alone, by its row', async () => {
      const found = await names();
      return found.length > 0 && found.every((name) => name === '[v8 old space]');
    });
    expect(await page.isVisible('button.kind-row:has-text("Libraries")')).toBe(true);
    await page.click('#tab-map');
    await page.click('#view-map button:has-text("As table")');
    await until('a row of the map', async () =>
      (await rows(page, 'The rows of the address map')).some(([, name]) => name === '[v8 old space]'),
    );
    expect(problems).toEqual([]);
    await page.close();
  });

  testPage('shows what is where, and filters it', async () => {
    const { page, problems } = await open();
    const known = await until('the known mapping', async () =>
      (await rows(page, 'Mappings')).find(
        ([address, , , , pages]) => address === knownStart() && pages === KNOWN_PAGES,
      ),
    );
    expect(known.slice(0, 4)).toEqual([
      knownStart(),
      'rw-p',
      '256 KiB',
      available('category-guard') ? '128 KiB' : '96 KiB',
    ]);
    // By kind of mapping, and back.
    await page.click('button.kind-row:has-text("Heap")');
    await until('the heap alone', async () =>
      (await rows(page, 'Mappings')).every(([, , , , , name]) => name === '[heap]'),
    );
    await page.click('button.chip:has-text("Heap")');
    // By kind of page: few mappings have zero pages or guard pages.
    const [rare, size] = zeroPage ? ['Zero page', '32 KiB'] : ['Guard', '32 KiB'];
    if (zeroPage || available('category-guard')) {
      await page.click(`button.key:has-text("${rare}")`);
      await until(rare, async () => {
        const found = await rows(page, 'Mappings');
        return (
          found.length < 8 &&
          found.some(([address, , , touched]) => address === knownStart() && touched === size)
        );
      });
      await page.click('button.chip:has-text("Show all")');
    }
    await page.fill('input[placeholder="Name or owner"]', 'libc.so');
    await until('by name', async () =>
      (await rows(page, 'Mappings')).every(([, , , , , name]) => name!.includes('libc.so')),
    );
    expect(problems).toEqual([]);
    await page.close();
  });

  testPage('shows single pages at their addresses', async () => {
    const { page, problems } = await open();
    await until('the known mapping', async () =>
      (await rows(page, 'Mappings')).some(([address]) => address === knownStart()),
    );
    await page.click('#tab-map');
    const goThere = async () => {
      await page.fill('input[placeholder="Go to address"]', knownStart());
      await page.press('input[placeholder="Go to address"]', 'Enter');
    };
    await goThere();
    const canvas = page.locator('#view-map canvas[role=application]');
    await until('single pages', async () => {
      if ((await canvas.getAttribute('data-cell-bytes')) === String(PAGE)) return true;
      await canvas.press('+');
      return false;
    });
    await page.click('#view-map button:has-text("As table")');
    await until('the known row', async () => {
      const row = (await rows(page, 'The rows of the address map')).find(
        ([address]) => address === knownStart(),
      );
      return row?.[2] === KNOWN_CELLS;
    });
    // The keyboard goes from page to page, and says where it is.
    const state = page.locator('#map-state');
    // On a busy machine, a key may have been pressed once more than was needed.
    await goThere();
    await until('the first page', async () =>
      (await state.textContent())?.startsWith(`${knownStart()}. Anonymous`),
    );
    for (let count = 0; count < 16; count++) await canvas.press('ArrowRight');
    const read = zeroPage ? 'Zero page' : 'Anonymous';
    await until('a page that was only read', async () =>
      (await state.textContent())?.startsWith(`${hex(target.start + 16 * PAGE)}. ${read}`),
    );
    expect(problems).toEqual([]);
    await page.close();
  });

  testPage('shows what is written, when, and where; a brush chooses the time', async () => {
    const { page, problems } = await open();
    await page.click('#tab-heat');
    const range = `${hex(target.start + 4 * PAGE)} – ${hex(target.start + 8 * PAGE)}`;
    const written = async () => (await rows(page, 'Hottest')).find(([where]) => where === range)?.[2];
    const kibibytes = async () => Number.parseInt((await written()) ?? '0', 10);
    await until('to be tracked', async () => (await page.textContent('.status'))?.startsWith('Tracking'));
    await until('an interval', async () => (await page.inputValue('input[aria-label^="to"]')) !== '');
    expect(await written()).toBeUndefined();
    target.child.stdin.write('w');
    await until('the first writes', async () => (await kibibytes()) >= 16);
    const then = await page.inputValue('input[aria-label^="to"]');
    // Another interval, in which nothing is written.
    const pass = async (since: string) =>
      until(
        'time to go by',
        async () => Number(await page.inputValue('input[aria-label^="to"]')) > Number(since) + 0.3,
      );
    await pass(then);
    // A page that is told once more comes in the interval after: see `ProcessTracker.collect`.
    const first = (await written())!;
    expect(['16 KiB', '20 KiB']).toContain(first);
    target.child.stdin.write('w');
    await until('the second writes', async () => (await kibibytes()) >= Number.parseInt(first, 10) + 16);
    await pass(await page.inputValue('input[aria-label^="to"]'));
    const both = (await written())!;
    expect(['32 KiB', '36 KiB', '40 KiB']).toContain(both);
    await page.click('button:has-text("Pause")');
    await page.fill('input[aria-label^="From"]', '0');
    // The field tells tenths: half of the interval of the first writes may lie behind it.
    await page.fill('input[aria-label^="to"]', (Number(then) + 0.2).toFixed(1));
    await page.press('input[aria-label^="to"]', 'Enter');
    await until('the first alone', async () => ['16 KiB', first].includes((await written())!));
    const canvas = page.locator('#view-heat .scroller canvas');
    await canvas.focus();
    await canvas.press('Escape');
    await until('both again', async () => (await written()) === both);
    // With the mouse: from the left to the right.
    const box = (await canvas.boundingBox())!;
    await page.mouse.move(box.x + 240, box.y + 40);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width - 12, box.y + 60, { steps: 5 });
    await page.mouse.up();
    await until('a choice', async () => (await page.textContent('.hottest h2'))?.includes('(chosen)'));
    expect(await written()).toBe(both);
    await page.click('#tab-rates');
    // Four pages, written twice: a working set of 16.
    const rates = await until('the rates', async () =>
      (await rows(page, 'Written by mapping')).find(([, , , pages]) => pages === both),
    );
    expect(rates.slice(6)).toEqual(['16 KiB', '256 KiB', knownStart(), '[anon]']);
    expect(await page.locator('#view-rates thead').last().textContent()).toContain(
      'Set, 1 sSet, 10 sSet, 60 s',
    );
    const title = page.locator('#view-rates section[aria-label="Write working set"] h2');
    expect(await title.textContent()).toBe('Write working set, 10 s');
    await page.click('#view-rates button:has-text("60 s")');
    await until('another window', async () => (await title.textContent()) === 'Write working set, 60 s');
    await page.click('#view-rates button:has-text("As table")');
    const lines = await rows(page, 'Written and write working set');
    expect(lines.some((cells) => /\[anon\].*: 0 B\/s \(set in .*60 s 16 KiB\)/.test(cells[5]!))).toBe(true);
    expect(problems).toEqual([]);
    await page.close();
  });

  testPage('offers other processes', async () => {
    await using other = await startTarget('target', [64]);
    const { page, problems } = await open();
    await until('a process', async () =>
      (await page.textContent('.process-name'))?.endsWith(String(target.pid)),
    );
    await page.click('.choose');
    await page.fill('dialog input', String(other.pid));
    await until('the other', async () =>
      (await rows(page, 'Processes')).some(([pid]) => pid === String(other.pid)),
    );
    await page.press('dialog input', 'Enter');
    await until('its name', async () =>
      (await page.textContent('.process-name'))?.endsWith(String(other.pid)),
    );
    await until('its mapping', async () =>
      (await rows(page, 'Mappings')).some(
        ([address, , size]) => address === hex(other.start) && size === '256 KiB',
      ),
    );
    // The one that the command was given is a button away.
    expect(await page.locator('.given button').count()).toBe(2);
    await page.click(`.given button[value="${target.pid}"]`);
    await until('the first', async () =>
      (await page.textContent('.process-name'))?.endsWith(String(target.pid)),
    );
    // One that is not there is told, with the list to choose from.
    await page.evaluate(() => {
      (globalThis as unknown as { location: { hash: string } }).location.hash = 'pid=4194399';
    });
    await until('the reason', async () => (await page.textContent('.problem'))?.includes('no such process'));
    expect(problems.filter((text) => !text.includes('409'))).toEqual([]);
    await page.close();
  });

  testPage('names are text, whatever is in them', async () => {
    const { page, problems } = await open();
    await until('the name', async () =>
      (await rows(page, 'Mappings')).some(([, , , , , name]) => name?.startsWith(EVIL_SHOWN)),
    );
    for (const tab of ['map', 'heat', 'rates']) await page.click(`#tab-${tab}`);
    expect(await page.locator('img').count()).toBe(0);
    expect(problems).toEqual([]);
    await page.close();
  });

  testPage('light and dark, by the system or the switch', async () => {
    const { page } = await open(url, { colorScheme: 'dark' });
    const theme = () => page.getAttribute('html', 'data-theme');
    const background = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
    expect(await theme()).toBe('dark');
    const dark = await background();
    await page.emulateMedia({ colorScheme: 'light' });
    await until('the system', async () => (await theme()) === 'light');
    expect(await background()).not.toBe(dark);
    await page.click('button:has-text("Dark")');
    expect([await theme(), await background()]).toEqual(['dark', dark]);
    await page.reload();
    expect(await theme()).toBe('dark');
    await page.close();
  });

  testPage('everything can be reached by keyboard', async () => {
    const { page } = await open();
    await until('a process', async () => (await rows(page, 'Mappings')).length > 5);
    await page.focus('#tab-where');
    for (const id of ['map', 'heat', 'rates', 'where']) {
      await page.keyboard.press('ArrowRight');
      expect(await page.evaluate('document.activeElement.id')).toBe(`tab-${id}`);
      expect(await page.isVisible(`#view-${id}`)).toBe(true);
    }
    const reached = new Set<string>();
    for (let count = 0; count < 40; count++) {
      await page.keyboard.press('Tab');
      reached.add(
        String(
          await page.evaluate('document.activeElement.textContent || document.activeElement.placeholder'),
        ),
      );
    }
    const all = [...reached].join('|');
    for (const wanted of ['Name or owner', 'Huge page', 'Heap', 'Touched', '[heap]'])
      expect(all).toContain(wanted);
    await page.close();
  });

  testPage('fits a laptop and a projector', async () => {
    for (const [width, height] of [
      [1366, 768],
      [1920, 1080],
      [1024, 768],
    ] as const) {
      const { page } = await open(url, { width, height });
      await until('a picture', async () => (await rows(page, 'Mappings')).length > 5);
      for (const id of ['where', 'map', 'heat', 'rates']) {
        await page.click(`#tab-${id}`);
        const over = await page.evaluate(
          'document.documentElement.scrollWidth - document.documentElement.clientWidth',
        );
        expect([width, id, over]).toEqual([width, id, 0]);
      }
      await page.close();
    }
  });

  testPage('asks nobody but its server', async () => {
    const { page, requests } = await open();
    await until('a picture', async () => (await rows(page, 'Mappings')).length > 5);
    await page.click('#tab-map');
    expect(requests.length).toBeGreaterThan(4);
    expect(requests.filter((address) => !address.startsWith(url) && !address.startsWith('data:'))).toEqual(
      [],
    );
    await page.close();
  });
});

describe('the report', () => {
  testPage('of a process: one file that shows the same, offline', async () => {
    await using target = await startScene();
    const file = join(folder, 'report.html');
    const run = pmscan(['report', target.pid, '-o', file, '--duration', '1500ms', '--interval', '100ms']);
    const writing = setInterval(() => target.child.stdin.write('w'), 100);
    const { code, stderr } = await run;
    clearInterval(writing);
    expect([code, stderr.replace(/:.*/s, '')]).toEqual([0, 'pmscan']);
    const { page, problems, requests } = await open(`file://${file}`);
    await until('the known mapping', async () =>
      (await rows(page, 'Mappings')).some(
        ([address, , , , pages]) => address === hex(target.start) && pages === KNOWN_PAGES,
      ),
    );
    expect((await rows(page, 'Mappings')).some(([, , , , , name]) => name?.startsWith(EVIL_SHOWN))).toBe(
      true,
    );
    await page.click('#tab-map');
    await page.click('#view-map button:has-text("As table")');
    await page.fill('input[placeholder="Go to address"]', hex(target.start));
    await page.press('input[placeholder="Go to address"]', 'Enter');
    const canvas = page.locator('#view-map canvas[role=application]');
    await until('single pages', async () => {
      if ((await canvas.getAttribute('data-cell-bytes')) === String(PAGE)) return true;
      await canvas.press('+');
      return false;
    });
    await until('the known row', async () =>
      (await rows(page, 'The rows of the address map')).some(
        ([address, , cells]) => address === hex(target.start) && cells === KNOWN_CELLS,
      ),
    );
    await page.click('#tab-heat');
    const range = `${hex(target.start + 4 * PAGE)} – ${hex(target.start + 8 * PAGE)}`;
    expect((await rows(page, 'Hottest')).find(([where]) => where === range)).toBeDefined();
    expect(await page.textContent('.notes')).toMatch(/in cells of 4 KiB.*Writes of \d+ intervals/);
    expect(await page.locator('img').count()).toBe(0);
    expect(problems).toEqual([]);
    expect(
      requests.filter((address) => !address.startsWith('file:') && !address.startsWith('data:')),
    ).toEqual([]);
    expect(readFileSync(file, 'utf8')).not.toMatch(/\b(?:src|href)="(?!data:)/);
    await page.close();
  });

  testPage('of a recording of accesses: how long memory was left alone, as colours and as text', async () => {
    const recording = join(folder, 'accesses.parquet');
    const file = join(folder, 'accesses.html');
    const mapping = { start: 0x10000000, end: 0x10000000 + 64 * PAGE, name: '[heap]', perms: 'rw-p' };
    const recorder = await Recorder.create(
      recording,
      { pid: 1, name: 'one', commandLine: 'one' },
      { intervalMs: 1000, toolVersion: 'test', subject: 'accesses', sampled: 0.5 },
    );
    recorder.region(mapping.start, mapping.start + 4 * PAGE);
    await recorder.interval(
      { elapsedMs: 1000, intervalMs: 1000, scanMs: 1, writtenPages: 8, errorPages: 2, mappings: [mapping] },
      { late: false, distinctPages: 8, workingSet: [8, 8, 8] },
    );
    // A quarter touched just now, a quarter a minute ago, the rest not in memory.
    const cells = Uint16Array.from({ length: 64 }, (_, page) => (page < 32 ? 0x1f : 0x60));
    const ages = Uint16Array.from({ length: 64 }, (_, page) => (page < 16 ? 0x0f : page < 32 ? 0x3f : 0x60));
    const counts = { pages: 64, present: 32, swapped: 0, file: 0, pfnzero: 0, huge: 0, guard: 0 };
    await recorder.layout(
      [
        {
          mapping: { ...mapping, inode: 0, offset: 0, device: { major: 0, minor: 0 }, deleted: false },
          ...counts,
          kinds: [0, 32, 0, 0, 0, 0, 32],
          idle: [16, null, null],
          grid: { cellBytes: PAGE, cells, ages },
        },
      ],
      1000,
    );
    await recorder.close('duration');
    const { code } = await pmscan(['report', recording, '-o', file]);
    expect(code).toBe(0);
    const { page, problems } = await open(`file://${file}`);
    await until(
      'the figures',
      async () => (await page.textContent('.figures'))?.includes('Touched') === true,
    );
    await page.click('#tab-map');
    await page.click('#view-map button:has-text("As table")');
    const shown = async () => (await rows(page, 'The rows of the address map')).map(([, , text]) => text);
    expect(await shown()).toEqual(['touched < 1 s ago × 16, touched < 10 min ago × 16, untouched × 32']);
    expect(await page.locator('#view-map .legend.ages').isVisible()).toBe(true);
    await page.click('#view-map button:has-text("By age")');
    await until('the kinds', async () => (await shown())[0] === 'anonymous × 32, untouched × 32');
    expect(await page.locator('#view-map .legend.ages').isVisible()).toBe(false);
    await page.click('#tab-heat');
    expect(await page.textContent('#view-heat h2')).toBe('Touched per cell');
    expect((await rows(page, 'Hottest')).map(([, , touched]) => touched)).toEqual(['32 KiB']);
    expect(problems).toEqual([]);
    await page.close();
  });

  testPage('of a recording', async () => {
    await using target = await startScene();
    const recording = join(folder, 'recording.parquet');
    const file = join(folder, 'recording.html');
    const run = pmscan([
      'record',
      target.pid,
      '-o',
      recording,
      '--duration',
      '1500ms',
      '--interval',
      '100ms',
    ]);
    const writing = setInterval(() => target.child.stdin.write('w'), 100);
    expect((await run).code).toBe(0);
    clearInterval(writing);
    const { code, stderr } = await pmscan(['report', recording, '-o', file]);
    expect([code, stderr]).toEqual([0, expect.stringContaining('wrote')]);
    const { page, problems } = await open(`file://${file}`);
    await until('the known mapping', async () =>
      (await rows(page, 'Mappings')).some(
        ([address, , , , pages]) => address === hex(target.start) && pages === KNOWN_PAGES,
      ),
    );
    const names = (await rows(page, 'Mappings')).map(([, , , , , name]) => name);
    expect(names).toContain(`[stack: scene ${target.pid}]`);
    await page.click('#tab-heat');
    // A recording tells parts of 64 KiB apart: somewhere in the first one.
    const starts = (await rows(page, 'Hottest')).map(([where]) => Number.parseInt(where!.slice(2), 16));
    expect(starts.some((start) => target.start <= start && start < target.start + 16 * PAGE)).toBe(true);
    expect(problems).toEqual([]);
    await page.close();
  });

  test('says what it cannot do', async () => {
    const file = join(folder, 'there.html');
    writeFileSync(file, 'mine');
    const there = await pmscan(['report', process.pid, '-o', file]);
    expect([there.code, there.stderr]).toEqual([
      1,
      expect.stringContaining('it is there already; --force replaces it'),
    ]);
    expect(readFileSync(file, 'utf8')).toBe('mine');
    const nowhere = await pmscan(['report', process.pid, '-o', join(folder, 'no/such/report.html')]);
    expect([nowhere.code, nowhere.stderr]).toEqual([1, expect.stringContaining('there is no such folder\n')]);
    // Before it has looked at anything.
    expect(nowhere.stderr).not.toContain('looking at');
    const missing = await pmscan(['report', '/no/such/recording', '-o', join(folder, 'none.html')]);
    expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('/no/such/recording')]);
    expect((await pmscan(['report', process.pid])).code).toBe(2);
  });
});

testWhere('fallback')('a report of a process that is not there', async () => {
  const none = await pmscan(['report', '4194399', '-o', join(folder, 'none.html')]);
  expect(none.code).toBe(3);
});

describe('pmscan serve', () => {
  test('prints its address, and ends with Ctrl-C', async () => {
    const child = spawn(process.execPath, [MAIN, 'serve'], { stdio: ['ignore', 'pipe', 'pipe'] });
    const line = await firstOutput(child);
    expect(line).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/[\w-]{24}\/\n$/);
    const answer = await fetch(line.trim());
    expect(await answer.text()).toContain('<title>pmscan</title>');
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  testWhere('root', 'fallback')(
    'as a user, tells which processes are not to be looked at, and why',
    async () => {
      const child = startPmscan(['serve'], { uid: 65_534 });
      const line = await firstOutput(child);
      const answer = await fetch(`${line.trim()}processes`);
      const { processes } = (await answer.json()) as { processes: { pid: number; hidden?: string }[] };
      expect(processes.find(({ pid }) => pid === process.pid)?.hidden).toMatch(/another user's/);
      const refused = await fetch(`${line.trim()}stream?pid=${process.pid}`);
      expect([refused.status, await refused.text()]).toEqual([409, expect.stringMatching(/another user's/)]);
      child.kill('SIGTERM');
      expect(await once(child, 'exit')).toEqual([0, null]);
    },
  );

  test('says what it cannot do', async () => {
    expect((await pmscan(['serve', '--port', '70000'])).code).toBe(2);
    const away = await pmscan(['serve', '--host', '203.0.113.1']);
    expect([away.code, away.stderr]).toEqual([
      1,
      expect.stringContaining('that is no address of this machine'),
    ]);
    expect((await pmscan(['serve', 'no such program'])).code).toBe(3);
    for (const more of [[], ['--metrics', '127.0.0.1:0']])
      expect(await pmscan(['serve', '999999999', ...more])).toMatchObject({ code: 3, stdout: '' });
  });
});
