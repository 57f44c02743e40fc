/** The programs and libraries that elfutils finds in a core file, each by where it begins and its build-id. */
import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);

async function list(...of: string[]): Promise<string[]> {
  const { stdout } = await run('eu-unstrip', ['-n', ...of], { maxBuffer: 2 ** 26 });
  return [...stdout.matchAll(/^0x([0-9a-f]+)\+0x[0-9a-f]+ ([0-9a-f]{8,})@/gm)]
    .map(([, start, id]) => `${start} ${id}`)
    .sort();
}

export const modulesIn = (core: string): Promise<string[]> => list('--core', core);

/** Those of the process itself. */
export const modulesOf = (pid: number): Promise<string[]> => list('-p', String(pid));

/** Those in the core file that gdb writes of a process, at `path` for a while. */
export async function modulesByGdb(pid: number, path: string): Promise<string[]> {
  try {
    await run('gcore', ['-o', path, String(pid)], { maxBuffer: 2 ** 26 });
    return await modulesIn(`${path}.${pid}`);
  } finally {
    rmSync(`${path}.${pid}`, { force: true });
  }
}
