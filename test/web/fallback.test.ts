/** The page, recordings and reports without PAGEMAP_SCAN: what can be told is, the rest is said not to be known. */
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PAGE_IS_GUARD } from '../../src/abi/index.js';
import { fallbackKnowledge } from '../../src/live/internal.js';
import { aggregateRecording, openRecording } from '../../src/record/internal.js';
import { startChromium } from '../support/browser.js';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { duckdb } from '../support/duckdb.js';
import { hasZeroPage, scenePages } from '../support/facts.js';
import { available, testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { startTarget } from '../support/target.js';

const NOBODY = 65_534;
const env = { PMSCAN_PROVIDER: 'fallback' };
const here = testWhere('fallback', 'compiler');
const asUser = testWhere('fallback', 'compiler', 'root', 'chromium');
const untracked = available('soft-dirty') ? (test.skip as unknown as typeof here) : here;
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-fallback-'));
chmodSync(folder, 0o777);

let browser: Browser;
beforeAll(async () => {
  if (available('chromium')) browser = await startChromium();
});
afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

const startScene = (uid?: number) =>
  startTarget('scene', ['quiet', 8, 'shared'], {
    flags: ['-pthread'],
    ...(uid === undefined ? {} : { uid }),
  });

async function serve(pid: number, uid?: number) {
  const child = startPmscan(['serve', String(pid), '--interval', '100ms'], {
    env,
    ...(uid === undefined ? {} : { uid }),
  });
  const line = await firstOutput(child);
  return {
    url: line.trim(),
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** What the table of mappings says of the pages of the one at an address. */
async function pagesAt(page: Page, start: number): Promise<string | null> {
  const row = page.locator('#view-where tbody tr', { hasText: `0x${start.toString(16)}` });
  const cell = row.locator('td').nth(4);
  await page.waitForFunction(
    (address) => {
      type Cells = { textContent: string; getAttribute(name: string): string | null }[];
      const { document } = globalThis as unknown as {
        document: { querySelectorAll(selector: string): Iterable<{ cells: Cells }> };
      };
      const rows = [...document.querySelectorAll('#view-where tbody tr')];
      const found = rows.find(({ cells }) => cells[0]!.textContent === address);
      return found?.cells[4]?.getAttribute('aria-label')?.includes('anonymous');
    },
    `0x${start.toString(16)}`,
  );
  return cell.getAttribute('aria-label');
}

describe('the page', () => {
  testWhere(
    'fallback',
    'compiler',
    'root',
    'chromium',
  )('shows every page, and says why there is no heat', async () => {
    await using target = await startScene();
    await using server = await serve(target.pid);
    const page = await browser.newPage();
    await page.goto(server.url);
    const known = fallbackKnowledge();
    const guards = available('category-guard') && known.categories & PAGE_IS_GUARD;
    const pages = scenePages({ zeroPage: hasZeroPage(), guards: Boolean(guards) });
    expect(await pagesAt(page, target.start)).toBe(
      pages.map(([kind, count]) => `${count} ${kind}`).join(', '),
    );
    await page.click('#tab-map');
    const canvas = page.locator('#view-map canvas[role=application]');
    await page.fill('input[placeholder="Go to address"]', target.start.toString(16));
    await page.press('input[placeholder="Go to address"]', 'Enter');
    // Single pages, which are looked at when the page asks.
    for (let tries = 0; tries < 40; tries++) {
      if ((await canvas.getAttribute('data-cell-bytes')) === '4096') break;
      await canvas.press('+');
    }
    await page.waitForFunction(() =>
      (
        globalThis as unknown as {
          document: { getElementById(id: string): { textContent: string } };
        }
      ).document
        .getElementById('map-state')
        .textContent.includes('Anonymous'),
    );
    for (const [tab, selector] of [
      ['heat', '#view-heat .message'],
      ['rates', '#view-rates .message'],
    ] as const) {
      await page.click(`#tab-${tab}`);
      if (known.softDirty) await page.waitForSelector('.status:has-text("by soft-dirty bits")');
      else {
        await page.waitForSelector(selector);
        expect(await page.textContent(selector)).toMatch(/^Writes are not tracked: .*CONFIG_MEM_SOFT_DIRTY/);
      }
    }
    await page.close();
  });

  asUser('what a user cannot be told is not shown as nothing', async () => {
    await using target = await startScene(NOBODY);
    await using server = await serve(target.pid, NOBODY);
    const page = await browser.newPage();
    await page.goto(server.url);
    // Zero pages are told by frame numbers, which users do not see.
    expect(await pagesAt(page, target.start)).not.toContain('zero');
    const key = page.locator('#view-where button.key', { hasText: 'Zero page' });
    expect(await key.locator('.amount').textContent()).toBe('not known on this kernel');
    expect(await key.isDisabled()).toBe(true);
    await page.close();
  });
});

describe('recordings', () => {
  untracked('without tracking, an error that says what can be had; nothing is left', async () => {
    await using target = await startScene();
    const file = join(folder, 'none.parquet');
    const { code, stderr } = await pmscan(['record', target.pid, '-o', file], { env });
    expect(code).toBe(5);
    expect(stderr).toContain('CONFIG_MEM_SOFT_DIRTY');
    expect(stderr).toContain('`--layout-only` records the kinds of pages');
    expect(readdirSync(folder).filter((name) => name.includes('none'))).toEqual([]);
  });

  asUser('of the layout only, and the report of it', async () => {
    await using target = await startScene(NOBODY);
    const file = join(folder, 'layout.parquet');
    const { code, stdout, stderr } = await pmscan(
      ['record', target.pid, '-o', file, '--layout-only', '--layout', '100ms', '--duration', '1s', '--json'],
      { env, uid: NOBODY },
    );
    expect([code, stderr]).toEqual([0, expect.stringMatching(/recorded [\d,]+ rows/)]);
    expect(JSON.parse(stdout)).toMatchObject({ end: 'duration', intervals: 0, writtenPages: null });
    const [row] = await duckdb(`
      SELECT count(*) >= 2 AS several, any_value(kind_zero_pages) AS zero, any_value(pfnzero_pages) AS pfnzero,
             any_value(kind_guard_pages) AS guard, any_value(present_pages) AS present
      FROM '${file}' WHERE record = 'layout' AND start_address = ${target.start}`);
    const known = (fallbackKnowledge().categories & PAGE_IS_GUARD) !== 0;
    const guard = known ? (available('category-guard') ? 8 : 0) : null;
    expect(row).toEqual({ several: true, zero: null, pfnzero: null, guard, present: 24 });
    expect(await duckdb(`SELECT DISTINCT record FROM '${file}'`)).toEqual([{ record: 'layout' }]);
    const model = await aggregateRecording(await openRecording(file));
    expect(model.heat).toBeNull();
    expect(model.tracking).toEqual({ state: 'off', why: 'it was recorded with --layout-only' });
    expect(model.notes.join(' ')).toContain('Not known on the kernel that was recorded: zero.');
    const report = join(folder, 'layout.html');
    expect((await pmscan(['report', file, '-o', report])).code).toBe(0);
    const page = await browser.newPage();
    await page.goto(`file://${report}`);
    expect(await pagesAt(page, target.start)).not.toContain('zero');
    await page.click('#tab-heat');
    await page.waitForSelector('#view-heat .message:has-text("recorded with --layout-only")');
    await page.close();
  });

  here('of the layout only ends with the process, and on SIGTERM', async () => {
    const target = await startScene();
    const ended = startPmscan(
      ['record', String(target.pid), '-o', join(folder, 'ended.parquet'), '--layout-only'],
      { env },
    );
    const kept = startPmscan(
      ['record', String(process.pid), '-o', join(folder, 'kept.parquet'), '--layout-only'],
      { env },
    );
    const runs = [finish(ended), finish(kept)];
    while (!existsSync(join(folder, 'ended.parquet')) || !existsSync(join(folder, 'kept.parquet'))) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await target[Symbol.asyncDispose]();
    kept.kill('SIGTERM');
    const [first, second] = await Promise.all(runs);
    expect([first!.code, first!.stderr]).toEqual([0, expect.stringContaining('has ended')]);
    expect([second!.code, second!.stderr]).toEqual([0, expect.stringMatching(/recorded [\d,]+ rows/)]);
  });
});
