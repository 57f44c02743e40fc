/** A control group of memory with a limit, of whichever version there is: the OOM killer ends what grows past it. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { removeGroup } from './groups.js';

/** Where groups of memory are, and their version. */
function findGroups(): { folder: string; version: 1 | 2 } | undefined {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const folderOf = (pattern: RegExp) => lines.find((line) => pattern.test(line))?.split(' ')[4];
  const second = folderOf(/ - cgroup2 /);
  if (second !== undefined && readFileSync(join(second, 'cgroup.subtree_control'), 'utf8').includes('memory'))
    return { folder: second, version: 2 };
  const first = folderOf(/ - cgroup \S+ (\S+,)?memory(,|$)/);
  return first === undefined ? undefined : { folder: first, version: 1 };
}

let count = 0;

export class MemoryGroup implements AsyncDisposable {
  readonly #folder: string;

  /** @param limitBytes of memory; there is no swap besides */
  constructor(limitBytes: number) {
    const groups = findGroups();
    if (groups === undefined) throw new Error('Cannot make a control group: none of memory are mounted');
    this.#folder = join(groups.folder, `pagemap-scan-memory-${process.pid}-${count++}`);
    mkdirSync(this.#folder);
    const set = (file: string, value: number) => {
      if (existsSync(join(this.#folder, file))) writeFileSync(join(this.#folder, file), String(value));
    };
    if (groups.version === 2) {
      set('memory.max', limitBytes);
      set('memory.swap.max', 0);
    } else {
      set('memory.limit_in_bytes', limitBytes);
      set('memory.memsw.limit_in_bytes', limitBytes);
    }
  }

  add(pid: number): void {
    writeFileSync(join(this.#folder, 'cgroup.procs'), String(pid));
  }

  /** Of what has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await removeGroup(this.#folder);
  }

  static missing(): string | undefined {
    try {
      rmdirSync(new MemoryGroup(1 << 30).#folder);
      return undefined;
    } catch (error) {
      return `control groups of memory cannot be made: ${String(error)}`;
    }
  }
}
