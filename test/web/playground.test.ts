/** The playground in a browser, from its file. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect } from 'vitest';
import { startChromium } from '../support/browser.js';
import { available, testWhere } from '../support/needs.js';

const FILE = pathToFileURL(join(import.meta.dirname, '../../dist/playground.html')).href;
const testPage = testWhere('chromium');
let browser: Browser;

beforeAll(async () => {
  if (available('chromium')) browser = await startChromium();
});

afterAll(() => browser?.close());

async function open(hash = ''): Promise<{ page: Page; problems: string[] }> {
  const page = await browser.newPage({ viewport: { width: 1366, height: 900 } });
  page.setDefaultTimeout(15_000);
  const problems: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('request', (request) => {
    if (!/^(file|data|blob):/.test(request.url())) problems.push(request.url());
  });
  await page.goto(FILE + hash);
  await page.getByRole('heading', { name: 'PAGEMAP_SCAN playground' }).waitFor();
  return { page, problems };
}

const picture = (page: Page, title: string) =>
  page.getByRole('img', { name: `${title}:` }).getAttribute('aria-label');
const click = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click();
const regions = (page: Page) =>
  page
    .locator('table.regions tbody tr')
    .evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));

/** Chooses pages as one without a mouse does. */
async function select(page: Page, at: number, pages: number): Promise<void> {
  await page.getByLabel('first page').fill(String(at));
  await page.getByLabel('first page').press('Enter');
  await page.getByLabel('number of pages').fill(String(pages));
  await page.getByLabel('number of pages').press('Enter');
}

testPage('one maps, writes, tracks and scans; a link shows others the same', async () => {
  const { page, problems } = await open();
  await click(page, 'start over');
  expect(await picture(page, 'Linux 7.3')).toBe('Linux 7.3: 1024 not mapped');
  await select(page, 0, 128);
  await click(page, 'mmap');
  await select(page, 0, 64);
  await click(page, 'write');
  expect(await picture(page, 'Linux 7.3')).toBe('Linux 7.3: 64 anonymous, 64 untouched, 896 not mapped');
  await click(page, 'register');
  await click(page, 'write-protect');
  await select(page, 5, 2);
  await click(page, 'write');

  await page.getByLabel('in words').fill('written & present');
  for (const [name, mask] of [
    ['written', 'mask'],
    ['present', 'mask'],
  ])
    expect(await page.getByLabel(`${name}: ${mask}`).isChecked()).toBe(true);
  await page.getByLabel('PM_SCAN_WP_MATCHING').check();
  expect(await page.locator('pre').textContent()).toContain(
    '.category_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT,',
  );
  await click(page, 'scan');
  expect(await regions(page)).toEqual([['5', '2', 'wpallowed written present']]);
  // The scan has protected them: nothing is left to report.
  await click(page, 'scan');
  expect(await regions(page)).toEqual([]);

  await page.getByLabel('in words').fill('written & (');
  await page.getByText('Cannot').first().waitFor();

  await click(page, 'copy link');
  await page.getByText(/The link is in/).waitFor();
  const { hash } = new URL(page.url());
  const other = await open(hash);
  expect(await picture(other.page, 'Linux 7.3')).toBe(await picture(page, 'Linux 7.3'));
  expect(await other.page.locator('.steps li').count()).toBe(await page.locator('.steps li').count());
  // Back in time: what is shown is the memory before the writes.
  await other.page.locator('.steps .step').first().click();
  expect(await picture(other.page, 'Linux 7.3')).toBe('Linux 7.3: 128 untouched, 896 not mapped');
  expect([...problems, ...other.problems]).toEqual([]);
});

testPage('two kernels side by side; pages by the mouse', async () => {
  const { page, problems } = await open();
  await page.getByLabel('example').selectOption({ label: 'Kernels differ' });
  await page.getByLabel('compared with').selectOption('6.7');
  expect(await picture(page, 'Linux 6.7')).toMatch(/^Linux 6\.7: /);
  expect(await page.locator('.steps .differs').count()).toBeGreaterThan(0);

  const canvas = page.locator('canvas').first();
  const box = (await canvas.boundingBox())!;
  const [width, height] = [box.width / 64, box.height / 16];
  await page.mouse.move(box.x + 2.5 * width, box.y + 1.5 * height);
  await page.mouse.down();
  await page.mouse.move(box.x + 4.5 * width, box.y + 1.5 * height);
  await page.mouse.up();
  expect(await page.getByLabel('first page').inputValue()).toBe('66');
  expect(await page.getByLabel('number of pages').inputValue()).toBe('3');
  await page.getByText(/^page 68, 0x600000044000: not mapped$/).waitFor();
  expect(problems).toEqual([]);
});

testPage('a link that is nonsense says so, and does nothing else', async () => {
  const { page, problems } = await open('#bm9uc2Vuc2U');
  await page.getByText('Cannot read the link: it is not whole').waitFor();
  expect(await page.locator('.steps li').count()).toBe(0);
  expect(problems).toEqual([]);
});
