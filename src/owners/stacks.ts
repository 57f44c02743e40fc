/** Stacks of threads, what guards them, and thread-local storage. */
import type { Mapping } from '../proc/index.js';
import type { Claims } from './claims.js';
import { PIECE_WORDS, type ThreadEvidence } from './evidence.js';

/** Where glibc's thread descriptor on x86-64 holds its own address, once more, and the thread's number: words from its beginning. */
const SELF_WORD = 2;
const TID_WORD = 90;
const DESCRIPTOR_WORDS = TID_WORD + 1;
/** glibc puts descriptors at multiples of this, bytes. */
const DESCRIPTOR_ALIGNMENT = 64;
/** A descriptor lies that near to the end of its stack, bytes, at least so much of it that its thread's number is in it. */
const DESCRIPTOR_REACH = 8 << 10;
/** The main thread's descriptor lies in a mapping of its own, which is small. */
const LARGEST_TLS = 128 << 10;
/** A guard is small; what is larger is reserved for something else, bytes. */
const LARGEST_GUARD = 1 << 20;

/**
 * The threads whose glibc descriptors lie between two addresses. A descriptor holds its own address twice, and the number of a thread that
 * there is, in its place: no other memory does.
 */
function descriptors(
  claims: Claims,
  start: number,
  end: number,
  threads: ThreadsByOwnNumber,
): ThreadEvidence[] {
  const found: ThreadEvidence[] = [];
  for (let piece = start; piece < end; piece += PIECE_WORDS * 8) {
    const words = claims.evidence.read(piece, PIECE_WORDS);
    if (words === undefined) continue;
    for (let at = 0; at < PIECE_WORDS * 8; at += DESCRIPTOR_ALIGNMENT) {
      const address = piece + at;
      if (words.at(at / 8) !== address) continue;
      if (at / 8 + SELF_WORD < words.length && words.at(at / 8 + SELF_WORD) !== address) continue;
      const whole = claims.evidence.read(address, DESCRIPTOR_WORDS);
      const thread = whole?.at(SELF_WORD) === address ? threads.get(whole.low(TID_WORD)) : undefined;
      if (thread !== undefined) found.push(thread);
    }
  }
  return found;
}

type ThreadsByOwnNumber = ReadonlyMap<number, ThreadEvidence>;

function threadsByOwnNumber(claims: Claims): ThreadsByOwnNumber {
  return new Map(claims.evidence.threads.map((thread) => [thread.ownTid ?? thread.tid, thread]));
}

function stackName({ name, tid }: ThreadEvidence): string {
  // Of a thread that has ended since, or in an old snapshot, it is not known.
  return name === '' ? `[stack: ${tid}]` : `[stack: ${name} ${tid}]`;
}

/** Whether a mapping can be a thread's stack: writable, with a guard below. */
function isGuarded(claims: Claims, index: number): boolean {
  const guard = claims.guardBelow(index);
  return guard !== undefined && guard.end - guard.start <= LARGEST_GUARD;
}

/** What threads use of their stacks, at most, as a rule, bytes. */
const MOST_USED = 8 << 20;

/**
 * Whether a stack can be most of a mapping, by its pointer. It is used from its end on. The kernel makes one mapping of neighbours of
 * one kind: a program's data and, below it, the stack of the thread that was started next. Such a mapping is no stack.
 */
function isMostly({ start, end }: Mapping, pointer: number): boolean {
  return end - pointer <= Math.max(MOST_USED, (end - start) / 2);
}

/** By the stack pointer of a thread that waits. */
function byPointer(claims: Claims, isWanted: (index: number) => boolean, sure: boolean): void {
  for (const thread of claims.evidence.threads) {
    const index = thread.stackPointer === undefined ? -1 : claims.indexAt(thread.stackPointer);
    if (index < 0 || !claims.isFree(index)) continue;
    const mapping = claims.mappings[index]!;
    if (mapping.name !== '' || !mapping.perms.startsWith('rw')) continue;
    if (!isMostly(mapping, thread.stackPointer!)) continue;
    if (isWanted(index)) claims.claim(index, 'stack', stackName(thread), sure);
  }
}

/** By the descriptor that glibc keeps at the upper end of a thread's stack: of threads that run, too. */
function byDescriptor(claims: Claims): void {
  const threads = threadsByOwnNumber(claims);
  for (const index of claims.unsureWritable()) {
    if (!isGuarded(claims, index)) continue;
    const { start, end } = claims.mappings[index]!;
    const [thread] = descriptors(claims, Math.max(start, end - DESCRIPTOR_REACH), end, threads);
    if (thread !== undefined) claims.claim(index, 'stack', stackName(thread));
  }
}

/** `[tls]`: what glibc keeps for the main thread, and the variables that it has of its own. */
export function recogniseThreadLocal(claims: Claims): void {
  const threads = threadsByOwnNumber(claims);
  for (const index of claims.unsureWritable()) {
    const { start, end } = claims.mappings[index]!;
    if (end - start > LARGEST_TLS) continue;
    if (descriptors(claims, start, end, threads).some(({ tid }) => tid === claims.evidence.pid)) {
      claims.claim(index, 'tls', '[tls]');
      return;
    }
  }
}

function claimGuards(claims: Claims): void {
  claims.owners.forEach((owner, index) => {
    if (owner?.kind !== 'stack' || !isGuarded(claims, index)) return;
    claims.claim(index - 1, 'stack-guard', '[stack guard]', owner.sure);
  });
}

/** Stacks of the threads that there are, and their guards. */
export function recogniseStacks(claims: Claims): void {
  const main = claims.evidence.threads.find(({ tid }) => tid === claims.evidence.pid);
  claims.mappings.forEach(({ name }, index) => {
    if (name === '[stack]') claims.claim(index, 'stack', main === undefined ? name : stackName(main));
  });
  byPointer(claims, (index) => isGuarded(claims, index), true);
  byDescriptor(claims);
  claimGuards(claims);
}

/**
 * Stacks without a guard. The pointer tells only that there is a stack somewhere in the mapping: a program may have asked malloc for it. So
 * what is found in the memory itself says more.
 */
export function recogniseUnguardedStacks(claims: Claims): void {
  byPointer(claims, () => true, false);
}

/** Stacks that no thread has now: libraries keep them for the next. They have a guard, and the size of one that is in use. */
export function recogniseIdleStacks(claims: Claims): void {
  const bytes = ({ start, end }: Mapping) => end - start;
  const sizes = new Set<number>();
  claims.owners.forEach((owner, index) => {
    if (owner?.kind === 'stack' && owner.sure) sizes.add(bytes(claims.mappings[index]!));
  });
  for (const index of claims.freeWritable()) {
    if (!isGuarded(claims, index) || !sizes.has(bytes(claims.mappings[index]!))) continue;
    claims.claim(index, 'stack', '[stack: no thread]', false);
    claims.claim(index - 1, 'stack-guard', '[stack guard]', false);
  }
}
