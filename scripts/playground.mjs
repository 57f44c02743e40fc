// The playground as one HTML file: its code and its looks in it, allowed by their hashes, and nothing else.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** How code for browsers is bundled. */
export const FOR_BROWSERS = {
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2022',
  legalComments: 'none',
  logLevel: 'warning',
};

/** @param {string} root the repository */
export async function playgroundPage(root) {
  const folder = join(root, 'src/playground');
  const { outputFiles } = await build({
    entryPoints: [join(folder, 'playground.ts'), join(folder, 'playground.css')],
    outdir: folder,
    write: false,
    ...FOR_BROWSERS,
    // What runs scenarios on a kernel asks for it, and is not needed: no part of it may be left.
    external: ['node:*'],
    logOverride: { 'empty-import-meta': 'silent' },
  });
  const text = (end) => outputFiles.find(({ path }) => path.endsWith(end)).text.trim();
  const [script, style] = [text('.js').replaceAll('</script', '<\\/script'), text('.css')];
  if (script.includes('"node:')) throw new Error('Cannot make the playground: its code asks for Node.js');
  const policy = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; img-src data:; base-uri 'none'; form-action 'none'`;
  // Functions, because a replacement text has patterns of its own.
  return readFileSync(join(folder, 'playground.html'), 'utf8')
    .replace('<!--policy-->', () => `<meta http-equiv="Content-Security-Policy" content="${policy}">`)
    .replace('<!--style-->', () => `<style>${style}</style>`)
    .replace('<!--script-->', () => `<script>${script}</script>`);
}
