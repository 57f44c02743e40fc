import { readFileSync } from 'node:fs';

/** The package's version, from its package.json: the same file in the repository and in an installed package. */
export const version: string = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
).version;
