// node run-tests.mjs FILE [PATTERN]: runs a compiled test file in this process. Results go to descriptor 3 as JSON lines.
import { writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runTests } from 'vitest';

const [file, pattern] = process.argv.slice(2);
let failed = 0;
let passed = 0;

function report(result) {
  if (result.result === 'failed') failed++;
  if (result.result === 'passed') passed++;
  writeSync(3, `${JSON.stringify(result)}\n`);
}

try {
  await import(pathToFileURL(resolve(file)).href);
  await runTests(pattern === undefined ? undefined : new RegExp(pattern), report);
} catch (error) {
  report({ test: file, result: 'failed', message: String(error?.stack ?? error) });
}
// A file without a test that ran has shown nothing.
process.exit(failed === 0 && passed > 0 ? 0 : 1);
