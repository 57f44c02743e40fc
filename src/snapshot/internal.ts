/** What the other layers use besides what users get. */
export { openOutput } from './core-file.js';
export { type WalkedSnapshot, walkSnapshots } from './walk.js';
export { explainOutput } from './write.js';
