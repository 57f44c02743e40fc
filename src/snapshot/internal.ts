/** What the other layers use besides what is public. */
export * from './index.js';
