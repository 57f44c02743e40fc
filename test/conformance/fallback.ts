/** The fallback for kernels without PAGEMAP_SCAN as platforms: memory of this process. */
import { readFileSync } from 'node:fs';
import { PAGE_IS_WRITTEN } from '../../src/abi/index.js';
import { fallbackKnowledge, type Knowledge } from '../../src/live/fallback/knowledge.js';
import { FallbackPagemap, ProcessHandle } from '../../src/live/index.js';
import { userSpaceEnd } from '../../src/live/libc.js';
import { LiveWorld, sharedHugeProblem } from './live.js';
import { isHugetlb, type MemoryKind, type Platform } from './platform.js';

const open = () => new FallbackPagemap(new ProcessHandle(process.pid));

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Why a kind of memory cannot be had here. */
function lacking(): (kind: MemoryKind) => string | undefined {
  const noSharedHuge = sharedHugeProblem();
  const free = Number(/HugePages_Free:\s+(\d+)/.exec(read('/proc/meminfo'))?.[1] ?? 0);
  const thp = read('/sys/kernel/mm/transparent_hugepage/enabled');
  return (kind) => {
    if (kind === 'hugetlb, shared memory' && noSharedHuge !== undefined) return noSharedHuge;
    if (isHugetlb(kind) && free < 4) return `${free} free 2 MiB pages`;
    if (kind === 'transparent huge' && !/\[(madvise|always)\]/.test(thp)) return 'no transparent huge pages';
    return undefined;
  };
}

/** What can be known here, or why nothing can. */
function knowledge(): Knowledge | string {
  if (process.platform !== 'linux') return 'this is no Linux';
  try {
    return fallbackKnowledge();
  } catch (error) {
    // No /proc/PID/pagemap, as in some sandboxes.
    return (error as Error).message;
  }
}

/** What /proc tells of a process that nobody tracks. */
export function fallbackPlatform(): Platform | string {
  const known = knowledge();
  if (typeof known === 'string') return known;
  return {
    name: 'fallback',
    userSpaceEnd: userSpaceEnd(),
    categories: known.categories & ~PAGE_IS_WRITTEN,
    cannotTrack: 'nobody tracks it',
    cannotTrackAccesses: 'it takes PAGEMAP_SCAN',
    lacks: lacking(),
    create: () => new LiveWorld(open(), undefined),
  };
}

/** The same with write tracking by soft-dirty bits; the memory is written by this thread alone, so nobody has to be stopped. */
export function softDirtyPlatform(): Platform | string {
  const known = knowledge();
  if (typeof known === 'string') return known;
  if (!known.softDirty) return 'this kernel keeps no soft-dirty bits';
  return {
    name: 'fallback, soft-dirty',
    userSpaceEnd: userSpaceEnd(),
    lacks: lacking(),
    untracked: ['shared memory file', 'hugetlb, anonymous', 'hugetlb, memory file', 'hugetlb, shared memory'],
    tracksUnregistered: true,
    cannotTrackAccesses: 'it takes PAGEMAP_SCAN',
    // The kernel clears the bits of the whole address space for each scan that protects: 5,000 of them in a hundred rounds.
    rounds: 20,
    create: () => {
      const pagemap = open();
      pagemap.trackWrites((work) => work());
      return new LiveWorld(pagemap, undefined);
    },
  };
}
