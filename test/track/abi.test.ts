/** ptrace's numbers and layouts against the system's headers; what the architecture's file does with registers. */
import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import * as procmap from '../../src/abi/procmap.js';
import * as ptrace from '../../src/abi/ptrace.js';
import { PTRACE_DETACH, PTRACE_INTERRUPT, PTRACE_SEIZE, SYSCALLS } from '../../src/abi/syscalls.js';
import { coreArchitecture } from '../../src/core/internal.js';
import { x64 } from '../../src/live/arch-x64.js';
import { architecture } from '../../src/live/machine.js';
import { tracedArchitecture } from '../../src/live/ptrace.js';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';

testWhere('compiler')('constants and layouts are those of the system headers', () => {
  const { procmap_query, registers, core, ...printed }: Record<string, number> & Record<string, unknown> =
    JSON.parse(execFileSync(nativeProgram('ptrace-abi'), { encoding: 'utf8' }));
  const calls = Object.entries(SYSCALLS[architecture()!]).map(([name, number]) => [`SYS_${name}`, number]);
  const own = { PTRACE_DETACH, PTRACE_INTERRUPT, PTRACE_SEIZE, ...Object.fromEntries(calls) };
  const known: Record<string, unknown> = { ...ptrace, ...procmap, ...own };
  const ours = Object.fromEntries(Object.keys(printed).map((name) => [name, known[name]]));
  expect(ours).toEqual(printed);
  const { sizeBytes, offset } = procmap.PROCMAP_QUERY_STRUCT;
  if (procmap_query !== undefined) expect(procmap_query).toEqual([sizeBytes, ...Object.values(offset)]);
  const { statusBytes, statusRegistersAt, statusFpValidAt } = coreArchitecture()!;
  expect(core).toEqual([statusBytes, statusRegistersAt, statusFpValidAt, 136, 24, 40, 56]);
  // Of x86-64 rax, rdi, orig_rax, rip, cs; of arm64 sp, pc, pstate.
  const places = { x64: [10, 14, 15, 16, 17], arm64: [31, 32, 33] }[architecture()!];
  expect(registers).toEqual([tracedArchitecture()!.registersBytes, ...places]);
});

describe('wait statuses', () => {
  test.each([
    [0x0000, { kind: 'exited' }],
    [0x2a00, { kind: 'exited' }],
    [0x0009, { kind: 'killed' }],
    [0x008b, { kind: 'killed' }],
    [0x80057f, { kind: 'event-stop' }],
    [0x80137f, { kind: 'event-stop' }],
    [0x00857f, { kind: 'syscall-stop' }],
    [0x00057f, { kind: 'signal-stop', signal: 5 }],
    [0x000a7f, { kind: 'signal-stop', signal: 10 }],
    [0x04057f, { kind: 'other-event' }],
  ])('0x%s', (status, expected) => {
    expect(ptrace.parseWaitStatus(status)).toEqual(expected);
  });
});

describe('x86-64', () => {
  const registers = () => BigUint64Array.from({ length: 27 }, (_, index) => BigInt(index) * 1000n);

  test('a system call is prepared, and nothing else is touched', () => {
    const changed = registers();
    x64.prepareSyscall(changed, 0x7000, 323, [1, 2]);
    expect(changed[16]).toBe(0x7000n);
    expect([changed[10], changed[15]]).toEqual([323n, 2n ** 64n - 1n]);
    expect([14, 13, 12, 7, 9, 8].map((index) => changed[index])).toEqual([1n, 2n, 0n, 0n, 0n, 0n]);
    const same = [0, 1, 2, 3, 4, 5, 6, 11, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26];
    for (const index of same) expect(changed[index]).toBe(BigInt(index) * 1000n);
  });

  test('results are signed', () => {
    const changed = registers();
    changed[10] = 2n ** 64n - 22n;
    expect(x64.syscallResult(changed)).toBe(-22);
    changed[10] = 7n;
    expect(x64.syscallResult(changed)).toBe(7);
  });

  test('calls that a stop has ended are begun anew; others, and other errors, are not touched', () => {
    const at = (call: bigint, result: bigint) => {
      const changed = registers();
      changed[15] = BigInt.asUintN(64, call);
      changed[10] = BigInt.asUintN(64, result);
      const did = x64.restartIfEndedByStop(changed);
      return [did, BigInt.asIntN(64, changed[10]!)];
    };
    expect(at(232n, -4n)).toEqual([true, -514n]);
    expect(at(128n, -4n)).toEqual([true, -514n]);
    expect(at(232n, 0n)).toEqual([false, 0n]);
    expect(at(232n, -516n)).toEqual([false, -516n]);
    expect(at(35n, -4n)).toEqual([false, -4n]);
    expect(at(-1n, -4n)).toEqual([false, -4n]);
  });

  test('instructions are found, code of 32 bits is told', () => {
    expect(x64.findSyscallInstruction(Uint8Array.of(0x0f, 0x0f, 0x05, 0x90))).toBe(1);
    expect(x64.findSyscallInstruction(Uint8Array.of(0x05, 0x0f))).toBe(-1);
    const changed = registers();
    changed[17] = 0x33n;
    expect(x64.isNative(changed)).toBe(true);
    changed[17] = 0x23n;
    expect(x64.isNative(changed)).toBe(false);
    expect([x64.stopRank(0), x64.stopRank(232), x64.stopRank(1)]).toEqual([0, 1, 2]);
  });
});
