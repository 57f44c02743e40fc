/**
 * Lets others trace this process, then becomes the command in its arguments: how `pmscan watch -- CMD` starts it where only
 * ancestors may trace, since what attaches is no ancestor of it. Descriptor 3 closes when the command has begun; the errno
 * is written there when it cannot.
 */
import { writeSync } from 'node:fs';
import { PagemapError } from '../abi/index.js';
import { allowTracing, replaceProgram } from '../live/internal.js';

const STARTER = 3;

const [, , ...commandLine] = process.argv;
try {
  allowTracing();
  replaceProgram(commandLine as [string, ...string[]], STARTER);
} catch (error) {
  writeSync(STARTER, error instanceof PagemapError ? error.code : String(error));
  process.exitCode = 1;
}
