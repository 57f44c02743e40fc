export * from './entry.js';
export * from './page-tables.js';
