/**
 * What a mapping is, by its line of /proc/PID/maps. Every such question of this package is answered here, and recognise.test.ts pins
 * each answer. What a line cannot tell for certain is called `mayBe…`; smaps tells it.
 */
import { HUGE_PAGE_SIZE } from '../abi/index.js';
import type { Mapping } from './maps.js';

/** What a mapping is for, by its name and permissions; in the order of display. */
export const MAPPING_KINDS = [
  'heap',
  'stack',
  'anonymous',
  'shared',
  'code',
  'file',
  'device',
  'kernel',
] as const;
export type MappingKind = (typeof MAPPING_KINDS)[number];

type Perms = Pick<Mapping, 'perms'>;

/** Whether writes to it reach others who map the same memory. */
export function isShared({ perms }: { readonly perms?: string | undefined }): boolean {
  return perms?.[3] === 's';
}

/** Whether writes to it stay in the process. */
export function isPrivate({ perms }: Perms): boolean {
  return perms[3] === 'p';
}

export function isReadable({ perms }: Perms): boolean {
  return perms[0] === 'r';
}

export function isExecutable({ perms }: Perms): boolean {
  return perms[2] === 'x';
}

/** Whether the process may write to it, now or after it has changed the protection of memory that is its own. */
export function mayBeWritten({ perms, inode }: Pick<Mapping, 'perms' | 'inode'>): boolean {
  return perms[1] === 'w' || (perms[3] === 'p' && inode === 0);
}

/** Whether it has a file, or an object that the kernel treats as one: shared memory and hugetlb memory have. */
export function hasFile({ inode }: Pick<Mapping, 'inode'>): boolean {
  return inode !== 0;
}

/** A private mapping of a file: pages that the process has not written are the file's. */
export function isPrivateFile({ perms, inode, name }: Pick<Mapping, 'perms' | 'inode' | 'name'>): boolean {
  return inode !== 0 && perms[3] === 'p' && name !== '/anon_hugepage';
}

/** Private memory without a file. A private mapping of /dev/zero is such. */
export function isPrivateAnonymous({
  perms,
  inode,
  name,
}: Pick<Mapping, 'perms' | 'inode' | 'name'>): boolean {
  if (perms[3] !== 'p') return false;
  if (inode !== 0) return name === '/dev/zero';
  return name === '' || name === '[heap]' || name === '[stack]' || name.startsWith('[anon:');
}

/** Made by the kernel (`[vdso]`, `[vvar]`): nothing in it is the program's. */
export function isKernelMade({ name }: Pick<Mapping, 'name'>): boolean {
  if (name[0] !== '[' || name === '[heap]' || name === '[stack]') return false;
  return !name.startsWith('[anon:') && !name.startsWith('[anon_shmem:');
}

/** Code and data that the kernel gives to every process, for calls that need not enter it. */
export function isVdso({ name }: Pick<Mapping, 'name'>): boolean {
  return name === '[vdso]' || isVvar({ name });
}

/** The data that belongs to `[vdso]`; it is no ordinary memory. */
export function isVvar({ name }: Pick<Mapping, 'name'>): boolean {
  return name.startsWith('[vvar');
}

/** Memory of a driver, or memory that the kernel writes without page faults. */
export function isDevice({ name }: Pick<Mapping, 'name'>): boolean {
  if (name.startsWith('/dev/')) return !/^\/dev\/(zero|shm\/|hugepages\/)/.test(name);
  return name.startsWith('anon_inode:') || name === '/[aio]';
}

/** What may be device memory: the kernel's own, drivers', and that of files which no file system with a device holds. */
export function mayBeDevice({ name, device, inode }: Pick<Mapping, 'name' | 'device' | 'inode'>): boolean {
  if (name[0] === '[') return name !== '[heap]' && name !== '[stack]' && !name.startsWith('[anon');
  return name.startsWith('/dev/') || name.startsWith('anon_inode:') || (inode !== 0 && device.major === 0);
}

/** What may be hugetlb memory: it has a file, and begins and ends at huge pages. */
export function mayBeHugetlb({ start, end, inode }: Pick<Mapping, 'start' | 'end' | 'inode'>): boolean {
  return inode !== 0 && start % HUGE_PAGE_SIZE === 0 && end % HUGE_PAGE_SIZE === 0;
}

/** Objects that the kernel makes or keeps in memory. A private mapping of one is as private as one of any file. */
const SHARED_MEMORY = /^\/(dev\/shm\/|memfd:|SYSV[0-9a-f]{8}|dev\/zero|dev\/hugepages\/|anon_hugepage)/;
/** What the kernel calls private memory that it keeps as a file. */
const PRIVATE_MEMORY: ReadonlySet<string> = new Set(['/dev/zero', '/anon_hugepage']);

/** What a mapping is for. `name` and `perms` as in /proc/PID/maps. */
export function mappingKind(name: string, perms: string): MappingKind {
  if (name === '[heap]') return 'heap';
  if (name.startsWith('[stack') || name.startsWith('[anon:stack')) return 'stack';
  if (name === '' || name.startsWith('[anon:')) return isShared({ perms }) ? 'shared' : 'anonymous';
  if (name.startsWith('[anon_shmem:')) return 'shared';
  if (name[0] === '[') return 'kernel';
  if (isPrivate({ perms }) && PRIVATE_MEMORY.has(name)) return 'anonymous';
  const isSharedMemory = SHARED_MEMORY.test(name);
  // Where it is not known what it permits (a mapping that appeared since), the name alone tells.
  if (isSharedMemory && !isPrivate({ perms })) return 'shared';
  if (!isSharedMemory && /^(\/dev\/|anon_inode:|socket:|\/\[aio\])/.test(name)) return 'device';
  if (isExecutable({ perms })) return 'code';
  return 'file';
}

/** The last part of a path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
