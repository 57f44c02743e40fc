/**
 * All that is x86-64 about a core file. Another architecture is one more file like this.
 *
 * `struct elf_prstatus`, in bytes:
 *
 *     0 si_signo, si_code, si_errno   12 cursig   16 sigpend   24 sighold   32 pid, ppid, pgrp, sid
 *     48 utime  64 stime  80 cutime  96 cstime (seconds, microseconds)   112 27 registers   328 fpvalid   336
 */
import { NT_PRFPREG, NT_PRSTATUS, NT_X86_XSTATE } from '../elf/index.js';
import type { CoreArchitecture } from './architecture.js';

export const x64: CoreArchitecture = {
  elfMachine: 62,
  registersBytes: 27 * 8,
  stackPointerAt: 19 * 8,
  // fs_base
  threadPointer: { set: NT_PRSTATUS, at: 21 * 8 },
  redZoneBytes: 128,
  controlBlockBytes: 2048,
  statusBytes: 336,
  statusRegistersAt: 112,
  statusFpValidAt: 328,
  registerSets: [
    { owner: 'CORE', type: NT_PRFPREG, mostBytes: 512, isFloatingPoint: true },
    // As large as the processor's state is: 11 KiB with AMX.
    { owner: 'LINUX', type: NT_X86_XSTATE, mostBytes: 16384, isFloatingPoint: false },
  ],
};
