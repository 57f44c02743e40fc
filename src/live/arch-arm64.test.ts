import { describe, expect, test } from 'vitest';
import { arm64 } from './arch-arm64.js';
import { parseCall } from './calls.js';

const [SP, PC, PSTATE] = [31, 32, 33];
const u64 = (value: bigint) => BigInt.asUintN(64, value);
const registers = () => BigUint64Array.from({ length: 34 }, (_, index) => BigInt(index) * 1000n);

/** As /proc/TID/syscall says it: epoll_pwait on descriptor 9. */
const WAITING = '22 0x9 0xffffd000 0x40 0x64 0x0 0x8 0xffffcff0 0xffff8010';
const EPOLL_PWAIT = 22n;

/** A thread that a stop has thrown out of that call. */
function ended(): BigUint64Array {
  const found = new BigUint64Array(34);
  found.set([u64(-4n), 0xffffd000n, 0x40n, 0x64n, 0n, 8n]);
  found[8] = EPOLL_PWAIT;
  found[SP] = 0xffffcff0n;
  found[PC] = 0xffff8010n;
  return found;
}

const restart = (found: BigUint64Array, text: string | undefined) =>
  arm64.restartIfEndedByStop(found, { confirmed: text === undefined ? undefined : parseCall(text) });

test('a system call is prepared, and nothing else is touched', () => {
  const changed = registers();
  changed[PSTATE] = 0x60000c00n;
  arm64.prepareSyscall(changed, 0x7000, 282, [1, 2]);
  expect([0, 1, 2, 3, 4, 5].map((index) => changed[index])).toEqual([1n, 2n, 0n, 0n, 0n, 0n]);
  expect([changed[8], changed[PC]]).toEqual([282n, 0x7000n]);
  // The condition flags stay; the kind of the last branch goes.
  expect(changed[PSTATE]).toBe(0x60000000n);
  for (const index of [6, 7, ...Array.from({ length: 23 }, (_, at) => at + 9)])
    expect(changed[index]).toBe(BigInt(index) * 1000n);
});

test('results are signed', () => {
  const changed = registers();
  changed[0] = u64(-22n);
  expect(arm64.syscallResult(changed)).toBe(-22);
});

test('instructions are found where instructions are, code of 32 bits is told', () => {
  expect(arm64.findSyscallInstruction(Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0xd4))).toBe(4);
  expect(arm64.findSyscallInstruction(Uint8Array.of(0, 0, 1, 0, 0, 0xd4, 0, 0))).toBe(-1);
  expect(arm64.findSyscallInstruction(Uint8Array.of(1, 0, 0))).toBe(-1);
  const changed = registers();
  changed[PSTATE] = 0x60000000n;
  expect(arm64.isNative(changed)).toBe(true);
  changed[PSTATE] = 0x10n;
  expect(arm64.isNative(changed)).toBe(false);
});

describe('a call that a stop has ended', () => {
  test('is begun anew with the argument that it had', () => {
    const found = ended();
    expect(restart(found, WAITING)).toBe(true);
    expect([found[0], found[PC], found[8]]).toEqual([9n, 0xffff800cn, EPOLL_PWAIT]);
  });

  test.each([
    ['nothing is known of it', ended, undefined],
    ['the thread ran then', ended, 'running'],
    ['it was another call', ended, WAITING.replace('22', '21')],
    ['it was in another place', ended, WAITING.replace('8010', '8020')],
    ['it was on another stack', ended, WAITING.replace('cff0', 'cfe0')],
    ['it had other arguments', ended, WAITING.replace('0x64', '0x65')],
    ['it was one that the kernel restarts', ended, WAITING.replace('22', '98')],
    ['it gave something else', () => ended().fill(3n, 0, 1), WAITING],
  ])('is left alone where %s', (_, make, text) => {
    const found = make();
    const before = found.slice();
    expect(restart(found, text)).toBe(false);
    expect(found).toEqual(before);
  });
});

test('calls are ranked by what a stop does to them', () => {
  // futex, epoll_pwait, recvfrom, write, sendto
  expect([98, 22, 207, 64, 206].map((number) => arm64.stopRank(number))).toEqual([0, 1, 1, 2, 2]);
  expect([98, 115, 73, 63].map((number) => arm64.onlyWaits(number))).toEqual([true, true, true, false]);
});

describe('what a stopped thread does not show', () => {
  const hidden = arm64.hiddenCalls!;

  test("is taken from its call's entry, by the number alone", () => {
    const found = registers();
    hidden.takeCall(found, registers().fill(128n));
    expect(found).toEqual(registers().fill(128n, 8, 9));
  });

  test('vectors are written back as long as they are, and only those in use', () => {
    const header = (bytes: number, length: number) => {
      const content = new Uint8Array(length);
      new DataView(content.buffer).setUint32(0, bytes, true);
      return content;
    };
    expect(hidden.vectorBytes(header(544, 8768))).toBe(544);
    expect(hidden.vectorBytes(header(16, 16))).toBe(0);
    expect(hidden.vectorBytes(header(8768, 544))).toBe(0);
    expect(hidden.vectorBytes(new Uint8Array(4))).toBe(0);
  });

  test('a thread outside of a call shows none', () => {
    expect(parseCall('running\n')).toBeUndefined();
    expect(parseCall('-1 0xffffcff0 0xffff8010\n')).toBeUndefined();
  });
});
