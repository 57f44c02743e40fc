/** Whether a process stands still because a control group is frozen (docker pause, a Kubernetes checkpoint, systemctl freeze). */
import { SYSCALLS } from '../abi/internal.js';
import { groupsAround, groupsWith } from './groups.js';
import { architecture } from './machine.js';
import { readText } from './permission.js';

export interface Freezer {
  /** Of the control groups: of version 1, nothing but a thaw gets a thread going, not even for a debugger. */
  readonly version: 1 | 2;
  /** The group that is frozen, as a path among the groups. */
  readonly group: string;
  /** Its folder. */
  readonly folder: string;
}

/**
 * Finds the frozen group that a process is in; undefined for none, or when it cannot be seen.
 *
 * @param cgroup the text of /proc/PID/cgroup
 * @param mountinfo of /proc/self/mountinfo
 * @param read gives the text of a file, undefined where it cannot be read
 */
export function findFreezer(
  cgroup: string,
  mountinfo: string,
  read: (path: string) => string | undefined,
): Freezer | undefined {
  for (const { version, mount, path } of groupsWith('freezer', cgroup, mountinfo)) {
    const around = [...groupsAround(mount, path)];
    const innermost = around[0]!;
    if (version === 2) {
      // What is asked for, not what has come about: that takes until the last of its threads stands still.
      const found = around.find(({ folder }) => read(`${folder}/cgroup.freeze`) === '1');
      if (found !== undefined) return { version, ...found };
      // Frozen from outside of what can be seen here.
      if (/^frozen 1$/m.test(read(`${innermost.folder}/cgroup.events`) ?? ''))
        return { version, ...innermost };
    } else {
      const state = read(`${innermost.folder}/freezer.state`);
      if (state === undefined || state === 'THAWED') continue;
      const found = around.find(({ folder }) => read(`${folder}/freezer.self_freezing`) === '1');
      return { version, ...(found ?? innermost) };
    }
  }
  return undefined;
}

/** The same for the process of which `folder`, a path, is the /proc folder. */
export function freezerOf(folder: string): Freezer | undefined {
  const cgroup = readText(`${folder}/cgroup`);
  const mountinfo = readText('/proc/self/mountinfo');
  return cgroup === undefined || mountinfo === undefined
    ? undefined
    : findFreezer(cgroup, mountinfo, readText);
}

/** A sentence about it, with what to do. */
export function explainFreezer({ version, group, folder }: Freezer): string {
  const thaw = version === 2 ? `echo 0 > ${folder}/cgroup.freeze` : `echo THAWED > ${folder}/freezer.state`;
  return `it is frozen, with the control group ${group} (docker pause, a checkpoint, systemctl freeze): thaw that first (${thaw})`;
}

/** The thread's system call and state: what it waits for when it does not stop. */
export function explainWaiting(folder: string, tid: number): string {
  const freezer = freezerOf(folder);
  if (freezer !== undefined) return explainFreezer(freezer);
  const state = /^State:\s+(\S)/m.exec(readText(`${folder}/task/${tid}/status`) ?? '')?.[1];
  const call = Number.parseInt(readText(`${folder}/task/${tid}/syscall`) ?? '', 10);
  if (waitsForChild(call))
    return 'it waits for a child that it made by vfork, until that has begun its own program or ended; nothing was changed, try again then';
  if (state === 'D') return 'it waits for a disk, or a network file system; nothing was changed, try again';
  return 'it may wait for a disk, or get no time on a processor; nothing was changed, try again';
}

function waitsForChild(call: number): boolean {
  const name = architecture();
  if (name === undefined) return false;
  const { clone, clone3, vfork } = SYSCALLS[name];
  return call === clone || call === clone3 || call === vfork;
}
