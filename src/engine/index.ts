export { defineScanner, type ScannerClass } from './scanner.js';
export * from './target.js';
