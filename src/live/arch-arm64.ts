/**
 * All that is arm64 about running a system call in another process.
 *
 * The general registers as PTRACE_GETREGSET(NT_PRSTATUS) gives them, in units of 8 bytes: x0 to x30, sp, pc, pstate.
 *
 * A thread that is stopped in a call shows pc at the `svc` again where the kernel is to restart it, and x0 as it was before the
 * call; whether the kernel will run restart_syscall instead is not shown. Of a call that the stop has ended with EINTR, x0 is lost. All
 * of this was seen on Linux 6.12.
 */
import { NT_ARM_SSVE, NT_ARM_SVE, NT_ARM_SYSTEM_CALL } from '../abi/internal.js';
import type { TracedArchitecture } from './architecture.js';
import { blockingCalls, stopRankOf } from './calls.js';

const [X0, X8, SP, PC, PSTATE] = [0, 8, 31, 32, 33];

/** In pstate: the thread runs 32-bit code. */
const MODE32 = 0x10n;
/** In pstate: what kind of branch came last, which decides what instructions may follow it (BTYPE). */
const BRANCH_TYPE = 0xc00n;

/** `svc #0`, little-endian. */
const SVC = 0xd4000001;
const INSTRUCTION_BYTES = 4;

const EINTR = 0xffffffffffffffffn - 3n;

/** `struct user_sve_header`: u32 size, max_size; u16 vl, max_vl, flags, reserved. */
const VECTOR_HEADER_BYTES = 16;
/** With vectors of 2,048 bits: the header, 32 vectors, 16 predicates and FFR, two status words. */
const MOST_VECTOR_BYTES = 8768;

const CALLS = blockingCalls({
  accept: 202,
  sendto: 206,
  recvfrom: 207,
  sendmsg: 211,
  recvmsg: 212,
  connect: 203,
  semop: 193,
  rt_sigtimedwait: 137,
  io_getevents: 4,
  semtimedop: 192,
  epoll_wait: undefined,
  epoll_pwait: 22,
  accept4: 242,
  recvmmsg: 243,
  sendmmsg: 269,
  io_pgetevents: 292,
  io_uring_enter: 426,
  epoll_pwait2: 441,
  write: 64,
  pwrite64: 68,
  writev: 66,
  sendfile: 71,
  splice: 76,
  tee: 77,
  vmsplice: 75,
  pwritev: 70,
  copy_file_range: 285,
  pwritev2: 287,
  poll: undefined,
  select: undefined,
  pause: undefined,
  nanosleep: 101,
  wait4: 260,
  rt_sigsuspend: 133,
  futex: 98,
  clock_nanosleep: 115,
  waitid: 95,
  pselect6: 72,
  ppoll: 73,
  futex_waitv: 449,
  futex_wait: 455,
});

export const arm64: TracedArchitecture = {
  name: 'arm64',
  elfClass: 2,
  elfMachine: 183,
  registersBytes: 34 * 8,

  findSyscallInstruction(code) {
    const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
    for (let at = 0; at + INSTRUCTION_BYTES <= code.length; at += INSTRUCTION_BYTES) {
      if (view.getUint32(at, true) === SVC) return at;
    }
    return -1;
  },

  isNative: (registers) => (registers[PSTATE!]! & MODE32) === 0n,

  instructionPointer: (registers) => Number(registers[PC!]!),

  prepareSyscall(registers, instruction, number, args) {
    registers[PC!] = BigInt(instruction);
    // In code that is guarded, an instruction that no branch may come to would raise SIGILL.
    registers[PSTATE!]! &= ~BRANCH_TYPE;
    registers[X8!] = BigInt(number);
    for (let index = 0; index < 6; index++) registers[X0! + index] = BigInt(args[index] ?? 0);
  },

  syscallResult: (registers) => Number(BigInt.asIntN(64, registers[X0!]!)),

  restartIfEndedByStop(registers, before) {
    if (registers[X0!] !== EINTR) return false;
    const call = before?.confirmed;
    if (call === undefined || !CALLS.endedByStop.has(call.number)) return false;
    // It must be that very call which has ended: all that it does not change is as it was.
    const { number, args, stackPointer, instructionPointer } = call;
    if (registers[X8!] !== BigInt(number) || registers[SP!] !== stackPointer) return false;
    if (registers[PC!] !== instructionPointer) return false;
    if (args.some((arg, index) => index > 0 && registers[X0! + index] !== arg)) return false;
    registers[X0!] = args[0]!;
    registers[PC!] = instructionPointer - BigInt(INSTRUCTION_BYTES);
    return true;
  },

  stopRank: (number) => stopRankOf(CALLS, number),
  // It may come to a call that the stop ends, and nothing would tell what that was called with.
  runningRank: 1.5,
  onlyWaits: (number) => CALLS.onlyWaits.has(number),

  hiddenCalls: {
    isSyscallInstruction: (word) => word === SVC,
    syscallSet: NT_ARM_SYSTEM_CALL,
    takeCall(registers, atEntry) {
      // Only the number: at the entry, x7 is not the thread's.
      registers[X8!] = atEntry[X8!]!;
    },
    // In streaming mode, the set of the other mode has no content.
    vectorSets: [
      { type: NT_ARM_SSVE, mostBytes: MOST_VECTOR_BYTES },
      { type: NT_ARM_SVE, mostBytes: MOST_VECTOR_BYTES },
    ],
    vectorBytes(content) {
      if (content.length < VECTOR_HEADER_BYTES) return 0;
      const bytes = new DataView(content.buffer, content.byteOffset, content.byteLength).getUint32(0, true);
      return bytes > VECTOR_HEADER_BYTES && bytes <= content.length ? bytes : 0;
    },
  },
};
