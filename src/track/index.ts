export { type WorkingSetSize, WriteWorkingSet } from './working-set.js';
