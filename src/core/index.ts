export { dumpCore } from './dump.js';
export { FILTER } from './filter.js';
export type { CoreOptions, CoreProgress, CoreResult } from './options.js';
export type { Compression } from './send.js';
export { type WaitOptions, type WhenMet, waitUntil } from './wait.js';
export { compileWhen, type WhenCondition, WhenError, type WhenQuantity, type WhenValues } from './when.js';
