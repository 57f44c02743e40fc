/** One HTML file that holds everything: opened from a disk, it asks nobody for anything. */
import { createHash } from 'node:crypto';
import { loadAssets } from './assets.js';
import type { PageModel } from './model.js';

function sha256(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** JSON that cannot end the script element that it stands in, nor be taken for markup. */
export function embeddedJson(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll('<', '\\u003c')
    .replaceAll('>', '\\u003e')
    .replaceAll('&', '\\u0026')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
}

/** The report as a self-contained document. */
export function reportHtml(model: PageModel): string {
  const { html, script, style } = loadAssets();
  const policy = `default-src 'none'; script-src ${sha256(script)}; style-src ${sha256(style)}; base-uri 'none'; form-action 'none'`;
  // Functions, because a replacement text has patterns of its own.
  return html
    .replace('<!--policy-->', () => `<meta http-equiv="Content-Security-Policy" content="${policy}">`)
    .replace('<link rel="stylesheet" href="page.css">', () => `<style>${style}</style>`)
    .replace(
      '<script src="page.js" defer></script>',
      () =>
        `<script type="application/json" id="model">${embeddedJson(model)}</script>\n<script>${script}</script>`,
    );
}
