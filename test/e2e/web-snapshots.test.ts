/** The report of snapshots in a browser: moving through them by keys, what had changed, and that it fits on a telephone. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startChromium } from '../support/browser.js';
import { pmscan } from '../support/cli.js';
import { available, testWhere } from '../support/needs.js';
import {
  ABOUT,
  addSnapshot,
  type Model,
  mappingOf,
  PAGE_SIZE,
  START,
  StoreWriter,
} from '../support/snapshot-store.js';

const testPage = testWhere('chromium');
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-web-snapshots-'));
const store = join(folder, 'store');
const report = join(folder, 'report.html');
const PAGES = 16;
const OTHER = START + 2 ** 30;

let browser: Browser | undefined;

/** Five snapshots: pages 0 to n - 1 change in the n-th; from the fourth on there is another mapping. */
async function fill(): Promise<void> {
  using writer = StoreWriter.open(store, ABOUT);
  const model: Model = new Map(Array.from({ length: PAGES }, (_, page) => [page, 1]));
  for (let number = 1; number <= 5; number++) {
    if (number > 1) for (let page = 0; page < number; page++) model.set(page, number * 10);
    await addSnapshot(writer, model, number === 1 ? undefined : [], undefined, {
      mappings: [
        mappingOf(START, START + PAGES * PAGE_SIZE),
        ...(number > 3 ? [mappingOf(OTHER, OTHER + 4 * PAGE_SIZE)] : []),
      ],
    });
  }
}

beforeAll(async () => {
  await fill();
  if (available('chromium')) browser = await startChromium();
});

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

async function open(width: number, height: number) {
  const page = await browser!.newPage({ viewport: { width, height } });
  page.setDefaultTimeout(15_000);
  const problems: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  const requests: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  await page.goto(pathToFileURL(report).href);
  await page.click('#tab-map');
  return { page, problems, requests };
}

/** The rows of the address map's table, without addresses. */
function cellsShown(page: Page): Promise<string[]> {
  return page.evaluate(
    `[...document.querySelectorAll('.map table tbody tr')].map((row) => row.cells[2].textContent)`,
  );
}

describe('the report of snapshots', () => {
  test('is made of a folder, or of one of them', async () => {
    expect(await pmscan(['report', store, '-o', report])).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/5 snapshots, 1 mapping/),
    });
    expect(statSync(report).size).toBeLessThan(2 ** 20);
    const one = join(folder, 'one.html');
    expect(await pmscan(['report', `${store}@4`, '-o', one])).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/1 snapshot, 2 mappings/),
    });
    expect(await pmscan(['report', `${store}@9`, '-o', join(folder, 'none.html')])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/Cannot find snapshot 9 .*there are 1 to 5/),
    });
  });

  testPage('is moved through with the keyboard, and tells what had changed', async () => {
    const { page, problems, requests } = await open(1366, 768);
    const slider = page.getByRole('slider', { name: 'Snapshot' });
    const value = () => slider.getAttribute('aria-valuetext');
    expect(await value()).toMatch(
      /^Snapshot 5, 5 of 5, 2023-11-1\d .*: 5 pages changed \(20 KiB\) since snapshot 4$/,
    );
    await page.getByRole('button', { name: 'As table' }).click();
    await page.waitForSelector('.map table tbody tr');
    const untilShown = async (expected: string[]) => {
      await expect.poll(() => cellsShown(page)).toEqual(expected);
    };
    await untilShown(['changed × 5, unchanged × 11', 'unchanged × 4']);
    await slider.focus();
    await page.keyboard.press('ArrowLeft');
    expect(await value()).toMatch(/^Snapshot 4, 4 of 5, .*: 4 pages changed/);
    await untilShown(['changed × 4, unchanged × 12', 'unchanged × 4']);
    await page.keyboard.press('ArrowLeft');
    // The other mapping is not there yet.
    await untilShown(['changed × 3, unchanged × 13']);
    await page.keyboard.press('Home');
    expect(await value()).toMatch(/^Snapshot 1, 1 of 5, .*: the first snapshot$/);
    await untilShown(['unchanged × 16']);
    expect(await page.getByRole('button', { name: 'The snapshot before' }).isDisabled()).toBe(true);
    await page.getByRole('button', { name: 'The next snapshot' }).click();
    await untilShown(['changed × 2, unchanged × 14']);
    // The same cells by what they are.
    await page.getByRole('button', { name: 'By change' }).click();
    await untilShown(['untouched × 16']);
    await page.keyboard.press('Enter');
    await untilShown(['changed × 2, unchanged × 14']);
    // A cell in words.
    await page.locator('.map canvas').focus();
    await page.keyboard.press('ArrowRight');
    await expect.poll(() => page.textContent('#map-state')).toContain('1 of 1 changed since snapshot 1');
    // The mapping that comes later is in the other views then, too.
    await slider.focus();
    await page.keyboard.press('End');
    await page.click('#tab-where');
    await expect.poll(() => page.locator('#view-where table tbody tr').count()).toBe(2);
    expect(problems).toEqual([]);
    expect(requests.length).toBe(1);
    await page.close();
  });

  testPage('fits on a telephone, slider and all', async () => {
    const { page, problems } = await open(360, 800);
    const boxes: { left: number; right: number; width: number }[] = await page.evaluate(
      `[...document.querySelectorAll('.moments > *, .moments button')].map((element) => {
        const { left, right, width } = element.getBoundingClientRect();
        return { left, right, width };
      })`,
    );
    expect(boxes.length).toBe(5);
    for (const { left, right, width } of boxes) {
      expect(left).toBeGreaterThanOrEqual(0);
      expect(right).toBeLessThanOrEqual(360);
      expect(width).toBeGreaterThan(20);
    }
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360);
    // By touch, too: a tap on its beginning.
    const slider = page.getByRole('slider', { name: 'Snapshot' });
    await slider.click({ position: { x: 2, y: 8 } });
    await expect.poll(() => slider.getAttribute('aria-valuetext')).toMatch(/^Snapshot 1, /);
    expect(problems).toEqual([]);
    await page.close();
  });
});
