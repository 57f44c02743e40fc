export * from './regions.js';
export * from './summary.js';
export * from './where.js';
