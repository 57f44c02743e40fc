export { type CoreOptions, type CoreProgress, type CoreResult, dumpCore } from './dump.js';
export { FILTER } from './filter.js';
