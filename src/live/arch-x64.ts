/**
 * All that is x86-64 about running a system call in another process. Another architecture is one more file like this.
 *
 * The general registers as PTRACE_GETREGSET(NT_PRSTATUS) gives them, in units of 8 bytes:
 *
 *      0   1   2   3   4   5   6   7   8  9  10  11  12  13  14  15       16  17 18     19  20 21      22      23 24 25 26
 *     r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs
 */
import type { TracedArchitecture } from './architecture.js';

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

/**
 * Calls that end with EINTR when their thread is stopped and goes on, even without a signal (man signal(7), and
 * measured). All others that can block are restarted by the kernel.
 */
const ENDED_BY_STOP: ReadonlySet<number> = new Set([
  43, // accept
  44, // sendto
  45, // recvfrom
  46, // sendmsg
  47, // recvmsg
  42, // connect
  65, // semop
  128, // rt_sigtimedwait
  208, // io_getevents
  220, // semtimedop
  232, // epoll_wait
  281, // epoll_pwait
  288, // accept4
  299, // recvmmsg
  307, // sendmmsg
  333, // io_pgetevents
  426, // io_uring_enter
  441, // epoll_pwait2
]);

/** Calls that give a short count when they are stopped halfway. */
const MAY_BE_CUT_SHORT: ReadonlySet<number> = new Set([
  1, // write
  18, // pwrite64
  20, // writev
  40, // sendfile
  44, // sendto
  46, // sendmsg
  275, // splice
  276, // tee
  278, // vmsplice
  296, // pwritev
  326, // copy_file_range
  328, // pwritev2
]);

/** Calls in which a thread waits for others, for time to pass or for a descriptor to be ready. */
const ONLY_WAITS: ReadonlySet<number> = new Set([
  7, // poll
  23, // select
  34, // pause
  35, // nanosleep
  61, // wait4
  128, // rt_sigtimedwait
  130, // rt_sigsuspend
  202, // futex
  230, // clock_nanosleep
  232, // epoll_wait
  247, // waitid
  270, // pselect6
  271, // ppoll
  281, // epoll_pwait
  441, // epoll_pwait2
  449, // futex_waitv
  455, // futex_wait
]);

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
    if (!ENDED_BY_STOP.has(Number(number))) return false;
    registers[RAX!] = RESTART_UNLESS_HANDLED;
    return true;
  },

  stopRank(number) {
    if (MAY_BE_CUT_SHORT.has(number)) return 2;
    return ENDED_BY_STOP.has(number) ? 1 : 0;
  },

  onlyWaits: (number) => ONLY_WAITS.has(number),
};
