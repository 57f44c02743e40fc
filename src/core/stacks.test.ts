import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../abi/index.js';
import { arm64 } from './arch-arm64.js';
import { x64 } from './arch-x64.js';
import { NO_TRAITS } from './filter.js';
import type { Planned } from './plan.js';
import { planParts, stackRanges } from './stacks.js';

const at = (page: number) => page * PAGE_SIZE;
const MIB = (1 << 20) / PAGE_SIZE;

function planned(
  start: number,
  end: number,
  more: { name?: string; perms?: string } & Partial<Planned> = {},
): Planned {
  const { name = '', perms = 'rw-p', ...rest } = more;
  const mapping = { start: at(start), end: at(end), perms, offset: 0, inode: 0, name, deleted: false };
  return {
    mapping: { ...mapping, device: { major: 0, minor: 0 } },
    traits: NO_TRAITS,
    known: true,
    share: 'none',
    ...rest,
  };
}

const inPages = (ranges: readonly number[]) => ranges.map((bound) => bound / PAGE_SIZE);

describe('stackRanges', () => {
  const ranges = (plan: readonly Planned[], ...pointers: number[]) =>
    inPages(
      stackRanges(
        plan,
        pointers.map((stack) => ({ stack, thread: 0 })),
        x64,
      ),
    );

  test('from the stack pointer to the end of its mapping, with the red zone', () => {
    expect(ranges([planned(10, 30, { name: '[stack]' })], at(20) + 64)).toEqual([19, 30]);
    expect(ranges([planned(10, 30, { name: '[stack]' })], at(20) + 200)).toEqual([20, 30]);
    expect(ranges([planned(10, 30)], at(10))).toEqual([10, 30]);
  });

  test('8 MiB of a stack, 256 KiB of what is no stack alone', () => {
    const pointer = at(1000) + 200;
    const large = planned(1000, 1000 + 64 * MIB);
    const guard = planned(900, 1000, { perms: '---p' });
    expect(ranges([guard, large], pointer)).toEqual([1000, 1000 + 8 * MIB + 1]);
    expect(ranges([large], pointer)).toEqual([1000, 1000 + 64 + 1]);
  });

  test('up to the thread’s own variables, when these are at the beginning of its stack', () => {
    const joined = planned(1000, 1000 + 64 * MIB);
    const range = (thread: number, arch = x64) =>
      inPages(stackRanges([joined], [{ stack: at(1010) + 200, thread }], arch));
    expect(range(at(1020) + 1024)).toEqual([1010, 1021]);
    expect(range(at(1000 + 60 * MIB))).toEqual([1010, 1010 + 65]);
    expect(range(at(1005))).toEqual([1010, 1010 + 65]);
    // What is of a thread ends with the stack's last page, though the pointer is near its end: behind it is other memory.
    expect(range(at(1021) - 0x720, arm64)).toEqual([1010, 1021]);
  });

  test('what points to nothing, or to what cannot be read, is left out; stacks in one mapping are joined', () => {
    expect(ranges([planned(10, 20, { perms: '---p' })], at(15), at(500), 0)).toEqual([]);
    expect(ranges([planned(10, 30)], at(12), at(20))).toEqual([11, 30]);
  });
});

describe('planParts', () => {
  test('only what holds parts becomes one, and keeps its header', () => {
    const plan = [planned(0, 10), planned(20, 30), planned(40, 50)];
    const made = planParts(plan, [at(5) + 8, at(5) + 16, at(48), at(60)], (start) => start === at(0));
    expect(made.plan.map(({ share }) => share)).toEqual(['parts', 'none', 'parts']);
    expect(made.parts.map(({ start, end }) => inPages([start, end]))).toEqual([
      [0, 1],
      [5, 6],
      [48, 50],
    ]);
    expect(made.parts.map((part) => made.plan.includes(part.planned))).toEqual([true, true, true]);
  });

  test('secrets, device memory and what is to be zero are no parts', () => {
    const plan = [
      planned(0, 10, { traits: { ...NO_TRAITS, dontDump: true } }),
      planned(10, 20, { traits: { ...NO_TRAITS, io: true } }),
      planned(20, 30, { share: 'zeros' }),
      planned(30, 40, { name: '[vdso]', share: 'all' }),
    ];
    const made = planParts(plan, [0, at(40)], () => false);
    expect([made.parts, made.plan]).toEqual([[], plan]);
  });
});
