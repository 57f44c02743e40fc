/** What the other layers use besides what users get. */
export { STORE_FILE } from './files.js';
export { type WalkedSnapshot, walkSnapshots } from './walk.js';
