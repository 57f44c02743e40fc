/**
 * All that is arm64 about a core file.
 *
 * `struct elf_prstatus`, in bytes:
 *
 *     0 si_signo, si_code, si_errno   12 cursig   16 sigpend   24 sighold   32 pid, ppid, pgrp, sid
 *     48 utime  64 stime  80 cutime  96 cstime (seconds, microseconds)   112 34 registers   384 fpvalid   392
 */
import {
  NT_ARM_FPMR,
  NT_ARM_HW_BREAK,
  NT_ARM_HW_WATCH,
  NT_ARM_PAC_ENABLED_KEYS,
  NT_ARM_PAC_MASK,
  NT_ARM_PACA_KEYS,
  NT_ARM_PACG_KEYS,
  NT_ARM_SSVE,
  NT_ARM_SVE,
  NT_ARM_SYSTEM_CALL,
  NT_ARM_TAGGED_ADDR_CTRL,
  NT_ARM_TLS,
  NT_ARM_ZA,
  NT_ARM_ZT,
  NT_PRFPREG,
} from '../elf/index.js';
import type { CoreArchitecture, RegisterSetKind } from './architecture.js';

const own = (type: number, mostBytes: number): RegisterSetKind => ({
  owner: 'LINUX',
  type,
  mostBytes,
  isFloatingPoint: false,
});

/** With vectors of 2,048 bits. */
const vectors = (type: number, mostBytes: number): RegisterSetKind => ({
  ...own(type, mostBytes),
  beginsWithLength: true,
});

/** The number of breakpoints, then 16 of them at the most. */
const BREAKPOINT_BYTES = 8 + 16 * 16;

export const arm64: CoreArchitecture = {
  elfMachine: 183,
  registersBytes: 34 * 8,
  stackPointerAt: 31 * 8,
  threadPointer: { set: NT_ARM_TLS, at: 0 },
  redZoneBytes: 0,
  // What is known of a thread lies below the pointer, between it and the stack.
  controlBlockBytes: 16,
  statusBytes: 392,
  statusRegistersAt: 112,
  statusFpValidAt: 384,
  registerSets: [
    { owner: 'CORE', type: NT_PRFPREG, mostBytes: 528, isFloatingPoint: true },
    own(NT_ARM_TLS, 16),
    own(NT_ARM_HW_BREAK, BREAKPOINT_BYTES),
    own(NT_ARM_HW_WATCH, BREAKPOINT_BYTES),
    own(NT_ARM_FPMR, 8),
    own(NT_ARM_SYSTEM_CALL, 4),
    vectors(NT_ARM_SVE, 8768),
    vectors(NT_ARM_SSVE, 8768),
    vectors(NT_ARM_ZA, 16 + 256 * 256),
    own(NT_ARM_ZT, 64),
    own(NT_ARM_PAC_MASK, 16),
    own(NT_ARM_PAC_ENABLED_KEYS, 8),
    own(NT_ARM_PACA_KEYS, 64),
    own(NT_ARM_PACG_KEYS, 16),
    own(NT_ARM_TAGGED_ADDR_CTRL, 8),
  ],
};
