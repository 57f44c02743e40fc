/** Processes as /proc tells of them. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Stat {
  readonly name: string;
  readonly state: string;
  readonly parent: number;
  readonly session: number;
  /** Start time in clock ticks: with the number it names one process for ever. */
  readonly started: string;
}

/** Fields of PATH/stat, of a process or a thread; undefined when there is none, or only its zombie. */
export function statOf(path: string): Stat | undefined {
  try {
    const text = readFileSync(`${path}/stat`, 'latin1');
    // The name, in parentheses, may hold anything; the fields behind it are plain.
    const end = text.lastIndexOf(')');
    const fields = text.slice(end + 2).split(' ');
    const state = fields[0]!;
    if (state === 'Z' || state === 'X') return undefined;
    const name = text.slice(text.indexOf('(') + 1, end);
    return { name, state, parent: Number(fields[1]), session: Number(fields[3]), started: fields[19]! };
  } catch {
    return undefined;
  }
}

/** All living processes that this user may see, by number, without those of the given numbers. */
export function allProcesses(without: ReadonlySet<number> = new Set()): Map<number, Stat> {
  const all = new Map<number, Stat>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || without.has(Number(entry))) continue;
    const stat = statOf(`/proc/${entry}`);
    if (stat !== undefined) all.set(Number(entry), stat);
  }
  return all;
}

/** Whether a process was started with `NAME=VALUE` in its environment. */
export function hasInEnvironment(pid: number, setting: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(setting);
  } catch {
    return false;
  }
}

/** Sends a signal, if the process is still there. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
