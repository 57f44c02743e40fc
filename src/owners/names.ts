/** Owners that the kernel's own name tells. */
import type { Mapping } from '../proc/index.js';
import { baseName, isExecutable, isShared, mappingKind } from '../proc/internal.js';
import type { Claims } from './claims.js';
import type { OwnerKind } from './owner.js';

/** Names that runtimes give their memory by PR_SET_VMA_ANON_NAME, by how they begin. */
const GIVEN: readonly (readonly [start: string, kind: OwnerKind])[] = [
  ['[anon: glibc: pthread stack', 'stack'],
  ['[anon: glibc: pthread user stack', 'stack'],
  ['[anon: glibc: malloc', 'malloc'],
  ['[anon: glibc: loader malloc', 'loader'],
  ['[anon: Go: heap', 'go-heap'],
  ['[anon: Go:', 'go-runtime'],
  ['[anon:partition_alloc', 'partition-alloc'],
  ['[anon:v8', 'v8-heap'],
  ['[anon:cppgc', 'oilpan'],
];

const SYSTEM_V = /^\/SYSV([0-9a-f]{8})$/;

/** Whether a path looks like a library's: `libc.so.6`, `_json.cpython-311-x86_64-linux-gnu.so`. */
const LIBRARY = /\.so(\.[0-9.]+)?$/;

/** What memory is that the kernel has a name for. */
function namedOwner(
  { name, perms }: Mapping,
  isProgram: boolean,
  hasCode: boolean,
): readonly [OwnerKind, string] {
  if (name.startsWith('[anon:'))
    return [GIVEN.find(([start]) => name.startsWith(start))?.[1] ?? 'named', name];
  const key = SYSTEM_V.exec(name)?.[1];
  if (key !== undefined) return ['shared', `[shm: key 0x${key}]`];
  if (name.startsWith('/memfd:') && isShared({ perms }))
    return ['shared', `[memfd: ${name.slice('/memfd:'.length)}]`];
  if (name === '/dev/zero') return ['shared', '[shared anonymous]'];
  if (name === '/[aio]') return ['io', '[aio]'];
  if (name === 'anon_inode:[io_uring]') return ['io', '[io_uring]'];
  const kind = mappingKind(name, perms);
  if (kind === 'shared' || kind === 'device' || kind === 'kernel') return [kind, name];
  if (isProgram) return ['program', name];
  return [hasCode || LIBRARY.test(baseName(name)) ? 'library' : 'file', name];
}

/** What the kernel has a name for. */
export function recogniseNames(claims: Claims): void {
  const { program } = claims.evidence;
  const code = new Set(
    claims.mappings
      .filter((mapping) => mapping.name[0] === '/' && isExecutable(mapping))
      .map(({ name }) => name),
  );
  claims.mappings.forEach((mapping, index) => {
    const { name, perms } = mapping;
    if (name === '' || name === '[heap]' || name === '[stack]') return;
    // Kept as a file, and nobody's (`/dev/zero`, `/anon_hugepage`): the kernel does not say whose it is.
    if (name[0] === '/' && mappingKind(name, perms) === 'anonymous') return;
    const [kind, called] = namedOwner(mapping, name === program, code.has(name));
    claims.claim(index, kind, called);
  });
}

/** The heap that `brk` makes: malloc's main arena, where the first thing in it is what glibc puts there. */
export function recogniseBrk(claims: Claims): void {
  claims.mappings.forEach(({ name }, index) => {
    if (name !== '[heap]') return;
    const head = claims.head(index);
    // The header of glibc's first block, which holds the thread's cache: 0x290 bytes since 2.30, 0x250 before, and 1 for "in use".
    const isMain = head?.at(0) === 0 && (head.at(1) === 0x291 || head.at(1) === 0x251);
    claims.claim(index, isMain ? 'malloc' : 'heap', name);
  });
}

/** What is left and cannot be accessed. */
export function recogniseReserved(claims: Claims): void {
  for (const index of claims.free()) {
    if (claims.mappings[index]!.perms === '---p') claims.claim(index, 'reserved', '[reserved]');
  }
}
