/** The page's own files, made at build time from src/web/page. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface Assets {
  readonly html: string;
  readonly script: string;
  readonly style: string;
}

/** Run from the sources (as tests do), the built ones do it. */
function folder(): string {
  const beside = fileURLToPath(new URL('./assets/', import.meta.url));
  return existsSync(beside) ? beside : fileURLToPath(new URL('../../dist/web/assets/', import.meta.url));
}

/** @throws Error when the package was not built */
export function loadAssets(): Assets {
  const read = (name: string) => readFileSync(`${folder()}${name}`, 'utf8');
  return { html: read('page.html'), script: read('page.js'), style: read('page.css') };
}
