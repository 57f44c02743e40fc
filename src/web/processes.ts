/** The processes that there are to choose from. */
import { readdirSync, readFileSync } from 'node:fs';
import { PagemapError } from '../abi/index.js';
import { attachProblem, ProcessHandle } from '../live/internal.js';
import type { ListedProcess } from '../model/index.js';
import { parseStatus } from '../proc/index.js';

const MOST_TEXT = 400;

function userNames(): Map<number, string> {
  const names = new Map<number, string>();
  try {
    for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
      const [name, , uid] = line.split(':');
      if (name && uid) names.set(Number(uid), name);
    }
  } catch {
    // Numbers do, then.
  }
  return names;
}

function reasonOf(error: unknown): string {
  return error instanceof PagemapError ? (error.hint ?? error.message) : String(error);
}

function look(pid: number, users: ReadonlyMap<number, string>): ListedProcess | undefined {
  using handle = new ProcessHandle(pid);
  const commandLine = Buffer.from(handle.read('cmdline')).toString('utf8', 0, MOST_TEXT);
  const status = parseStatus(handle.read('status'));
  // Kernel threads and zombies have no memory.
  if (status.vmSizeBytes === undefined || status.state === 'Z') return undefined;
  const uid = status.uids[1];
  const listed = {
    pid,
    name: status.name,
    commandLine: commandLine.split('\0').join(' ').trim(),
    user: users.get(uid) ?? String(uid),
    residentBytes: status.vmRssBytes ?? 0,
    swappedBytes: status.vmSwapBytes ?? 0,
  };
  try {
    handle.read('maps');
  } catch (error) {
    return { ...listed, hidden: reasonOf(error), untracked: reasonOf(error) };
  }
  const problem = attachProblem(handle);
  return problem === undefined ? listed : { ...listed, untracked: reasonOf(problem) };
}

/** All processes that this user can see and that have memory, the largest first; this one is not among them. */
export function listProcesses(): ListedProcess[] {
  const users = userNames();
  const found: ListedProcess[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!/^\d+$/.test(entry) || pid === process.pid) continue;
    try {
      const listed = look(pid, users);
      if (listed !== undefined) found.push(listed);
    } catch {
      // Ended meanwhile, or hidden from us altogether.
    }
  }
  return found.sort((a, b) => b.residentBytes - a.residentBytes || a.pid - b.pid);
}
