// Makes the pictures of docs/images: the page over a sample process, light and dark.
//   npm run build && node scripts/screenshots.mjs
// Needs Chromium and a C compiler.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { CHROMIUM_LAUNCH } from '../test/support/chromium.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const images = join(root, 'docs', 'images');
const program = join(root, '.build', 'scene');
/** So long that the heat has something to show. */
const SECONDS = 55;

mkdirSync(images, { recursive: true });
mkdirSync(dirname(program), { recursive: true });
execFileSync('cc', ['-O2', '-pthread', '-o', program, join(root, 'test', 'native', 'scene.c')]);
const target = spawn(program, ['busy', '96'], { stdio: ['pipe', 'pipe', 'inherit'] });
await once(target.stdout, 'data');
const server = spawn(process.execPath, [join(root, 'dist/cli/main.js'), 'serve', String(target.pid)], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const [line] = await once(server.stdout.setEncoding('utf8'), 'data');
const browser = await chromium.launch(CHROMIUM_LAUNCH);
const page = await browser.newPage({ viewport: { width: 1366, height: 768 }, colorScheme: 'light' });
await page.goto(line.trim());
await page.waitForTimeout(SECONDS * 1000);

async function shoot(name) {
  await page.waitForTimeout(400);
  await page.screenshot({ path: join(images, `${name}.png`) });
}

await page.mouse.move(700, 10);
await shoot('web-where');
await page.click('#tab-map');
await page.mouse.move(640, 560);
await shoot('web-map');
await page.emulateMedia({ colorScheme: 'dark' });
await page.click('#tab-heat');
await page.mouse.move(700, 10);
await shoot('web-heat-dark');
await page.emulateMedia({ colorScheme: 'light' });
await page.click('#tab-rates');
await page.mouse.move(420, 300);
await shoot('web-rates');
await browser.close();
server.kill('SIGINT');
await once(server, 'exit');
target.stdin.end();
await once(target, 'exit');
