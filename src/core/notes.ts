/** The notes of a core file: what the process was, and its threads' registers. */
import { encodeNote, NT_AUXV, NT_FILE, NT_PRPSINFO, NT_PRSTATUS, NT_SIGINFO } from '../elf/index.js';
import { type Mapping, nameBytes, TICKS_PER_SECOND } from '../proc/internal.js';
import type { CoreArchitecture } from './architecture.js';
import type { ProcessState } from './state.js';
import type { ProcessFacts, TaskIds, ThreadState } from './threads.js';

function putTime(view: DataView, at: number, ticks: number): void {
  view.setBigInt64(at, BigInt(Math.floor(ticks / TICKS_PER_SECOND)), true);
  view.setBigInt64(at + 8, BigInt((ticks % TICKS_PER_SECOND) * (1e6 / TICKS_PER_SECOND)), true);
}

function putIds(view: DataView, at: number, { pid, ppid, pgid, sid }: TaskIds): void {
  view.setInt32(at, pid, true);
  view.setInt32(at + 4, ppid, true);
  view.setInt32(at + 8, pgid, true);
  view.setInt32(at + 12, sid, true);
}

/** `struct elf_prstatus`. */
function encodeStatus(arch: CoreArchitecture, thread: ThreadState): Uint8Array {
  const bytes = new Uint8Array(arch.statusBytes);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(24, thread.signalMask, true);
  putIds(view, 32, thread.ids);
  thread.ticks.forEach((ticks, index) => {
    putTime(view, 48 + index * 16, ticks);
  });
  bytes.set(thread.registers.subarray(0, arch.registersBytes), arch.statusRegistersAt);
  const hasFloatingPoint = thread.registerSets.some(({ isFloatingPoint }) => isFloatingPoint);
  view.setInt32(arch.statusFpValidAt, hasFloatingPoint ? 1 : 0, true);
  return bytes;
}

/** The states by their numbers in `pr_state`, as the kernel orders them. */
const STATES = 'RSDTZW';

/** `struct elf_prpsinfo`. */
function encodeInfo(facts: ProcessFacts): Uint8Array {
  const info = new Uint8Array(136);
  const view = new DataView(info.buffer);
  info[0] = Math.max(0, STATES.indexOf(facts.state));
  info[1] = facts.state.charCodeAt(0);
  info[2] = facts.state === 'Z' ? 1 : 0;
  view.setInt8(3, facts.nice);
  view.setBigUint64(8, BigInt(facts.flags), true);
  view.setUint32(16, facts.uid, true);
  view.setUint32(20, facts.gid, true);
  putIds(view, 24, facts.ids);
  info.set(facts.name.subarray(0, 15), 40);
  // The arguments with spaces between them; the last byte stays 0.
  const commandLine = facts.commandLine.subarray(0, 79);
  let end = commandLine.length;
  while (end > 0 && commandLine[end - 1] === 0) end--;
  for (let at = 0; at < end; at++) info[56 + at] = commandLine[at] === 0 ? 0x20 : commandLine[at]!;
  return info;
}

const PAGE = 4096n;

/** Which file is mapped where. */
function encodeFiles(mappings: readonly Mapping[]): Uint8Array {
  const files = mappings.filter(({ inode, name }) => inode !== 0 || name[0] === '/');
  const names = files.map(({ name, deleted }) => nameBytes(`${name}${deleted ? ' (deleted)' : ''}`));
  const head = 16 + files.length * 24;
  const bytes = new Uint8Array(head + names.reduce((sum, name) => sum + name.length + 1, 0));
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(files.length), true);
  view.setBigUint64(8, PAGE, true);
  let at = head;
  files.forEach(({ start, end, offset }, index) => {
    view.setBigUint64(16 + index * 24, BigInt(start), true);
    view.setBigUint64(24 + index * 24, BigInt(end), true);
    view.setBigUint64(32 + index * 24, BigInt(offset) / PAGE, true);
    bytes.set(names[index]!, at);
    at += names[index]!.length + 1;
  });
  return bytes;
}

/** All notes, in the kernel's order: debuggers take what stands before the second PRSTATUS for the first thread's. */
export function encodeNotes(
  arch: CoreArchitecture,
  { facts, threads, mappings }: Pick<ProcessState, 'facts' | 'threads' | 'mappings'>,
): Uint8Array[] {
  const notes: Uint8Array[] = [];
  threads.forEach((thread, index) => {
    notes.push(encodeNote('CORE', NT_PRSTATUS, encodeStatus(arch, thread)));
    if (index === 0) {
      notes.push(encodeNote('CORE', NT_PRPSINFO, encodeInfo(facts)));
      // No signal: nothing has happened to it.
      notes.push(encodeNote('CORE', NT_SIGINFO, new Uint8Array(128)));
      notes.push(encodeNote('CORE', NT_AUXV, facts.auxv));
      notes.push(encodeNote('CORE', NT_FILE, encodeFiles(mappings.map(({ mapping }) => mapping))));
    }
    for (const { owner, type, content } of thread.registerSets) notes.push(encodeNote(owner, type, content));
  });
  return notes;
}
