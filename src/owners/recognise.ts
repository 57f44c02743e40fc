/**
 * The recognisers, in the order in which they are asked. Each says what it is sure of, or what is likely. Nothing likely replaces
 * anything, and what is sure replaces what was likely; so those come first whose evidence is strongest. Those that can be
 * sure go over `Claims.unsure`, the others over `Claims.free`.
 */
import { recogniseAllocators, recogniseOilpan, recognisePartitionAlloc } from './allocators.js';
import { Claims } from './claims.js';
import { recogniseBss, recogniseBssByPlace, recogniseLoader } from './elf.js';
import type { Evidence } from './evidence.js';
import { recogniseArenas, recogniseLargeBlocks } from './malloc.js';
import { recogniseBrk, recogniseNames, recogniseReserved } from './names.js';
import type { Owner } from './owner.js';
import { recognisePython } from './python.js';
import { recogniseGo, recogniseGoRuntime, recogniseJava, recogniseJavaRest } from './runtimes.js';
import {
  recogniseIdleStacks,
  recogniseStacks,
  recogniseThreadLocal,
  recogniseUnguardedStacks,
} from './stacks.js';
import { recogniseV8 } from './v8.js';

/** A recogniser: what it is called, and its work. docs/reference/owners.md says what each looks at, and how sure it is. */
export interface Recogniser {
  readonly name: string;
  readonly run: (claims: Claims) => void;
}

export const RECOGNISERS: readonly Recogniser[] = [
  { name: 'names', run: recogniseNames },
  { name: 'brk', run: recogniseBrk },
  { name: 'bss', run: recogniseBss },
  { name: 'go', run: recogniseGo },
  { name: 'arenas', run: recogniseArenas },
  { name: 'stacks', run: recogniseStacks },
  { name: 'v8', run: recogniseV8 },
  { name: 'large blocks', run: recogniseLargeBlocks },
  { name: 'python', run: recognisePython },
  { name: 'tls', run: recogniseThreadLocal },
  { name: 'unguarded stacks', run: recogniseUnguardedStacks },
  { name: 'loader', run: recogniseLoader },
  { name: 'java', run: recogniseJava },
  { name: 'partition alloc', run: recognisePartitionAlloc },
  { name: 'oilpan', run: recogniseOilpan },
  { name: 'idle stacks', run: recogniseIdleStacks },
  { name: 'go runtime', run: recogniseGoRuntime },
  { name: 'java rest', run: recogniseJavaRest },
  { name: 'bss by place', run: recogniseBssByPlace },
  { name: 'allocators', run: recogniseAllocators },
  { name: 'reserved', run: recogniseReserved },
];

/** The owner of each mapping, in their order; undefined where nothing is known. */
export function recogniseOwners(evidence: Evidence): readonly (Owner | undefined)[] {
  const claims = new Claims(evidence);
  for (const { run } of RECOGNISERS) run(claims);
  return claims.owners;
}
