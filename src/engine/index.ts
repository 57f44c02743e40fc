export { CheckedRequest } from './request.js';
export { defineScanner, type ScannerClass } from './scanner.js';
export * from './target.js';
