/**
 * The parts of ELF (System V ABI, generic, chapter "Object Files"; man elf(5)) that a core file is made of: 64-bit,
 * little-endian.
 *
 *     +-----------------+  0
 *     | ELF header      |  64 bytes
 *     +-----------------+  e_phoff
 *     | program headers |  56 bytes each: notes and memory
 *     +-----------------+
 *     | notes, memory   |
 *     +-----------------+  e_shoff, only with 65,535 program headers or more
 *     | section header  |  64 bytes: holds their number
 *     +-----------------+
 */

export const EHDR_BYTES = 64;
export const PHDR_BYTES = 56;
export const SHDR_BYTES = 64;

export const ET_CORE = 4;
export const PT_LOAD = 1;
export const PT_NOTE = 4;
export const PF_X = 1;
export const PF_W = 2;
export const PF_R = 4;

/** In e_phnum: the number stands in sh_info of the first section header. */
export const PN_XNUM = 0xffff;

/** Types of notes of owner CORE, and of LINUX from 0x100 on. */
export const NT_PRSTATUS = 1;
export const NT_PRFPREG = 2;
export const NT_PRPSINFO = 3;
export const NT_AUXV = 6;
export const NT_SIGINFO = 0x53494749;
export const NT_FILE = 0x46494c45;
export const NT_X86_XSTATE = 0x202;
/** Of arm64; not in the order of their numbers, but in the kernel's. */
export const NT_ARM_TLS = 0x401;
export const NT_ARM_HW_BREAK = 0x402;
export const NT_ARM_HW_WATCH = 0x403;
export const NT_ARM_FPMR = 0x40e;
export const NT_ARM_SYSTEM_CALL = 0x404;
export const NT_ARM_SVE = 0x405;
export const NT_ARM_SSVE = 0x40b;
export const NT_ARM_ZA = 0x40c;
export const NT_ARM_ZT = 0x40d;
export const NT_ARM_PAC_MASK = 0x406;
export const NT_ARM_PAC_ENABLED_KEYS = 0x40a;
export const NT_ARM_PACA_KEYS = 0x407;
export const NT_ARM_PACG_KEYS = 0x408;
export const NT_ARM_TAGGED_ADDR_CTRL = 0x409;

/** One program header; offsets and addresses in bytes. */
export interface ProgramHeader {
  readonly type: number;
  /** `PF_*`. */
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
  readonly align: number;
}

/** How many program headers the header itself can count. */
export const MOST_PLAIN_HEADERS = PN_XNUM - 1;

function u64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/**
 * The ELF header of a core file.
 *
 * @param sectionHeaderOffset where {@link encodeSectionHeader}'s bytes are; looked at from 65,535 program headers on
 */
export function encodeHeader(
  machine: number,
  programHeaders: number,
  programHeaderOffset: number,
  sectionHeaderOffset: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(EHDR_BYTES);
  const view = new DataView(bytes.buffer);
  const many = programHeaders > MOST_PLAIN_HEADERS;
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2 /* 64-bit */, 1 /* little-endian */, 1 /* version */]);
  view.setUint16(16, ET_CORE, true);
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  u64(view, 32, programHeaderOffset);
  u64(view, 40, many ? sectionHeaderOffset : 0);
  view.setUint16(52, EHDR_BYTES, true);
  view.setUint16(54, PHDR_BYTES, true);
  view.setUint16(56, many ? PN_XNUM : programHeaders, true);
  view.setUint16(58, many ? SHDR_BYTES : 0, true);
  view.setUint16(60, many ? 1 : 0, true);
  return bytes;
}

/** Section header 0 (SHT_NULL) of a file with too many program headers for its header to count. */
export function encodeSectionHeader(programHeaders: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(SHDR_BYTES);
  const view = new DataView(bytes.buffer);
  u64(view, 32, 1);
  view.setUint32(44, programHeaders, true);
  return bytes;
}

export function encodeProgramHeaders(headers: readonly ProgramHeader[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(headers.length * PHDR_BYTES);
  const view = new DataView(bytes.buffer);
  headers.forEach(({ type, flags, offset, address, fileBytes, memoryBytes, align }, index) => {
    const at = index * PHDR_BYTES;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    u64(view, at + 8, offset);
    u64(view, at + 16, address);
    u64(view, at + 32, fileBytes);
    u64(view, at + 40, memoryBytes);
    u64(view, at + 48, align);
  });
  return bytes;
}

const padded = (length: number) => Math.ceil(length / 4) * 4;

/** One note: its owner's name and its content, each padded to 4 bytes. */
export function encodeNote(owner: string, type: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(`${owner}\0`);
  const bytes = new Uint8Array(12 + padded(name.length) + padded(content.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length, true);
  view.setUint32(4, content.length, true);
  view.setUint32(8, type, true);
  bytes.set(name, 12);
  bytes.set(content, 12 + padded(name.length));
  return bytes;
}
