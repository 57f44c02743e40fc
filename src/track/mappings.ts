/** Which mappings are for tracking. */
import type { Mapping } from '../proc/index.js';

const SPECIAL = new Set(['[heap]', '[stack]']);

/** The kernel's own mappings: nothing in them is the program's. */
export function isSpecial(name: string): boolean {
  return (
    name[0] === '[' && !SPECIAL.has(name) && !name.startsWith('[anon:') && !name.startsWith('[anon_shmem:')
  );
}

/** Memory that is not made of ordinary pages, or that the kernel writes without faults. */
export function isDevice({ name }: Mapping): boolean {
  if (name.startsWith('/dev/')) return !/^\/dev\/(zero|shm\/|hugepages\/)/.test(name);
  return name.startsWith('anon_inode:') || name === '/[aio]';
}

/** Whether a mapping may be written, now or after a change of its protection. */
export function isWritable({ perms, inode }: Mapping): boolean {
  return perms[1] === 'w' || (perms[3] === 'p' && inode === 0);
}
