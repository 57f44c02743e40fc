/** A control group of version 2 that can be frozen: what docker pause and checkpoints use. */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { removeGroup } from './groups.js';

/** Where the groups of version 2 are; undefined where there are none. */
function findGroups(): string | undefined {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.find((line) => line.includes(' - cgroup2 '))?.split(' ')[4];
}

let count = 0;

export class FreezableGroup implements AsyncDisposable {
  readonly folder: string;
  readonly name: string;

  constructor(name = `pagemap-scan-${process.pid}-${count++}`) {
    const groups = findGroups();
    if (groups === undefined) throw new Error('Cannot make a control group: none of version 2 are mounted');
    this.name = name;
    this.folder = join(groups, this.name);
    mkdirSync(this.folder);
  }

  add(pid: number): void {
    writeFileSync(join(this.folder, 'cgroup.procs'), String(pid));
  }

  freeze(on = true): void {
    writeFileSync(join(this.folder, 'cgroup.freeze'), on ? '1' : '0');
  }

  /** Until all in it stand still. */
  async isFrozen(): Promise<void> {
    while (!/^frozen 1$/m.test(readFileSync(join(this.folder, 'cgroup.events'), 'utf8'))) await sleep(1);
  }

  /** Of what has ended; thaws it before. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.freeze(false);
    await removeGroup(this.folder);
  }

  static missing(): string | undefined {
    try {
      const { folder } = new FreezableGroup();
      rmdirSync(folder);
      return undefined;
    } catch (error) {
      return `control groups of version 2 cannot be made: ${String(error)}`;
    }
  }
}
