/** What the other layers use besides what is public. */
export * from './index.js';
export { labelOf } from './labels.js';
export { pushesMetrics } from './metrics.js';
