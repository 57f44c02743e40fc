export { protectEntry, Scanner } from './scanner.js';
export * from './target.js';
