import { expect, test } from 'vitest';
import { NT_ARM_SVE, NT_ARM_TLS, NT_PRFPREG, NT_PRSTATUS } from '../elf/index.js';
import type { StoppedProcess } from '../live/internal.js';
import { arm64 } from './arch-arm64.js';
import { x64 } from './arch-x64.js';
import { makeScratch, pointersOf, takeThreads } from './threads.js';

const STACK = 0xffffe0ed2fc0n;
const THREAD = 0xffff8aadb720n;

/** A thread without SME, as ptrace shows it: vectors take the room of the largest, and are 544 bytes long. */
function stopped(): StoppedProcess {
  const sets = new Map<number, Uint8Array>();
  const general = new BigUint64Array(34);
  general[31] = STACK;
  sets.set(NT_PRSTATUS, new Uint8Array(general.buffer));
  sets.set(NT_PRFPREG, new Uint8Array(528));
  sets.set(NT_ARM_TLS, new Uint8Array(BigUint64Array.of(THREAD).buffer));
  const vectors = new Uint8Array(8768);
  new DataView(vectors.buffer).setUint32(0, 544, true);
  sets.set(NT_ARM_SVE, vectors);
  const process = {
    tids: [7],
    pid: 7,
    signalMask: () => 0n,
    regset(_tid: number, type: number, into: Uint8Array) {
      const content = sets.get(type)?.subarray(0, into.length);
      if (content !== undefined) into.set(content);
      return content?.length;
    },
  };
  return process as unknown as StoppedProcess;
}

test('sets are in the order of core files, those that a machine lacks are left out, and vectors are as long as they are', () => {
  const [thread] = takeThreads(stopped(), arm64, makeScratch(arm64), false);
  expect(thread!.registers.length).toBe(272);
  expect(thread!.registerSets.map(({ type, content }) => [type, content.length])).toEqual([
    [NT_PRFPREG, 528],
    [NT_ARM_TLS, 8],
    [NT_ARM_SVE, 544],
  ]);
});

test('the thread pointer is that of its own set, the stack pointer a general register', () => {
  const [thread] = takeThreads(stopped(), arm64, makeScratch(arm64), false);
  expect(pointersOf(arm64, thread!)).toEqual({ stack: Number(STACK), thread: Number(THREAD) });
  expect(pointersOf(arm64, { ...thread!, registerSets: [] })).toEqual({ stack: Number(STACK), thread: 0 });
});

test('of x86-64, both are general registers', () => {
  const general = BigUint64Array.from({ length: 27 }, (_, index) => BigInt(index) << 12n);
  const registers = new Uint8Array(general.buffer);
  expect(pointersOf(x64, { registers, registerSets: [] })).toEqual({ stack: 19 << 12, thread: 21 << 12 });
});
