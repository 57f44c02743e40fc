// Compiles src/ to dist/, bundles the page and the playground, writes the manual pages, and makes the command executable. dist/ is emptied first, so that a
// file that was renamed or deleted in src/ cannot live on in the package.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { manualPages } from './man.mjs';
import { FOR_BROWSERS, playgroundPage } from './playground.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
const page = join(root, 'src', 'web', 'page');
const assets = join(root, 'dist', 'web', 'assets');

rmSync(join(root, 'dist'), { recursive: true, force: true });
try {
  execFileSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json')], { stdio: 'inherit' });
  mkdirSync(assets, { recursive: true });
  await build({
    entryPoints: [join(page, 'page.ts'), join(page, 'page.css')],
    outdir: assets,
    ...FOR_BROWSERS,
  });
  writeFileSync(join(root, 'dist', 'playground.html'), await playgroundPage(root));
} catch {
  process.exit(1);
}
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const manual = join(root, 'dist', 'man');
mkdirSync(manual);
const pages = manualPages(readFileSync(join(root, 'docs/reference/cli.md'), 'utf8'), version);
for (const [name, text] of pages) writeFileSync(join(manual, name), text);
copyFileSync(join(page, 'page.html'), join(assets, 'page.html'));
chmodSync(join(root, 'dist', 'cli', 'main.js'), 0o755);
