/**
 * All that is x86-64 about running a system call in another process. Another architecture is one more file like this.
 *
 * The general registers as PTRACE_GETREGSET(NT_PRSTATUS) gives them, in units of 8 bytes:
 *
 *      0   1   2   3   4   5   6   7   8  9  10  11  12  13  14  15       16  17 18     19  20 21      22      23 24 25 26
 *     r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs
 */
import type { TracedArchitecture } from './architecture.js';
import { blockingCalls, stopRankOf } from './calls.js';

const [R10, R9, R8, RAX, RDX, RSI, RDI, ORIG_RAX, RIP, CS] = [7, 8, 9, 10, 12, 13, 14, 15, 16, 17];

/** The code segment of 64-bit programs; 32-bit ones have 0x23. */
const USER_CS_64 = 0x33n;

/** -1 in orig_rax: no system call is under way that the kernel could want to restart. */
const NO_SYSCALL = 0xffffffffffffffffn;

/** `syscall` */
const SYSCALL_INSTRUCTION = [0x0f, 0x05] as const;

const EINTR = 0xffffffffffffffffn - 3n;
/** ERESTARTNOHAND: restart, unless a signal handler runs; then EINTR. */
const RESTART_UNLESS_HANDLED = 0xffffffffffffffffn - 513n;

const CALLS = blockingCalls({
  accept: 43,
  sendto: 44,
  recvfrom: 45,
  sendmsg: 46,
  recvmsg: 47,
  connect: 42,
  semop: 65,
  rt_sigtimedwait: 128,
  io_getevents: 208,
  semtimedop: 220,
  epoll_wait: 232,
  epoll_pwait: 281,
  accept4: 288,
  recvmmsg: 299,
  sendmmsg: 307,
  io_pgetevents: 333,
  io_uring_enter: 426,
  epoll_pwait2: 441,
  write: 1,
  pwrite64: 18,
  writev: 20,
  sendfile: 40,
  splice: 275,
  tee: 276,
  vmsplice: 278,
  pwritev: 296,
  copy_file_range: 326,
  pwritev2: 328,
  poll: 7,
  select: 23,
  pause: 34,
  nanosleep: 35,
  wait4: 61,
  rt_sigsuspend: 130,
  futex: 202,
  clock_nanosleep: 230,
  waitid: 247,
  pselect6: 270,
  ppoll: 271,
  futex_waitv: 449,
  futex_wait: 455,
});

export const x64: TracedArchitecture = {
  name: 'x86-64',
  elfClass: 2,
  elfMachine: 62,
  registersBytes: 27 * 8,

  findSyscallInstruction(code) {
    for (let at = 0; at + 1 < code.length; at++) {
      if (code[at] === SYSCALL_INSTRUCTION[0] && code[at + 1] === SYSCALL_INSTRUCTION[1]) return at;
    }
    return -1;
  },

  isNative: (registers) => registers[CS!] === USER_CS_64,

  instructionPointer: (registers) => Number(registers[RIP!]!),

  prepareSyscall(registers, instruction, number, args) {
    registers[RIP!] = BigInt(instruction);
    registers[RAX!] = BigInt(number);
    registers[ORIG_RAX!] = NO_SYSCALL;
    for (const [index, register] of [RDI!, RSI!, RDX!, R10!, R8!, R9!].entries()) {
      registers[register] = BigInt(args[index] ?? 0);
    }
  },

  syscallResult: (registers) => Number(BigInt.asIntN(64, registers[RAX!]!)),

  restartIfEndedByStop(registers) {
    const number = registers[ORIG_RAX!]!;
    if (registers[RAX!] !== EINTR || number === NO_SYSCALL) return false;
    if (!CALLS.endedByStop.has(Number(number))) return false;
    registers[RAX!] = RESTART_UNLESS_HANDLED;
    return true;
  },

  stopRank: (number) => stopRankOf(CALLS, number),
  runningRank: 0,
  onlyWaits: (number) => CALLS.onlyWaits.has(number),

  // What was interrupted, and that it has to be restarted, stands in the registers.
  hiddenCalls: undefined,
};
