/** The architectures that live processes are supported on, by Node's names (`process.arch`). */
export type ArchitectureName = 'x64' | 'arm64';

/**
 * Numbers of the system calls that C libraries do not wrap everywhere (man syscalls(2)). From 424 on, all
 * architectures share them.
 */
export interface SyscallNumbers {
  readonly close: number;
  readonly fcntl: number;
  readonly lseek: number;
  readonly linkat: number;
  readonly fallocate: number;
  readonly clone: number;
  readonly clone3: number;
  /** arm64 has none. */
  readonly vfork?: number;
  readonly wait4: number;
  readonly waitid: number;
  readonly flock: number;
  readonly ptrace: number;
  readonly prctl: number;
  readonly preadv: number;
  readonly pwritev: number;
  readonly process_vm_readv: number;
  readonly memfd_create: number;
  readonly userfaultfd: number;
  readonly pidfd_open: number;
  readonly pidfd_getfd: number;
}

export const SYSCALLS: Readonly<Record<ArchitectureName, SyscallNumbers>> = {
  x64: {
    close: 3,
    fcntl: 72,
    lseek: 8,
    linkat: 265,
    fallocate: 285,
    clone: 56,
    clone3: 435,
    vfork: 58,
    wait4: 61,
    waitid: 247,
    flock: 73,
    ptrace: 101,
    prctl: 157,
    preadv: 295,
    pwritev: 296,
    process_vm_readv: 310,
    memfd_create: 319,
    userfaultfd: 323,
    pidfd_open: 434,
    pidfd_getfd: 438,
  },
  arm64: {
    close: 57,
    fcntl: 25,
    lseek: 62,
    linkat: 37,
    fallocate: 47,
    clone: 220,
    clone3: 435,
    wait4: 260,
    waitid: 95,
    flock: 32,
    ptrace: 117,
    prctl: 167,
    preadv: 69,
    pwritev: 70,
    process_vm_readv: 270,
    memfd_create: 279,
    userfaultfd: 282,
    pidfd_open: 434,
    pidfd_getfd: 438,
  },
};

export const PTRACE_DETACH = 17;
export const PTRACE_SEIZE = 0x4206;
export const PTRACE_INTERRUPT = 0x4207;
