/** The processes that a name may stand for: all but this one and those that only started it. */
import { readFileSync } from 'node:fs';
import { type NamedProcess, namedProcesses } from '../live/internal.js';
import { statNumbers } from '../proc/internal.js';

/** In /proc/PID/stat. */
const PARENT = 4;
/** More are not gone up to. */
const MOST_ANCESTORS = 64;

function ancestors(): ReadonlySet<number> {
  const found = new Set<number>();
  let pid = process.ppid;
  while (pid > 0 && found.size < MOST_ANCESTORS) {
    found.add(pid);
    try {
      pid = statNumbers(readFileSync(`/proc/${pid}/stat`))(PARENT);
    } catch {
      // Hidden from us.
      break;
    }
  }
  return found;
}

/** Without `npx pmscan …`, `sudo pmscan …` and the like: their names are node's and sudo's, and their command lines name any process. */
export function otherProcesses(): NamedProcess[] {
  const above = ancestors();
  return namedProcesses().filter(
    ({ pid, commandLine }) => !above.has(pid) || !/\bpmscan\b/.test(commandLine),
  );
}
