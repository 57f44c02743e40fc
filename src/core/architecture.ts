/** What core files of different architectures do differently. */
export interface CoreArchitecture {
  readonly elfMachine: number;
  /** The general registers, as PTRACE_GETREGSET(NT_PRSTATUS) gives them. */
  readonly registersBytes: number;
  /** `struct elf_prstatus`: its size, and where in it the registers and `pr_fpvalid` are. */
  readonly statusBytes: number;
  readonly statusRegistersAt: number;
  readonly statusFpValidAt: number;
  /** The other register sets, each a note of its own, in the kernel's order. */
  readonly registerSets: readonly {
    readonly owner: string;
    readonly type: number;
    readonly mostBytes: number;
    readonly isFloatingPoint: boolean;
  }[];
}
