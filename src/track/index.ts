export * from './process.js';
export { type WorkingSetSize, WriteWorkingSet } from './working-set.js';
