/** Where control groups are (man cgroups(7)), and what one of memory holds. */
import { readText } from './permission.js';

export interface Mount {
  readonly root: string;
  readonly folder: string;
}

function findMount(
  mountinfo: string,
  isWanted: (kind: string, options: string) => boolean,
): Mount | undefined {
  for (const line of mountinfo.split('\n')) {
    const fields = line.split(' ');
    const dash = fields.indexOf('-');
    if (dash < 0 || !isWanted(fields[dash + 1]!, fields[dash + 3] ?? '')) continue;
    return { root: fields[3]!, folder: fields[4]! };
  }
  return undefined;
}

/** The groups of a process that a controller counts for, where they can be seen: of version 2 all, of version 1 those with it. */
export function* groupsWith(
  controller: string,
  cgroup: string,
  mountinfo: string,
): Generator<{ version: 1 | 2; mount: Mount; path: string }> {
  for (const line of cgroup.split('\n')) {
    const [, hierarchy, controllers, path] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    const version = hierarchy === '0' ? 2 : 1;
    if (path === undefined || !(version === 2 || controllers!.split(',').includes(controller))) continue;
    const mount = findMount(mountinfo, (kind, options) =>
      version === 2 ? kind === 'cgroup2' : kind === 'cgroup' && options.split(',').includes(controller),
    );
    if (mount !== undefined) yield { version, mount, path };
  }
}

/** A group and those around it, from the inside outward, and their folders. */
export function* groupsAround(
  { root, folder }: Mount,
  path: string,
): Generator<{ group: string; folder: string }> {
  const base = root === '/' ? '' : root;
  const isBelow = path === base || path.startsWith(`${base}/`);
  for (let at = isBelow ? path.slice(base.length) : path; ; at = at.slice(0, at.lastIndexOf('/'))) {
    if (at === '/') at = '';
    yield { group: `${base}${at}` || '/', folder: `${folder}${at}` };
    if (at === '') return;
  }
}

/** How much memory the control groups of a process hold. */
export interface GroupMemory {
  /** Of the innermost group, bytes: without files that were not used lately, which the kernel drops before anything else. */
  readonly bytes: number;
  /** Of that one's limit or an outer one's, whichever is nearer, 0 to 1; undefined where there is no limit. */
  readonly share: number | undefined;
}

/** What stands in the file of a limit where there is none: version 1 has the largest number of whole pages. */
const NO_LIMIT = 2 ** 62;

interface MemoryFiles {
  readonly usage: string;
  readonly limit: string;
  readonly unused: RegExp;
}

const VERSION_1: MemoryFiles = {
  usage: 'memory.usage_in_bytes',
  limit: 'memory.limit_in_bytes',
  unused: /^total_inactive_file (\d+)$/m,
};
const VERSION_2: MemoryFiles = {
  usage: 'memory.current',
  limit: 'memory.max',
  unused: /^inactive_file (\d+)$/m,
};

/**
 * Finds out how much memory the groups of a process hold; undefined where that cannot be seen.
 *
 * @param cgroup the text of /proc/PID/cgroup
 * @param mountinfo of /proc/self/mountinfo
 * @param read gives the text of a file, undefined where it cannot be read
 */
export function findGroupMemory(
  cgroup: string,
  mountinfo: string,
  read: (path: string) => string | undefined,
): GroupMemory | undefined {
  for (const { version, mount, path } of groupsWith('memory', cgroup, mountinfo)) {
    const found = memoryAround(mount, path, version === 2 ? VERSION_2 : VERSION_1, read);
    if (found !== undefined) return found;
  }
  return undefined;
}

function memoryAround(
  mount: Mount,
  path: string,
  files: MemoryFiles,
  read: (path: string) => string | undefined,
): GroupMemory | undefined {
  let innermost: number | undefined;
  let share: number | undefined;
  for (const { folder } of groupsAround(mount, path)) {
    // The outermost group of version 2 has no such file.
    const usage = read(`${folder}/${files.usage}`);
    if (usage === undefined) continue;
    const unused = Number(files.unused.exec(read(`${folder}/memory.stat`) ?? '')?.[1] ?? 0);
    const bytes = Math.max(0, Number(usage) - unused);
    innermost ??= bytes;
    const limit = Number(read(`${folder}/${files.limit}`));
    if (limit > 0 && limit < NO_LIMIT) share = Math.max(share ?? 0, bytes / limit);
  }
  return innermost === undefined ? undefined : { bytes: innermost, share };
}

/** Finds out the same for a process, by the path of its /proc folder. */
export function groupMemoryOf(folder: string): GroupMemory | undefined {
  const cgroup = readText(`${folder}/cgroup`);
  const mountinfo = readText('/proc/self/mountinfo');
  return cgroup === undefined || mountinfo === undefined
    ? undefined
    : findGroupMemory(cgroup, mountinfo, readText);
}
