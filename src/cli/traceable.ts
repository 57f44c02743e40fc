/**
 * Lets others trace this process, then becomes the command in its arguments: how `pmscan watch -- CMD` starts it where only
 * ancestors may trace, since what attaches is no ancestor of it.
 */
import { PagemapError } from '../abi/index.js';
import { allowTracing, replaceProgram } from '../live/index.js';
import { printable } from './text.js';

/** What a shell answers for a command that is not there, or cannot be run. */
const NOT_FOUND = 127;
const NOT_RUN = 126;

const [, , ...commandLine] = process.argv;
try {
  allowTracing();
  replaceProgram(commandLine as [string, ...string[]]);
} catch (error) {
  const code = error instanceof PagemapError ? error.code : '';
  const why =
    code === 'ENOENT' ? 'there is no such command' : code === 'EACCES' ? 'it may not be run' : String(error);
  process.stderr.write(`pmscan: Cannot run ${printable(commandLine[0] ?? '')}: ${why}\n`);
  process.exitCode = code === 'ENOENT' ? NOT_FOUND : NOT_RUN;
}
