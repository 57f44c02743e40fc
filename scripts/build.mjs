// Compiles src/ to dist/, bundles the programs, the page and the playground, writes the manual pages, and makes the command executable. dist/ is emptied first, so that a
// file that was renamed or deleted in src/ cannot live on in the package.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
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

/** For what runs as a program. What knows where the package's files are stays a file of its own. */
const FOR_NODE = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  packages: 'external',
  minifySyntax: true,
  minifyWhitespace: true,
  lineLimit: 160,
  logLevel: 'warning',
  plugins: [
    {
      name: 'parts',
      setup: ({ onResolve }) =>
        onResolve({ filter: /\/parts\/index\.js$/ }, () => ({ path: '../parts/index.js', external: true })),
    },
  ],
};

/**
 * Programs as few files, in the place of their modules: reading two hundred of them takes Node.js a third of the time that a short command
 * takes. The library's modules stay as they are beside them.
 */
async function bundlePrograms() {
  const cli = join(root, 'dist', 'cli');
  const { outputFiles } = await build({
    entryPoints: ['main', 'sample', 'traceable'].map((name) => join(cli, `${name}.js`)),
    outdir: cli,
    splitting: true,
    write: false,
    ...FOR_NODE,
  });
  for (const name of readdirSync(cli)) rmSync(join(cli, name), { recursive: true });
  for (const { path, contents } of outputFiles) writeFileSync(path, contents);
  const attacher = join(root, 'dist', 'live', 'attacher.js');
  await build({ entryPoints: [attacher], outfile: attacher, allowOverwrite: true, ...FOR_NODE });
}

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
  await bundlePrograms();
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
