import { readPart } from '../parts/index.js';

/** The package's version, from its package.json: the same file in the repository and in an installed package. */
export const version: string = JSON.parse(readPart('package.json')).version;
