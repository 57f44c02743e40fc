/** The page's own files, made at build time from src/web/page. */
import { readPart } from '../parts/index.js';

export interface Assets {
  readonly html: string;
  readonly script: string;
  readonly style: string;
}

/** @throws Error when the package was not built */
export function loadAssets(): Assets {
  return {
    html: readPart('dist/web/assets/page.html'),
    script: readPart('dist/web/assets/page.js'),
    style: readPart('dist/web/assets/page.css'),
  };
}
