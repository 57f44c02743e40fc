export * from './abi/index.js';
export * from './live/index.js';
export * from './owners/index.js';
export * from './proc/index.js';
export * from './query/index.js';
export * from './track/index.js';
