export { dumpCore } from './dump.js';
export { FILTER } from './filter.js';
export type { CoreOptions, CoreProgress, CoreResult } from './options.js';
export type { Compression } from './send.js';
