/** A kind of registers that PTRACE_GETREGSET gives, each a note of its own in a core file. */
export interface RegisterSetKind {
  readonly owner: string;
  readonly type: number;
  readonly mostBytes: number;
  readonly isFloatingPoint: boolean;
  /** It begins with its own length, u32: ptrace gives what it may be at the most, and the kernel's core files what it is. */
  readonly beginsWithLength?: boolean;
}

/** What core files of different architectures do differently. */
export interface CoreArchitecture {
  readonly elfMachine: number;
  /** The general registers, as PTRACE_GETREGSET(NT_PRSTATUS) gives them. */
  readonly registersBytes: number;
  /** Where in them the stack pointer is, bytes. */
  readonly stackPointerAt: number;
  /** Where the pointer to a thread's own variables is: the register set, and the offset in it, bytes. */
  readonly threadPointer: { readonly set: number; readonly at: number };
  /** How much functions may use below the stack pointer, bytes. */
  readonly redZoneBytes: number;
  /** How much C libraries keep at least from where that pointer points, at the beginning of a thread's stack, bytes. */
  readonly controlBlockBytes: number;
  /** `struct elf_prstatus`: its size, and where in it the registers and `pr_fpvalid` are. */
  readonly statusBytes: number;
  readonly statusRegistersAt: number;
  readonly statusFpValidAt: number;
  /** The other register sets, in the kernel's order. */
  readonly registerSets: readonly RegisterSetKind[];
}
