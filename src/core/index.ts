export { type CoreOptions, type CoreProgress, type CoreResult, dumpCore } from './dump.js';
export { FILTER } from './filter.js';
export type { Compression } from './send.js';
