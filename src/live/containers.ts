/** Containers, as far as control groups tell of them: engines call a container's group by its id. */
import { readFileSync } from 'node:fs';
import { parseStatus } from '../proc/index.js';
import { namedProcesses, type ProcessMatch } from './process.js';

/** Engines show 12 digits of an id, of 64; fewer are as likely a name. */
const SHOWN = /^[0-9a-f]{12,64}$/;
/** `docker/ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID.scope/container`. */
const IN_PATH = /(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g;

export function isContainerId(text: string): boolean {
  return SHOWN.test(text);
}

/** The id of the container that a process is in, by its /proc/PID/cgroup: of one within another, the inner one's. */
export function containerOf(cgroup: string): string | undefined {
  for (const line of cgroup.split('\n')) {
    const id = line.match(IN_PATH)?.at(-1);
    if (id !== undefined) return id;
  }
  return undefined;
}

interface Member extends ProcessMatch {
  readonly ppid: number;
  /** Its number in its own PID namespace. */
  readonly ownPid: number | undefined;
}

function memberOf(id: string, process: ProcessMatch): Member | undefined {
  try {
    const container = containerOf(readFileSync(`/proc/${process.pid}/cgroup`, 'utf8'));
    if (container?.startsWith(id) !== true) return undefined;
    const { ppid, nspid } = parseStatus(readFileSync(`/proc/${process.pid}/status`));
    return { ...process, ppid, ownPid: nspid?.at(-1) };
  } catch {
    // Ended meanwhile, or hidden from us.
    return undefined;
  }
}

/**
 * The first processes of the containers whose id begins so; processes that they started are left out. In a PID
 * namespace of its own, a container's first process is number 1. In a pod that shares a namespace, it is a process
 * whose parent is not in the container.
 */
export function findContainerProcesses(id: string): ProcessMatch[] {
  const members = namedProcesses().flatMap((process) => memberOf(id, process) ?? []);
  const first = members.filter(({ ownPid }) => ownPid === 1);
  const numbers = new Set(members.map(({ pid }) => pid));
  const roots = first.length > 0 ? first : members.filter(({ ppid }) => !numbers.has(ppid));
  return roots.map(({ pid, name, commandLine }) => ({ pid, name, commandLine }));
}
