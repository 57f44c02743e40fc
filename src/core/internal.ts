/** What the other layers use besides what is public. */
export * from './index.js';
export { checkCompression } from './send.js';
export { hasEnded } from './wait.js';
